from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mqtt.backoff import STABLE_S, delay_s, failures_after


@given(st.integers(0, 10**6), st.floats(0.1, 60), st.floats(1, 100), st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_within_its_bounds(attempt, least_s, times, draw):
    """Whatever the draw: between half the least and the most."""
    most_s = least_s * times
    assert least_s / 2 <= delay_s(attempt, least_s=least_s, most_s=most_s, draw=draw) <= most_s


def test_the_longest_delay_doubles_up_to_the_most():
    """With the greatest draw: 1, 2, 4, 8, then the most."""
    delays = [delay_s(attempt, least_s=1, most_s=10, draw=1.0) for attempt in range(6)]
    assert delays == [1, 2, 4, 8, 10, 10]


def test_two_clients_that_kick_each_other_connect_at_most_ten_times_a_minute_on_average():
    """Failures keep counting although each connect succeeds: sessions last no time at all."""
    failures, at, connects = 0, 0.0, 1
    while True:
        failures = failures_after(failures, lasted_s=0.05)
        at += delay_s(failures - 1, least_s=1, most_s=60, draw=0.5)
        if at > 60:
            break
        connects += 1
    assert connects <= 10


def test_only_a_session_that_has_lasted_resets_the_count():
    assert failures_after(7, lasted_s=STABLE_S - 0.1) == 8
    assert failures_after(7, lasted_s=STABLE_S) == 0
