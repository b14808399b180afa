"""Says what happens to a link: what is new at once, what repeats itself not before a minute is over.

It decides nothing but what is worth a line. Which level, by whose fault: STYLE.md, "Logging", holds for all of it.
"""

import time
from collections.abc import Callable, Sequence

import structlog

from gatewayd.config.settings import BrokerSettings
from gatewayd.mqtt.backoff import STABLE_S
from gatewayd.mqtt.outgoing import Limits, Refusal

_REPEAT_LOG_S = 60.0
_ACCIDENTS = 2  # links lost in a row that nobody wonders about
_NO_LIMITS = Limits()


class Chronicle:
    """One session's lines in the log. Owned by the session's thread."""

    def __init__(
        self, settings: BrokerSettings, *, client_id: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = structlog.get_logger().bind(
            component="mqtt", broker=f"{settings.host}:{settings.effective_port}", client_id=client_id
        )
        self._clock = clock
        self._logged: dict[str, float] = {}  # what → when it was last logged
        self._refused: dict[str, int] = {}  # reason → publications since it was last logged
        self._is_contested = False
        self._lower: dict[str, dict[str, int]] = {}  # topics granted at less than the wanted QoS
        self._limits = Limits()

    def unverified(self) -> None:
        """TLS is on, and worth little."""
        self._log.warning(
            "certificate_not_verified", meaning="whoever sits in between can read and change everything"
        )

    def opened(self, *, connection: int, session_present: bool, limits: Limits, max_inflight: int) -> None:
        """A connection stands; tell what the broker does not grant, when that is new."""
        self._log.info("link_opened", connection=connection, session_present=session_present)
        changed, self._limits = limits != self._limits, limits
        narrow: dict[str, object] = {}
        if limits.max_qos < _NO_LIMITS.max_qos:
            narrow["max_qos"] = limits.max_qos
        if not limits.retain_available:
            narrow["retain_available"] = False
        if changed and narrow:
            self._log.warning("broker_limited", **narrow, meaning="publications are sent with what it grants")
        if changed and limits.receive_maximum < max_inflight:
            self._log.info(
                "inflight_limited", receive_maximum=limits.receive_maximum, max_inflight=max_inflight
            )

    def closed(self, *, lasted_s: float) -> None:
        """We have said goodbye."""
        self._log.info("link_closed", lasted_s=round(lasted_s, 1))

    def granted(self, subscriptions: Sequence[tuple[str, int]], granted: Sequence[int | str]) -> list[str]:
        """The broker has answered the SUBSCRIBE.

        Args:
            subscriptions: (topic filter, wanted QoS).
            granted: For each the QoS, or why it is refused.

        Returns:
            The topics of those that it refuses.
        """
        denied: dict[str, str] = {}
        lower: dict[str, dict[str, int]] = {}
        for (topic, wanted), given in zip(subscriptions, granted, strict=False):
            if isinstance(given, str):
                denied[topic] = given
            elif given < wanted:
                lower[topic] = {"wanted": wanted, "granted": given}
        if denied and self._is_news(f"denied {sorted(denied)}"):
            self._log.error("subscription_refused", topics=denied)
        changed, self._lower = lower != self._lower, lower
        if lower and changed:  # not at every reconnect to a broker that keeps a limit
            self._log.warning(
                "qos_granted_lower",
                topics=lower,
                meaning="messages may be lost on their way from this broker",
            )
        return list(denied)

    def refused(self, refusals: Sequence[Refusal]) -> None:
        """The broker does not take publications; one line a minute for each reason, with how many and an example."""
        for _, reason, topic, words in refusals:
            self._refused[reason] = self._refused.get(reason, 0) + 1
            if self._is_news(f"publication {reason}"):
                self._log.error(
                    "publication_refused",
                    reason=reason,
                    count=self._refused.pop(reason),
                    topic=topic.decode(errors="backslashreplace"),
                    words=words,
                )

    def lost(
        self,
        reason: str,
        *,
        lasted_s: float,
        retry_in_s: float,
        failures: int,
        was_taken_over: bool,
        is_explained: bool,
    ) -> None:
        """A connection that stood is gone.

        Args:
            reason: Why.
            lasted_s: How long it stood.
            retry_in_s: When the next attempt follows.
            failures: Links lost or not opened, in a row.
            was_taken_over: The broker said that another client has connected with this id.
            is_explained: The broker has said why, or we gave the connection up ourselves; else a take-over that is
                not told is guessed when it happens again and again.
        """
        self._log.warning(
            "link_lost", reason=reason, lasted_s=round(lasted_s, 1), retry_in_s=round(retry_in_s, 1)
        )
        if lasted_s >= STABLE_S:
            self._is_contested = False
        if self._is_contested:
            return
        if was_taken_over:
            self._is_contested = True
            self._log.error("session_taken_over", meaning="a second client has connected with this client id")
        elif not is_explained and lasted_s < STABLE_S and failures > _ACCIDENTS:
            self._is_contested = True
            self._log.error(
                "session_taken_over",
                meaning="the broker drops this client id again and again: a second client has it?",
            )

    def not_opened(
        self, reason: str, *, was_refused: bool, is_other_protocol: bool, attempt: int, retry_in_s: float
    ) -> None:
        """An attempt to connect came to nothing."""
        if not self._is_news(reason):
            return
        in_s = round(retry_in_s, 1)
        if is_other_protocol:
            self._log.error("protocol_refused", reason=reason, attempt=attempt, retry_in_s=in_s)
        else:
            event = "link_refused" if was_refused else "link_failed"
            self._log.warning(event, reason=reason, attempt=attempt, retry_in_s=in_s)

    def _is_news(self, what: str) -> bool:
        """Whether this was not logged within the last minute."""
        now = self._clock()
        self._logged = {known: at for known, at in self._logged.items() if now - at < _REPEAT_LOG_S}
        if what in self._logged:
            return False
        self._logged[what] = now
        return True
