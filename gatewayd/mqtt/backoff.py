"""How long to wait before the next attempt. Pure: the caller brings the random draw.

Exponential with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), with a floor, so that a refused link
never turns into a tight loop. A connection that succeeds proves little: two clients with one id kick each other
off for ever, each connect a success. So the count starts again only after a session has lasted.
"""

STABLE_S = 30.0
_MOST_DOUBLINGS = 32


def delay_s(attempt: int, *, least_s: float, most_s: float, draw: float) -> float:
    """Return the wait before the next attempt.

    Args:
        attempt: Failures in a row so far, from 0.
        least_s: Upper end of the first wait; half of it is the floor of every wait.
        most_s: Upper end of the longest wait; at least ``least_s``.
        draw: Uniform in [0, 1).

    Returns:
        Seconds, in [least_s / 2, most_s].
    """
    floor = least_s / 2
    ceiling = min(most_s, least_s * 2.0 ** min(attempt, _MOST_DOUBLINGS))
    return floor + (ceiling - floor) * draw


def failures_after(failures: int, *, lasted_s: float) -> int:
    """Return the failures in a row after a session has ended that lasted so long; 0 s for one that never opened."""
    return 0 if lasted_s >= STABLE_S else failures + 1
