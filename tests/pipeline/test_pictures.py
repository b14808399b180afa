"""Pictures become windows by themselves, each once, colours in the model's order."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.domain.model import ImageSpec
from gatewayd.domain.reading import Batch
from gatewayd.formats.decoded import NO_TIME, Decoded
from gatewayd.pipeline.flow import Flow
from gatewayd.pipeline.pictures import MOST_BYTES, Pictures
from tests.support.flows import ARRIVED, HalvingModel, assert_sums, plan
from tests.support.models import make_spec

SECOND = 10**9
RGB = ("red", "green", "blue")


def spec_of(height=2, width=3, channels=RGB):
    made = make_spec(len(channels), height * width, hop=height * width)
    named = tuple(
        dataclasses.replace(one, name=name) for one, name in zip(made.channels, channels, strict=True)
    )
    return dataclasses.replace(made, channels=named, image=ImageSpec(height=height, width=width))


def batch_of(values):
    count = len(values)
    return Batch(
        device=np.zeros(count, np.int64),
        taken_at=ARRIVED + np.arange(count),
        values=np.array(values, np.float64),
    )


def test_a_pixel_is_a_sample_and_a_colour_a_channel():
    windows = Pictures(spec_of()).add(batch_of([np.arange(18), np.arange(18, 36)]))
    assert windows.values.shape == (2, 6, 3)
    assert windows.values[0].tolist()[:2] == [[0, 1, 2], [3, 4, 5]]
    assert windows.start.tolist() == windows.end.tolist() == [ARRIVED, ARRIVED + 1]
    assert windows.samples.tolist() == [1, 1]


def test_colours_stand_in_the_models_order():
    windows = Pictures(spec_of(channels=("blue", "green", "red"))).add(batch_of([np.arange(18)]))
    assert windows.values[0].tolist()[:2] == [[2, 1, 0], [5, 4, 3]]


def test_grey_has_one_channel():
    windows = Pictures(spec_of(channels=("grey",))).add(batch_of([np.arange(6)]))
    assert windows.values.tolist() == [[[0], [1], [2], [3], [4], [5]]]


@pytest.mark.parametrize(("side", "most"), [(96, 18), (224, 3), (1000, 1)])
def test_so_many_at_once_stay_below_the_limit_but_for_one_alone(side, most):
    assert Pictures(spec_of(side, side)).most == most
    assert most == 1 or most * side * side * 3 * 8 <= MOST_BYTES


def test_none_waits_and_another_one_goes_on_counting():
    pictures, after = Pictures(spec_of()), Pictures(spec_of())
    pictures.add(batch_of([np.zeros(18)] * 3))
    after.restore(pictures.state())
    assert (after.scored, after.waiting, after.abandoned) == (3, 0, 0)


class Bytes:
    """Each payload's bytes are the values; one of another length is refused. Keeps ``Format``'s promises."""

    def __init__(self, length):
        self.length = length
        self.most = 0

    def decode(self, payloads, arrived_at=None):
        self.most = max(self.most, len(payloads))
        good = [index for index, payload in enumerate(payloads) if len(payload) == self.length]
        return Decoded(
            source=np.array(good, dtype=np.int64),
            taken_at=np.full(len(good), NO_TIME, dtype=np.int64),
            values=np.array([list(payloads[index]) for index in good], dtype=np.float64).reshape(
                -1, self.length
            ),
            rejected=tuple((i, "broken_image") for i in range(len(payloads)) if i not in good),
        )


def make_flow(side=2, **options):
    """A flow of one stream of pictures of ``side`` x ``side`` pixels, whose model halves each value."""
    spec = dataclasses.replace(spec_of(side, side), task="reconstruction", threshold=2500.0)
    given = plan("camera", topic="cam/{device}", time=None, channels=RGB, format="image", **options)
    return Flow(
        "gw",
        [
            dataclasses.replace(
                given,
                spec=spec,
                image_format=Bytes(side * side * 3),
                model=HalvingModel(side * side, 3),
            )
        ],
    )


MESSAGES = st.lists(
    st.tuples(
        st.integers(0, 2),  # device
        st.sampled_from([0, 0, 1, 13, 30]),  # seconds since the one before
        st.sampled_from([12, 12, 12, 5]),  # bytes
        st.sampled_from([0, 40, 99, 101, 255]),
        st.booleans(),
    ),
    max_size=25,
)


def timed_of(rows):
    now, found = ARRIVED, []
    for number, (device, step, length, value, is_retained) in enumerate(rows):
        now += step * SECOND + 1000
        header = 0x31 if is_retained and number % 3 == 0 else 0x30
        found.append(((b"cam/d%d" % device, bytes([value] * length), header, number), now))
    return found


def feed(flow, timed):
    if not timed:
        return []
    at = np.array([now for _, now in timed], dtype=np.int64)
    return flow.run([message for message, _ in timed], at, at).publications


def by_device(publications):
    story = {}
    for publication in publications:
        story.setdefault(publication.topic, []).append(publication)
    return story


SILENT = {"alert": {"raise": "1 of 1", "clear": "1 of 1", "silent_after_s": 12.0}}


@pytest.mark.parametrize("options", [{}, SILENT], ids=["plain", "silent"])
@given(rows=MESSAGES, data=st.data())
def test_any_cut_any_limit_and_any_stop_give_the_same_to_the_byte(options, rows, data):
    timed = timed_of(rows)
    end = ARRIVED + 1000 * SECOND
    whole = make_flow(**options)
    expected = feed(whole, timed) + whole.advance(end, end).publications
    flow, found, begin = make_flow(**options), [], 0
    for cut in [*sorted(data.draw(st.lists(st.integers(0, len(timed)), max_size=4))), len(timed)]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "gatewayd.pipeline.pictures.MOST_BYTES", data.draw(st.sampled_from([1, 200, 10**6]))
            )
            found += feed(flow, timed[begin:cut])
        begin = max(begin, cut)
        if data.draw(st.booleans()):
            following = make_flow(**options)
            assert following.restore(flow.state()) == []
            flow = following
    found += flow.advance(end, end).publications
    assert by_device(found) == by_device(expected)
    assert_sums(flow.figures())
    assert dataclasses.replace(flow.figures(), examples={}) == dataclasses.replace(
        whole.figures(), examples={}
    )


def test_a_burst_is_decoded_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr("gatewayd.pipeline.pictures.MOST_BYTES", 3 * 12 * 8)
    flow = make_flow()
    feed(flow, timed_of([(0, 0, 12, 40, False)] * 10))
    (stream,) = flow._streams
    assert stream.plan.image_format.most == 3
    assert flow.figures().scored == flow.figures().predictions == 10


def test_what_is_retained_empty_or_broken_is_told_apart():
    flow = make_flow()
    now = ARRIVED + np.arange(4) * 1000
    flow.run(
        [
            (b"cam/a", bytes(12), 0x30, 0),
            (b"cam/a", bytes(12), 0x31, 0),
            (b"cam/b", b"", 0x30, 0),
            (b"cam/b", b"\xff\xd8", 0x30, 0),
        ],
        now,
    )
    figures = flow.figures()
    assert figures.refused == {"retained": 1, "empty": 1}
    assert figures.rejected == {"broken_image": 1}
    assert (figures.accepted, figures.readings, figures.scored, figures.windows) == (1, 1, 1, 1)
    assert figures.examples["rejected/broken_image"] == "camera/b"
    assert_sums(figures)


def test_a_camera_that_sends_no_more_is_silent_and_heard_again():
    flow = make_flow(**SILENT)
    feed(flow, timed_of([(0, 0, 12, 40, False)]))
    later = ARRIVED + 60 * SECOND
    raised = flow.advance(later, later).changes
    assert [(change.alert.condition, change.alert.state) for change in raised] == [("silent", "raised")]
    assert flow.deadlines()[1] is None
    now = np.array([later + SECOND])
    cleared = flow.run([(b"cam/d0", bytes(12), 0x30, 0)], now, now).changes
    assert [(change.alert.condition, change.alert.state) for change in cleared] == [("silent", "cleared")]


def test_a_reload_with_a_model_of_another_size_keeps_alerts_and_counts():
    before, after = make_flow(), make_flow(side=3)
    feed(before, timed_of([(0, 0, 12, 255, False)]))
    assert before.figures().alerts_standing == 1
    assert after.adopt(before) == ["camera"]
    at = ARRIVED + 10 * SECOND
    changes = after.run([(b"cam/d0", bytes(27), 0x30, 0)], np.array([at])).changes
    assert [change.alert.state for change in changes] == ["cleared"]
    figures = after.figures()
    assert (figures.readings, figures.scored, figures.dropped, figures.alerts_standing) == (2, 2, {}, 0)
    assert_sums(figures)


def test_readings_take_the_place_of_pictures_by_a_reload_and_the_other_way_round():
    pictures, readings = make_flow(), Flow("gw", [plan("camera", topic="cam/{device}", length=1, hop=1)])
    feed(pictures, timed_of([(0, 0, 12, 40, False)]))
    assert readings.adopt(pictures) == ["camera"]
    document = b'{"ts": 1700000200, "a": 1, "b": 2}'
    readings.run([(b"cam/d0", document, 0x30, 0)], np.array([ARRIVED + 200 * SECOND]))
    assert readings.figures().scored == 2
    again = make_flow()
    assert again.adopt(readings) == ["camera"]
    feed(again, timed_of([(0, 0, 12, 40, False)]))
    assert again.figures().scored == 3
    assert_sums(again.figures())
