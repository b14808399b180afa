"""Settings → objects → threads, wired by hand. No logic but what a reload may change."""

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from gatewayd import __version__
from gatewayd.assemble import build_flow
from gatewayd.config.settings import BrokerSettings
from gatewayd.deliver import Deliverer
from gatewayd.domain.figures import LineFigures
from gatewayd.domain.model import ModelSpec
from gatewayd.errors import ModelError, StartupError, TransientError
from gatewayd.line import Line
from gatewayd.links import broker_settings, source_name, subscriptions
from gatewayd.model.bundle import load_bundle
from gatewayd.model.fit import fit_problems
from gatewayd.model.watch import BundleWatch
from gatewayd.mqtt.properties import Request
from gatewayd.mqtt.session import Session
from gatewayd.pipeline.flow import Flow
from gatewayd.runtime import logs, signals
from gatewayd.runtime.report import FigureReport
from gatewayd.runtime.status import status_text
from gatewayd.runtime.supervisor import Supervisor, Tick, Worker
from gatewayd.runtime.systemd import Notifier
from gatewayd.startup import Prepared, prepare
from gatewayd.store.checkpoint import Checkpoint, DamagedError
from gatewayd.store.folder import StateFolder
from gatewayd.store.outbox import Outbox

_RELOAD_S = 10.0


def run(prepared: Prepared) -> int:
    """Run the gateway until it is told to stop.

    Returns:
        The exit code: 0 after a stop that was asked for, 1 after a fault of ours.

    Raises:
        StartupError: A model or the state folder cannot be used.
    """
    notifier = Notifier.from_environment()
    settings = prepared.settings
    logs.configure(settings.gateway.log_level)
    for secret in prepared.secrets.values():
        logs.mask(secret.reveal())
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(StateFolder(prepared.loaded.resolve(settings.gateway.state_dir)))
        events = cleanup.enter_context(signals.install())
        outbox = Outbox(
            folder.path / "outbox.db",
            max_bytes=settings.outbox.max_bytes,
            durability=settings.outbox.durability,
            max_age_s=settings.outbox.max_age_s,
        )
        cleanup.callback(outbox.close)
        gateway = _Gateway(prepared, outbox, Checkpoint(folder.path / "flow.state"))
        supervisor = Supervisor(
            stages=[
                [Worker(name="line", run=gateway.line.run, stop=lambda _left_s: gateway.line.stop())],
                [
                    Worker(name=f"deliver-{name}", run=deliverer.run, stop=deliverer.stop)
                    for name, deliverer in gateway.deliverers.items()
                ],
            ],
            signals=events,
            notifier=notifier,
            stop_timeout_s=settings.gateway.stop_timeout_s,
            progress=gateway.line.progress,
        )
        ending = supervisor.run(on_tick=gateway.tick, on_reload=gateway.reload)
        gateway.report_end(ending.exit_code)
        if ending.stuck:
            sys.stdout.flush()
            os._exit(ending.exit_code)
    return ending.exit_code


