"""The play: broker, daemon and pumps as processes of their own, and a subscriber at the upstream side.

Order: the broker listens; the subscriber subscribes; the daemon says READY=1; only then the sensors
start, so the viewer's clock begins with the first reading. It ends in the order of the flow: pumps,
daemon (which delivers what it has), subscriber, broker. Every process is ended by its id and tied to this
one; files live in one temporary folder.
"""

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from .ledger import PROMISED_WITHIN_S, Ledger, read
from .pumps import BEGINS_S, EVERY_S, FAULTY, LASTS_S, NAMES
from .screen import Screen

_TOOLS = Path(__file__).resolve().parent.parent
_CONFIG = _TOOLS.parent / "config" / "examples" / "demo.yaml"
_JUDGED_FROM_S = 40.0
_GRACE_S = 1.0


class PlayError(Exception):
    """A part failed; the message is for the viewer."""


class Part:
    """One process of the play. Its output goes to a file, so that it can never block on it."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._output = folder / f"{name}.log"
        tied = [sys.executable, "-m", "demo_parts.tied", str(os.getpid()), *command]
        path = os.pathsep.join([str(_TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "NOTIFY_SOCKET": str(folder / "notify")}
        with self._output.open("wb") as output:
            # A session of its own: Ctrl-C on the terminal reaches the stage alone, which ends all in order.
            self._process = subprocess.Popen(
                tied,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise PlayError if the process has ended."""
        if (code := self._process.poll()) is not None:
            raise PlayError(f"the {self.name} ended by itself with {code}:\n{self.tail()}")

    def event(self, name: str) -> dict[str, object] | None:
        """Return the latest JSON line of its output whose ``event`` is ``name``; None if there is none."""
        found = None
        for line in self._output.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                body = json.loads(line)
                if isinstance(body, dict) and body.get("event") == name:
                    found = body
        return found

    def tail(self) -> str:
        """Return the end of its output."""
        return self._output.read_text(encoding="utf-8", errors="replace")[-2000:].rstrip()

    def stop(self, patience_s: float = 10.0) -> int:
        """End it with SIGTERM, after ``patience_s`` with SIGKILL; return its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Play:
    """One performance. Owned by the main thread."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        self._folder, self._screen = folder, screen
        self._port = _free_port()
        self._parts: list[Part] = []
        self._ledger: Ledger | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-viewer")
        self._client.on_connect = lambda client, *_: client.subscribe("plant/#", 1)
        self._client.on_subscribe = lambda *_: setattr(self, "_is_subscribed", True)
        self._client.on_message = self._received
        self._is_subscribed = False

    def run(self, seconds: float | None) -> dict[str, object]:
        """Perform for ``seconds`` from the sensors' start, or until KeyboardInterrupt; return the summary."""
        try:
            pumps, daemon = self._open()
            with contextlib.suppress(KeyboardInterrupt):
                self._watch(seconds)
            return self._close(pumps, daemon)
        finally:
            for part in reversed(self._parts):
                part.stop()

    def broken_promises(self) -> list[str]:
        """Say what was promised and not seen."""
        assert self._ledger is not None
        return self._ledger.broken_promises(FAULTY)

    def _open(self) -> tuple[Part, Part]:
        broker = self._start("broker", [sys.executable, "-m", "demo_parts.broker", str(self._port)])
        self._await(broker, self._connect, "listen")
        self._await(broker, lambda: self._is_subscribed, "take a subscription")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self._folder / "notify"))
            notify.setblocking(False)
            daemon = self._start("daemon", [*_daemon_command(), "run", "-c", str(self._config())])
            self._await(daemon, lambda: _is_ready(notify), "become ready")
        pumps = self._start("pumps", [sys.executable, "-m", "demo_parts.pumps", str(self._port)])
        self._await(pumps, lambda: pumps.event("started") is not None, "start")
        started = pumps.event("started")
        assert started is not None
        assert isinstance(started["at"], float)
        self._ledger = Ledger(started_at=started["at"])
        return pumps, daemon

    def _start(self, name: str, command: list[str]) -> Part:
        part = Part(name, command, self._folder)
        self._parts.append(part)
        return part

    def _await(self, part: Part, is_done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 30.0
        while not is_done():
            part.check()
            if time.monotonic() > deadline:
                raise PlayError(f"the {part.name} did not {what} in 30 s:\n{part.tail()}")
            if self._client.socket() is None:
                time.sleep(0.02)
            else:
                self._client.loop(0.02)

    def _connect(self) -> bool:
        try:
            return self._client.connect("127.0.0.1", self._port) == mqtt.MQTT_ERR_SUCCESS
        except ConnectionRefusedError:
            return False

    def _config(self) -> Path:
        """Write the example with this run's port, state folder and absolute model path. JSON is YAML, too."""
        config = yaml.safe_load(_CONFIG.read_text(encoding="utf-8"))
        config["gateway"] |= {"state_dir": str(self._folder / "state"), "figures_interval_s": 1}
        for broker in config["brokers"].values():
            broker["port"] = self._port
        for stream in config["streams"].values():
            stream["model"] = str((_CONFIG.parent / stream["model"]).resolve())
        path = self._folder / "demo.yaml"
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2), encoding="utf-8")
        return path

    def _received(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        seen = read(message.topic, bytes(message.payload), arrived_at=time.time())
        if seen is None or self._ledger is None:
            return
        self._ledger.add(seen)
        self._screen.show(seen, at_s=seen.arrived_at - self._ledger.started_at)

    def _watch(self, seconds: float | None) -> None:
        assert self._ledger is not None
        while True:
            at_s = time.time() - self._ledger.started_at
            if seconds is not None and at_s >= seconds:
                return
            self._listen_for(0.1)
            self._screen.draw(at_s=at_s)
            for part in self._parts:
                part.check()

    def _listen_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            if self._client.loop(left_s) != mqtt.MQTT_ERR_SUCCESS:
                raise PlayError("the viewer lost its connection to the broker")

    def _close(self, pumps: Part, daemon: Part) -> dict[str, object]:
        assert self._ledger is not None
        pumps.stop()
        self._listen_for(_GRACE_S)
        code = daemon.stop()
        if code != 0:
            raise PlayError(f"the daemon ended with {code}:\n{daemon.tail()}")
        self._listen_for(0.3)
        self._client.disconnect()
        figures, stopped = daemon.event("figures"), pumps.event("stopped")
        if figures is None or stopped is None:
            raise PlayError(f"no figures from the {'daemon' if figures is None else 'pumps'}")
        dropped: dict[str, object] = {}
        for group in ("refused", "rejected", "dropped"):
            counts = figures.get(group, {})
            assert isinstance(counts, dict)
            dropped |= counts
        return {
            "readings": figures["readings"],
            "published": stopped["readings"],
            "predictions": self._ledger.predictions,
            "alerts_raised": self._ledger.devices("raised"),
            "alerts_cleared": self._ledger.devices("cleared"),
            "dropped": dropped,
            "latency_ms": {"p50": self._ledger.latency_ms(0.5), "p99": self._ledger.latency_ms(0.99)},
        }


def _daemon_command() -> list[str]:
    """The installed command beside this Python, or the same without an installation."""
    command = Path(sys.executable).with_name("gatewayd")
    return [str(command)] if command.is_file() else [sys.executable, "-m", "gatewayd"]


def _is_ready(notify: socket.socket) -> bool:
    """Tell whether READY=1 has come (sd_notify(3))."""
    while select.select([notify], [], [], 0.0)[0]:
        if b"READY=1" in notify.recv(4096).split(b"\n"):
            return True
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _seconds(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 86_400.0:
        raise argparse.ArgumentTypeError(f"seconds must lie in 1..86400, not {text}")
    return value


def main(arguments: list[str]) -> int:
    """Perform; exit code 0, or 1 if a part failed or the promise wasn't kept."""
    parser = argparse.ArgumentParser(
        prog="tools/demo", description="Shows gatewayd at work on simulated pumps."
    )
    parser.add_argument("--seconds", type=_seconds, help="end by itself this long after the sensors' start")
    parser.add_argument(
        "--here", action="store_true", help="install nothing: use this Python and its packages"
    )
    seconds: float | None = parser.parse_args(arguments).seconds
    # SIGTERM ends the play as Ctrl-C does, parts in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = Screen(sys.stdout, NAMES)
    screen.say(
        f"{len(NAMES)} simulated pumps send 20 readings a second each (temperature, vibration, pressure,"
        " current); gatewayd scores the last\n"
        f"1.6 s of each with an int8 model. {BEGINS_S:.0f} s in, {FAULTY}'s bearing goes bad, and is replaced"
        f" {LASTS_S:.0f} s later: watch for its alert."
        + ("" if seconds is not None else f"\nIt happens again every {EVERY_S:.0f} s. Ctrl-C ends the demo.")
    )
    with tempfile.TemporaryDirectory(prefix="gatewayd-demo-") as folder:
        play = Play(Path(folder), screen)
        try:
            summary = play.run(seconds)
        except PlayError as error:
            print(f"demo: {error}", file=sys.stderr, flush=True)
            return 1
        except KeyboardInterrupt:
            return 130
    broken = play.broken_promises() if seconds is not None and seconds >= _JUDGED_FROM_S else []
    for promise in broken:
        said = f"demo: not within {PROMISED_WITHIN_S:.0f} s as promised: {promise}"
        print(said, file=sys.stderr, flush=True)
    print(json.dumps(summary), flush=True)
    return 1 if broken else 0
