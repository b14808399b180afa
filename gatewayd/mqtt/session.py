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

from gatewayd.config.secret import Secret
from gatewayd.config.settings import BrokerSettings
from gatewayd.domain.reading import Message
from gatewayd.domain.verdict import Publication
from gatewayd.errors import RejectedInputError, TransientError
from gatewayd.mqtt.backoff import delay_s, failures_after
from gatewayd.mqtt.birth import Birth, Status
from gatewayd.mqtt.chronicle import Chronicle
from gatewayd.mqtt.outgoing import cut_batch
from gatewayd.mqtt.properties import Address, Request
from gatewayd.mqtt.tapped import make_link
from gatewayd.mqtt.tls import TlsFiles

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
        keeps_properties: bool = False,
    ) -> None:
        """Make a session that connects at the first ``poll``.

        Args:
            settings: Of the broker.
            client_id: MQTT client id.
            gateway: The gateway's id, for the status topic.
            password: Belongs to the user name in the settings.
            tls: With paths resolved; None: as the settings say.
            subscriptions: (topic filter, QoS).
            status_topic: Template of the topic of birth and will; None: neither.
            persistent: Ask the broker to keep the session, with its subscriptions, while the link is down.
            keeps_properties: What is received are requests, see ``take_requests``; ``take_messages`` gives nothing.
        """
        if tls is None and settings.tls is not None:
            tls = TlsFiles.of(settings.tls)  # asked for, so never without
        self.is_open = self.is_subscribed = False
        self.connection = 0
        self.reconnects = 0
        self.last_error: str | None = None
        self.refused: dict[str, int] = {}
        self._settings = settings
        self._is_v5 = settings.protocol == "5"
        self._subscriptions = tuple(subscriptions)
        self._chronicle = Chronicle(settings, client_id=client_id)
        self._birth: Birth | None = None
        if status_topic is not None:
            self._birth = Birth(status_topic, gateway=gateway, is_v5=self._is_v5)
        self._link = make_link(
            settings,
            client_id=client_id,
            password=password,
            tls=tls,
            will=None if self._birth is None else self._birth.will(),
            persistent=persistent,
            max_frame_bytes=settings.max_message_bytes,
            keeps_properties=keeps_properties,
        )
        self._keeps_properties = keeps_properties
        self._requests: list[tuple[Message, Address]] = []
        self._refused_publications: list[tuple[int, str]] = []
        self._messages: list[Message] = []
        self._is_connecting = False  # TCP stands, CONNACK has not come
        self._suback_by: float | None = None  # the limit for SUBACK; None while none is awaited
        self._is_closed = False
        self._failures = 0
        self._retry_at = 0.0
        self._began_at = 0.0  # of this connection
        self._heard_at = 0.0  # last sign of life from the broker
        self._random = random.SystemRandom()  # two gateways from one image must not draw alike
        if tls is not None and tls.insecure_skip_verify:
            self._chronicle.unverified()

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

    def take_requests(self) -> list[Request]:
        """Return what was received since the last call, in order of arrival; with ``keeps_properties`` only.

        They are acknowledged by that: a request is carried out at most once, and whoever sent it sees by the missing
        answer that it was lost. Those that can't be taken are counted in ``refused``.
        """
        taken, self._requests = self._requests, []
        self.acknowledge([message for message, _ in taken])
        requests = []
        for message, address in taken:
            try:
                requests.append(Request.of(message, address))
            except RejectedInputError as error:
                self._refuse(error.reason, 1)
        return requests

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
            most ``max_inflight`` at QoS 1 are unacknowledged at any time, or what the broker grants if that is less,
            and a batch ends at 256 KiB. One that this broker will never take counts as taken, and comes back by
            ``take_refused``.
        """
        if not self.is_open or self._link.is_behind():
            return 0
        limits = self._link.limits
        room = min(self._settings.max_inflight, limits.receive_maximum) - len(self._link.flight)
        batch = cut_batch(items, is_v5=self._is_v5, limits=limits, room=room)
        self._link.flight.refused += batch.refused
        if batch.frames:
            self._link.publish(batch.frames)
        self._after()
        return batch.taken

    def take_acknowledged(self) -> list[int]:
        """Return the tokens whose PUBACK came since the last call (QoS 0: that were written to the socket)."""
        flight = self._link.flight
        tokens, flight.acknowledged = flight.acknowledged, []
        return tokens

    def take_refused(self) -> list[tuple[int, str]]:
        """Return what was refused since the last call: tokens that this broker will not take, and why.

        Nobody has got them, and sending them again will hardly change that. The reasons are those that MQTT 5 brokers
        give (``mqtt/flight.py``), and two of our own: ``packet_too_large`` for the broker, ``property_too_long`` for
        the protocol. MQTT 3.1.1 brokers refuse nothing: they acknowledge and discard, or drop the link.
        """
        refused, self._refused_publications = self._refused_publications, []
        return refused

    def close(self, timeout_s: float) -> None:
        """Publish ``offline``, wait for what is in flight, disconnect; all within ``timeout_s``. For good."""
        deadline = time.monotonic() + timeout_s
        if self.is_open:
            self._say("offline")
        while self.is_open and (self._link.flight or self._link.is_behind()):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                break
            self._advance(left_s, None)
        self._is_closed = True
        if self.is_open:
            self._link.disconnect()
            self._link.write()
            self._chronicle.closed(lasted_s=time.monotonic() - self._began_at)
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
        silence_s, most_s = now - self._heard_at, _SILENCE * self._keepalive_s()
        if (self.is_open or self._is_connecting) and 0 < most_s < silence_s:
            return f"nothing heard for {silence_s:.0f} s"
        return None

    def _longest_wait_s(self, timeout_s: float) -> float:
        if self._link.holds_unread():
            return 0.0
        due_s = (self._keepalive_s() or self._settings.keepalive_s) / 8
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
            self._refuse("too_large", link.too_large)
            link.too_large = 0
        if link.flight.refused:
            self._chronicle.refused(link.flight.refused)
            self._refused_publications += [
                (token, reason) for token, reason, *_ in link.flight.refused if token is not None
            ]
            link.flight.refused.clear()
        if link.messages and not self._is_connecting:  # before CONNACK nothing is ours to take
            if self._keeps_properties:
                self._requests += zip(link.messages, link.addresses, strict=True)
                link.addresses.clear()
            else:
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
        self._chronicle.opened(
            connection=self.connection,
            session_present=self._link.session_present,
            limits=self._link.limits,
            max_inflight=self._settings.max_inflight,
        )
        self._say("online")
        if self._subscriptions:
            self._link.subscribe(self._subscriptions)
            self._suback_by = self._suback_due()

    def _suback_due(self) -> float:
        return time.monotonic() + self._settings.connect_timeout_s

    def _granted(self, granted: Sequence[int | str]) -> None:
        self._suback_by = None
        denied = self._chronicle.granted(self._subscriptions, granted)
        self.is_subscribed = not denied
        if denied:
            self.last_error = f"subscription refused: {', '.join(denied)}"

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
        link = self._link
        self.last_error = reason
        link.close(reason)
        if was_open:
            self._chronicle.lost(
                reason,
                lasted_s=lasted_s,
                retry_in_s=retry_in_s,
                failures=self._failures,
                was_taken_over=link.was_taken_over,
                is_explained=is_ours or link.is_explained,
            )
        else:
            self._chronicle.not_opened(
                reason,
                was_refused=link.was_refused,
                is_other_protocol=link.is_other_protocol,
                attempt=self._failures,
                retry_in_s=retry_in_s,
            )

    def _refuse(self, reason: str, messages: int) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + messages

    def _keepalive_s(self) -> int:
        """Return the keep-alive interval that holds; 0: the broker wants none."""
        granted = self._link.limits.keepalive_s
        return self._settings.keepalive_s if granted is None else granted

    def _say(self, status: Status) -> None:
        """Publish our status, if there is a topic for it."""
        if self._birth is not None:
            limits, in_flight = self._link.limits, len(self._link.flight)
            self._link.publish([self._birth.frame(status, limits=limits, in_flight=in_flight)])