class _Gateway:
    """The objects of one process, and how another configuration takes their place. Owned by the main thread."""

    def __init__(self, prepared: Prepared, outbox: Outbox, memory: Checkpoint) -> None:
        self._prepared, self._outbox = prepared, outbox
        self._log = structlog.get_logger().bind(component="gateway")
        # Before the models are opened, which takes a while: what changes meanwhile is told by the first tick.
        self._watch = BundleWatch(_folders(prepared))
        settings = prepared.settings
        flow = self._go_on(build_flow(prepared), memory)
        self.deliverers = {
            name: Deliverer(
                outbox,
                _upstream_session(prepared, name, flow.listens_to(name)),
                broker=name,
                hear=self._hear,
                order=settings.outbox.order,
                backlog_share=settings.outbox.backlog_share,
            )
            for name in dict.fromkeys(stream.publish.to for stream in settings.streams.values())
        }
        self._source = _source_session(prepared)
        self.line = Line(
            source=self._source,
            flow=flow,
            store=outbox,
            wake_deliverers=self._wake_deliverers,
            linger_s=settings.line.linger_ms / 1000,
            batch=settings.line.batch,
            memory=memory,
        )
        self._report = FigureReport(
            interval_s=settings.gateway.figures_interval_s, now_s=time.monotonic(), before=flow.figures()
        )
        self._log_loaded("config_loaded", prepared)

    def _go_on(self, flow: Flow, memory: Checkpoint) -> Flow:
        """Let the flow go on where the process before stopped; a state that can't be used is left behind."""
        try:
            state = memory.load()
            restarted = flow.restore(state) if state is not None else []
            flow.begin_sessions()
        except (DamagedError, KeyError, ValueError) as error:
            self._log.error("state_damaged", reason=str(error), meaning="windows and alerts begin anew")
            return build_flow(self._prepared)  # the one at hand may have taken half of it over
        if restarted:
            self._log.warning("windows_restarted", streams=restarted)
        if flow.abandoned_alerts:
            self._log.warning("alerts_abandoned", standing=flow.abandoned_alerts)
        if state is not None:
            # What was in open windows is taken up once: after a crash they would be older than what came since.
            with contextlib.suppress(TransientError):  # the line will say so
                memory.save(flow.alerts_state())
            figures = flow.figures()
            self._log.info(
                "state_restored",
                devices=figures.devices,
                waiting=figures.waiting,
                alerts_standing=figures.alerts_standing,
            )
        return flow

    def tick(self) -> Tick:
        """Tell how things stand; called about once a second."""
        figures = self.line.figures
        self._write_report(figures, is_last=False)
        for stream in self._watch.changed():
            self._renew_model(stream)
        status = status_text(
            figures,
            [deliverer.figures for deliverer in self.deliverers.values()],
            self._outbox.figures(),
            source=source_name(self._prepared.settings),
            reason=self._source.last_error,
        )
        return Tick(status=status, is_subscribed=figures.is_subscribed)

    def reload(self) -> str | None:
        """Put the file as it is now in force; the old configuration stays where that can't be done."""
        # Looked at before the bundles are read: what changes while they are is told by a later tick.
        watch = BundleWatch(_folders(self._prepared))
        try:
            prepared = prepare(self._prepared.loaded.path)
            _refuse_restart_needed(self._prepared, prepared)
            self._go_on_with(prepared)
        except StartupError as error:
            problems = str(error).splitlines()
            self._log.error("reload_refused", problems=problems)
            return f"reload refused, the old configuration stays active: {problems[0]}"
        self._watch = watch.over(_folders(prepared))
        logs.set_level(prepared.settings.gateway.log_level)
        self._log_loaded("config_reloaded", prepared)
        return None

    def report_end(self, exit_code: int) -> None:
        """Log the last figures."""
        self._write_report(self.line.figures, is_last=True)
        self._log.info("gateway_stopped", exit_code=exit_code)

    def _renew_model(self, stream: str) -> None:
        """Put a stream's bundle as it is now in force; the old one stays where that can't be done."""
        settings = self._prepared.settings.streams[stream]
        assert settings.model is not None  # only folders are watched
        try:
            bundle = load_bundle(self._prepared.loaded.resolve(settings.model))
            faults = fit_problems(settings, bundle.spec)
            if faults:
                raise ModelError("; ".join(message for _, message in faults))
            bundles = {**self._prepared.bundles, stream: bundle}
            self._go_on_with(dataclasses.replace(self._prepared, bundles=bundles))
        except StartupError as error:
            self._log.error("model_refused", stream=stream, reason=str(error))
            return
        self._log.info("model_loaded", stream=stream, model=bundle.spec.name, version=bundle.spec.version)

    def _go_on_with(self, prepared: Prepared) -> None:
        """Hand another configuration to the line. Raises StartupError before anything has changed."""
        for secret in prepared.secrets.values():
            logs.mask(secret.reveal())  # before the new link can log anything
        flow = build_flow(prepared)
        source = None
        if subscriptions(prepared) != subscriptions(self._prepared) or _link(prepared) != _link(
            self._prepared
        ):
            source = _source_session(prepared)
        if not self.line.replace(flow, source, timeout_s=_RELOAD_S):
            self._log.warning("reload_delayed", waited_s=_RELOAD_S)
        self._source = source or self._source
        self._prepared = prepared

    def _hear(self, broker: str, request: Request) -> None:
        self.line.hear(broker, request, self.deliverers[broker].say)

    def _wake_deliverers(self) -> None:
        for deliverer in self.deliverers.values():
            deliverer.wake()

    def _write_report(self, figures: LineFigures, *, is_last: bool) -> None:
        deliveries = [deliverer.figures for deliverer in self.deliverers.values()]
        for level, event, fields in self._report.lines(
            figures, deliveries, self._outbox.figures(), now_s=time.monotonic(), is_last=is_last
        ):
            self._log.log(level, event, **fields)

    def _log_loaded(self, event: str, prepared: Prepared) -> None:
        for warning in prepared.warnings:
            self._log.warning("config_warned", warning=warning)
        self._log.info(
            event,
            version=__version__,
            file=str(prepared.loaded.path),
            gateway=prepared.settings.gateway.id,
            models={name: _titled(prepared.spec(name)) for name in prepared.settings.streams},
        )


