"""One broker link that heals itself: connect, subscribe, birth and will, keep-alive, back-off.

The session decides; the link under it does. It never blocks longer than asked, except to connect, and what the
surroundings do to it (refusals, lost links, unreadable TLS files) never escapes: it is logged, kept in
``last_error``, and tried again. What was in flight when a link was lost is forgotten: whoever published it sends it
again.
"""

import math
import random
import select
import time
from collections.abc import Sequence

import orjson
import structlog

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.reading import Message
from gatewayd.domain.topic import TopicTemplate
from gatewayd.domain.verdict import Publication
from gatewayd.errors import TransientError
from gatewayd.mqtt.backoff import STABLE_S, delay_s, failures_after
from gatewayd.mqtt.link import Frame, Link
from gatewayd.mqtt.tls import TlsFiles

MAX_FRAME_BYTES = 1024 * 1024
_REPEAT_LOG_S = 60.0
_BATCH_BYTES = (
    256 * 1024
)  # in one write; more would hold up PINGREQ behind it on a slow uplink until the link seems dead
# Silence after which a link is given up, in keep-alive intervals: paho sends PINGREQ after one, the answer has the
# rest. paho's own deadline would be later, as it starts again whenever paho itself sends something.
_SILENCE = 1.75


class Session:
    """One broker link. Owned by one thread, which calls ``poll`` again and again.

    Attributes:
        is_open: CONNACK came and the connection stands.
        is_subscribed: All subscriptions were granted on this connection; False without subscriptions.
        connection: Grows with each connection that opened; 0 before the first.
        reconnects: Connections that opened after the first.
        last_error: The latest reason for not being open or subscribed; None once all is well.
        refused: Messages not taken in, by reason, since the start.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        *,
        client_id: str,
        gateway: str,
        password: Secret | None = None,
        tls: TlsFiles | None = None,
        subscriptions: Sequence[tuple[str, int]] = (),
        status_topic: str | None = None,
        persistent: bool = False,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        if tls is None and settings.tls is not None:
            tls = TlsFiles.of(settings.tls)  # asked for, so never without
        self.is_open = self.is_subscribed = False
        self.connection = 0
        self.reconnects = 0
        self.last_error: str | None = None
        self.refused: dict[str, int] = {}
        self._settings = settings
        self._client_id = client_id
        self._subscriptions = tuple(subscriptions)
        self._log = structlog.get_logger().bind(
            component="mqtt", broker=f"{settings.host}:{settings.effective_port}", client_id=client_id
        )
        self._status_topic: str | None = None
        if status_topic is not None:
            self._status_topic = TopicTemplate.parse(status_topic).render({"gateway": gateway})
        self._gateway = gateway
        self._link = Link(
            settings,
            client_id=client_id,
            password=password,
            tls=tls,
            will=None if self._status_topic is None else (self._status_topic, self._status("offline")),
            persistent=persistent,
            max_frame_bytes=max_frame_bytes,
        )
        self._messages: list[Message] = []
        self._is_connecting = False  # TCP stands, CONNACK has not come
        self._suback_by: float | None = None  # the limit for SUBACK; None while none is awaited
        self._is_closed = False
        self._failures = 0
        self._retry_at = 0.0
        self._began_at = 0.0  # of this connection
        self._heard_at = 0.0  # last sign of life from the broker
        self._logged: dict[str, float] = {}  # reason → when it was last logged
        self._is_contested = False
        self._lower: dict[
            str, dict[str, int]
        ] = {}  # topics granted at less than the wanted QoS, as last logged
        self._random = random.SystemRandom()  # two gateways from one image must not draw alike
        if tls is not None and tls.insecure_skip_verify:
            self._log.warning(
                "certificate_not_verified", meaning="whoever sits in between can read and change everything"
            )

    # The owner's calls.

    def poll(self, timeout_s: float, wake_fd: int | None = None) -> None:
        """Advance the link: connect when it is time, wait, read, write, keep alive.

        Args:
            timeout_s: Longest wait; rounded up to whole milliseconds. Connecting may add ``connect_timeout_s``
                for all addresses and TLS together, and before it whatever the resolver takes for the host's name.
            wake_fd: Ends the wait when readable. Whoever gave it empties it.
        """
        if self._link.fileno() is None:
            now = time.monotonic()
            if self._is_closed or now < self._retry_at:
                wait_s = timeout_s if self._is_closed else min(timeout_s, self._retry_at - now)
                self._wait(wait_s, wake_fd)
                return
            self._connect()
            if self._link.fileno() is None:
                return
        self._advance(timeout_s, wake_fd)

    def take_messages(self) -> list[Message]:
        """Return what was received since the last call, in order of arrival."""
        messages, self._messages = self._messages, []
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages; those of an earlier connection, and those at QoS 0, are passed over.

        A receipt carries its connection, so a message of a lost one can't acknowledge another that has its packet
        id now.
        """
        if self.is_open:
            self._link.acknowledge(messages)
            self._after()

    def publish(self, items: Sequence[tuple[int, Publication]]) -> int:
        """Send publications in one write.

        Args:
            items: (token, publication), in order.

        Returns:
            How many were taken, from the front: 0 while the link is down or an earlier batch is not through yet; at
            most ``max_inflight`` at QoS 1 are unacknowledged at any time, and a batch ends at 256 KiB.
        """
        if not self.is_open or self._link.is_behind():
            return 0
        room = self._settings.max_inflight - self._link.in_flight()
        frames: list[Frame] = []
        size = 0
        for token, publication in items:
            size += len(publication.payload)
            if frames and size > _BATCH_BYTES:
                break
            if publication.qos:
                if room <= 0:
                    break
                room -= 1
            frames.append(
                (token, publication.topic.encode(), publication.payload, publication.qos, publication.retain)
            )
        if frames:
            self._link.publish(frames)
            self._after()
        return len(frames)

    def take_acknowledged(self) -> list[int]:
        """Return the tokens whose PUBACK came since the last call (QoS 0: that were written to the socket)."""
        tokens, self._link.acknowledged = self._link.acknowledged, []
        return tokens

    def close(self, timeout_s: float) -> None:
        """Publish ``offline``, wait for what is in flight, disconnect; all within ``timeout_s``. For good."""
        deadline = time.monotonic() + timeout_s
        if self.is_open and self._status_topic is not None:
            self._link.publish([(None, self._status_topic.encode(), self._status("offline"), 1, True)])
        while self.is_open and (self._link.in_flight() or self._link.is_behind()):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            self._advance(left_s, None)
        self._is_closed = True
        if self.is_open:
            self._link.disconnect()
            self._link.write()
            self._log.info("link_closed", lasted_s=round(time.monotonic() - self._began_at, 1))
        self._link.close()
        self.is_open = self.is_subscribed = False
        self._suback_by = None

    # Inner workings.

    def _connect(self) -> None:
        self._is_connecting = True
        try:
            self._link.open(self.connection + 1)
        except TransientError as error:
            self._lost(str(error))
        else:
            self._began_at = self._heard_at = (
                time.monotonic()
            )  # a slow resolver is no silence of the broker's
            self._after()

    def _advance(self, timeout_s: float, wake_fd: int | None) -> None:
        """Wait for the connection and serve it."""
        events = self._wait(self._longest_wait_s(timeout_s), wake_fd)
        now = time.monotonic()
        if events & ~select.POLLOUT or self._link.holds_unread():
            self._heard_at = now
            self._link.read()
            self._after()
        if self._link.events() & select.POLLOUT and self._link.fileno() is not None:
            self._link.write()
        if self._link.fileno() is not None:
            self._link.keep_alive()
        self._after()
        reason = self._overdue(now)
        if reason is not None:
            self._lost(reason, is_ours=True)

    def _overdue(self, now: float) -> str | None:
        """Say what the broker owes for too long; None if nothing."""
        limit_s = self._settings.connect_timeout_s
        if self._is_connecting and now > self._link.connect_by:
            return f"no CONNACK within {limit_s} s"
        if self._suback_by is not None and now > self._suback_by:
            return f"no SUBACK within {limit_s} s"
        if (
            self.is_open or self._is_connecting
        ) and now - self._heard_at > _SILENCE * self._settings.keepalive_s:
            return f"nothing heard for {now - self._heard_at:.0f} s"
        return None

    def _longest_wait_s(self, timeout_s: float) -> float:
        if self._link.holds_unread():
            return 0.0
        due_s = self._settings.keepalive_s / 8
        if self._is_connecting:
            due_s = min(due_s, max(0.0, self._link.connect_by - time.monotonic()) + 0.001)
        if self._suback_by is not None:
            due_s = min(due_s, max(0.0, self._suback_by - time.monotonic()) + 0.001)
        return min(timeout_s, due_s)

    def _wait(self, timeout_s: float, wake_fd: int | None) -> int:
        """Wait for the socket or the wake descriptor; return the socket's events."""
        poller = select.poll()
        fd = self._link.fileno()
        if fd is not None:
            poller.register(fd, self._link.events())
        if wake_fd is not None and wake_fd >= 0:
            poller.register(wake_fd, select.POLLIN)
        found = 0
        for ready, events in poller.poll(math.ceil(max(0.0, timeout_s) * 1000)):
            if ready == fd:
                found = events
        return found

    def _after(self) -> None:
        """Draw the conclusions from what the link has seen."""
        link = self._link
        if link.is_open and self._is_connecting:
            self._opened()
        if link.granted is not None:
            self._granted(link.granted)
            link.granted = None
        if link.too_large:
            self.refused["too_large"] = self.refused.get("too_large", 0) + link.too_large
            link.too_large = 0
        if link.messages and not self._is_connecting:  # before CONNACK nothing is ours to take
            self._messages += link.messages
            link.messages.clear()
            if self._suback_by is not None:  # a stored session's backlog may stand before SUBACK: not deaf
                self._suback_by = self._suback_due()
        if link.ended is not None and (self.is_open or self._is_connecting):
            self._lost(link.ended)

    def _opened(self) -> None:
        self._is_connecting = False
        self.is_open = True
        self.connection += 1
        self.reconnects = self.connection - 1
        self.last_error = None
        self._log.info("link_opened", connection=self.connection, session_present=self._link.session_present)
        if self._status_topic is not None:
            self._link.publish([(None, self._status_topic.encode(), self._status("online"), 1, True)])
        if self._subscriptions:
            self._link.subscribe(self._subscriptions)
            self._suback_by = self._suback_due()

    def _suback_due(self) -> float:
        return time.monotonic() + self._settings.connect_timeout_s

    def _granted(self, granted: Sequence[int | str]) -> None:
        self._suback_by = None
        denied: dict[str, str] = {}
        lower: dict[str, dict[str, int]] = {}
        for (topic, wanted), given in zip(self._subscriptions, granted, strict=False):
            if isinstance(given, str):
                denied[topic] = given
            elif given < wanted:
                lower[topic] = {"wanted": wanted, "granted": given}
        self.is_subscribed = not denied
        if denied:
            self.last_error = f"subscription refused: {', '.join(denied)}"
            if self._is_news(self.last_error):
                self._log.error("subscription_refused", topics=denied)
        changed, self._lower = lower != self._lower, lower
        if lower and changed:  # not at every reconnect to a broker that keeps a limit
            self._log.warning(
                "qos_granted_lower",
                topics=lower,
                meaning="messages may be lost on their way from this broker",
            )

    def _lost(self, reason: str, *, is_ours: bool = False) -> None:
        """Drop what is left of the link and set the time of the next attempt.

        Args:
            reason: Why.
            is_ours: We gave it up, so nobody has taken the client id over.
        """
        was_open, self.is_open, self.is_subscribed = self.is_open, False, False
        self._is_connecting = False
        self._suback_by = None
        now = time.monotonic()
        lasted_s = now - self._began_at if was_open else 0.0
        self._failures = failures_after(self._failures, lasted_s=lasted_s)
        retry_in_s = delay_s(
            max(0, self._failures - 1),
            least_s=self._settings.reconnect_min_s,
            most_s=self._settings.reconnect_max_s,
            draw=self._random.random(),
        )
        self._retry_at = now + retry_in_s
        self.last_error = reason
        self._link.close(reason)
        if was_open:
            self._log.warning(
                "link_lost", reason=reason, lasted_s=round(lasted_s, 1), retry_in_s=round(retry_in_s, 1)
            )
            if not is_ours:
                self._contested(lasted_s)
        elif self._is_news(reason):
            event = "link_refused" if self._link.was_refused else "link_failed"
            self._log.warning(event, reason=reason, attempt=self._failures, retry_in_s=round(retry_in_s, 1))

    def _contested(self, lasted_s: float) -> None:
        """Say once that somebody else may hold this client id: MQTT 3.1.1 gives no reason for a take-over."""
        if lasted_s >= STABLE_S:
            self._is_contested = False
        elif self._failures > 2 and not self._is_contested:  # noqa: PLR2004  # once or twice is an accident
            self._is_contested = True
            self._log.error(
                "session_taken_over",
                meaning="the broker drops this client id again and again: a second client has it?",
            )

    def _is_news(self, reason: str) -> bool:
        """Whether a reason was not logged within the last minute."""
        now = time.monotonic()
        self._logged = {known: at for known, at in self._logged.items() if now - at < _REPEAT_LOG_S}
        if reason in self._logged:
            return False
        self._logged[reason] = now
        return True

    def _status(self, status: str) -> bytes:
        return orjson.dumps({"status": status, "gateway": self._gateway})
