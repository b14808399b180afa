"""Which field is the time, and whether it can be relied on."""

import pytest

from gatewayd.workbench.times import is_believable, is_zoneless, judge_clock, lacks_zone, time_of

NOW_S = 1_764_000_000
SECOND = 10**9


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"ts": NOW_S, "a": 1}, "ts"),
        ({"time": "2025-03-14T09:26:53Z"}, "time"),
        ({"meta": {"sampledAt": NOW_S * 1000}}, "meta.sampledAt"),
        ({"sent_at": NOW_S, "ts": NOW_S}, "ts"),
        ({"d": {"ts": NOW_S}, "created": NOW_S}, "created"),
        ({"ts": 12}, None),
        ({"ts": "soon"}, None),
        ({"ts": True}, None),
        ({"a.b": {"ts": NOW_S}}, None),
        ({"speed": NOW_S, "date": [NOW_S]}, None),
        ({"a": {"b": {"c": {"d": {"e": {"ts": NOW_S}}}}}}, None),
        ({"time": ""}, None),
        ([NOW_S], None),
    ],
)
def test_the_time_is_found_by_name_and_value(document, path):
    assert time_of([document]) == path


def test_it_must_be_there_nearly_always():
    assert time_of([{"ts": NOW_S}] * 8 + [{"a": 1}] * 2) == "ts"
    assert time_of([{"ts": NOW_S}] * 7 + [{"a": 1}] * 3) is None
    assert time_of([]) is None


def test_texts_without_an_offset_may_be_local_time():
    local, utc = "2025-03-14T10:26:53", "2025-03-14 10:26:53.5Z"
    assert lacks_zone([{"a": {"ts": local}}, {}], "a.ts")
    assert not lacks_zone([{"ts": local}, {"ts": utc}], "ts")
    assert not lacks_zone([{"ts": local}, {"ts": NOW_S}], "ts")
    assert not lacks_zone([{}], "ts")
    assert not lacks_zone([{"ts": local}], None)
    assert is_zoneless("2025-03-14 10:26:53,250")
    assert not is_zoneless("2025-03-14T10:26:53+01:00")


def test_what_is_believable():
    assert is_believable(NOW_S)
    assert not is_believable(10**400)


def clock(behind_s, pairs=((1, 2),)):
    return judge_clock([((NOW_S - behind_s) * SECOND, NOW_S * SECOND)] * 3, pairs)


def test_clocks_are_compared_with_arrival():
    assert judge_clock([], []) is None
    good = clock(2)
    assert (good.behind_s, good.is_ahead, good.is_repeated, good.zone_hours) == (2.0, False, False, None)
    assert clock(-3600).is_ahead
    assert clock(-3600).zone_hours == 1.0
    assert clock(5 * 3600 + 1).zone_hours == -5.0
    assert clock(-5.5 * 3600).zone_hours == 5.5
    assert clock(-40).zone_hours is None
    assert clock(400).zone_hours is None
    assert clock(20 * 3600).zone_hours is None


def test_stamps_that_repeat_are_noticed():
    assert clock(0, [(1, 1)]).is_repeated
    assert not clock(0, [(1, 1)] + [(1, 2)] * 19).is_repeated