def _titled(spec: ModelSpec) -> str:
    return f"{spec.name} {spec.version}"


def _folders(prepared: Prepared) -> Mapping[str, Path]:
    return {
        name: prepared.loaded.resolve(stream.model)
        for name, stream in prepared.settings.streams.items()
        if stream.model is not None
    }


def _link(prepared: Prepared) -> tuple[BrokerSettings, str | None]:
    name = source_name(prepared.settings)
    return prepared.settings.brokers[name], _password(prepared, name)


def _password(prepared: Prepared, broker: str) -> str | None:
    secret = prepared.secrets.get(broker)
    return None if secret is None else secret.reveal()


def _source_session(prepared: Prepared) -> Session:
    name = source_name(prepared.settings)
    broker = broker_settings(prepared, name)
    gateway = prepared.settings.gateway.id
    return Session(
        broker,
        client_id=broker.client_id or f"{gateway}-{name}",
        password=prepared.secrets.get(name),
        subscriptions=subscriptions(prepared),
        gateway=gateway,
    )


def _upstream_session(prepared: Prepared, name: str, topics: Sequence[str]) -> Session:
    broker = broker_settings(prepared, name)
    gateway = prepared.settings.gateway.id
    client_id = broker.client_id or f"{gateway}-{name}"
    if name == source_name(prepared.settings):
        client_id += "-out"  # the line's session has the plain one; a broker allows each only once
    return Session(
        broker,
        client_id=client_id,
        password=prepared.secrets.get(name),
        status_topic=broker.status_topic,
        gateway=gateway,
        subscriptions=[(topic, 1) for topic in topics],
        keeps_properties=True,
    )


def _refuse_restart_needed(before: Prepared, after: Prepared) -> None:
    """Raise where a change reaches further than a reload can."""
    old, new = before.settings, after.settings
    upstreams = [{stream.publish.to for stream in settings.streams.values()} for settings in (old, new)]
    changed = [
        f"gateway.{option}"
        for option in type(old.gateway).model_fields
        if option != "log_level" and getattr(old.gateway, option) != getattr(new.gateway, option)
    ]
    if upstreams[0] != upstreams[1]:
        changed.append("the upstream brokers")
    for name in sorted(upstreams[0] & upstreams[1]):
        if old.brokers[name] != new.brokers[name]:
            changed.append(f"brokers.{name}")
        elif _password(before, name) != _password(after, name):
            changed.append(f"the password of brokers.{name}")
    # A link that is source and upstream at once has two client ids; they cannot change while one is in use.
    shared = upstreams[0] & upstreams[1]
    if shared & {source_name(old)} != shared & {source_name(new)}:
        changed.append("the broker that streams come from")
    spoken = [
        {
            (
                stream.publish.to,
                stream.publish.home_assistant,
                stream.publish.group if stream.publish.encoding == "sparkplug_b" else None,
            )
            for stream in settings.streams.values()
        }
        for settings in (old, new)
    ]
    if spoken[0] != spoken[1]:
        changed.append("publish.home_assistant or Sparkplug")
    changed += [name for name in ("line", "outbox", "commands") if getattr(old, name) != getattr(new, name)]
    if changed:
        raise StartupError(f"{', '.join(changed)} changed: restart the service for that")
