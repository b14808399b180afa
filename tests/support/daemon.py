"""The daemon as a process of its own, and plain MQTT clients around it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt

PUMP_MODEL = Path(__file__).resolve().parents[2] / "config" / "models" / "pump"


class Daemon:
    """``gatewayd run`` on a configuration; ends with the ``with`` block."""

    def __init__(self, folder: Path, config: str, *, environment: dict[str, str] | None = None) -> None:
        self.config = folder / "gatewayd.yaml"
        self.config.write_text(config)
        self.log_path = folder / "gatewayd.log"
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gatewayd", "run", "-c", str(self.config)],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
            )
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def events(self, name: str | None = None) -> list[dict]:
        found = []
        for line in self.log_path.read_text().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if name is None or event.get("event") == name:
                    found.append(event)
        return found

    def wait_for(self, name: str, *, count: int = 1, timeout_s: float = 60) -> dict:
        """Wait until an event was logged so many times; return the last."""
        return until(
            lambda: (len(found := self.events(name)) >= count and found[-1]) or self._ended(),
            timeout_s,
            lambda: f"{name} not logged:\n{self.log_path.read_text()}",
        )

    def _ended(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the daemon ended:\n{self.log_path.read_text()}")

    def ready(self):
        self.wait_for("service_ready")
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def last_figures(self) -> dict:
        return self.events("figures")[-1]


class Client:
    """Publishes, and collects what it subscribed to, in order of arrival."""

    def __init__(self, port: int, *filters: str) -> None:
        self.received: list[mqtt.MQTTMessage] = []
        self._lock = threading.Lock()
        self._filters = filters
        subscribed = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(0)
        self._client.on_message = self._keep
        self._client.on_subscribe = lambda *_: subscribed.set()
        connected = threading.Event()
        self._client.on_connect = lambda *_: (self._subscribe(), connected.set())
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert connected.wait(30)
        if filters:
            assert subscribed.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload, *, qos: int = 1, retain: bool = False):
        data = payload if isinstance(payload, bytes | str) else json.dumps(payload)
        return self._client.publish(topic, data, qos=qos, retain=retain)

    def documents(self, suffix: str = "") -> list[dict]:
        with self._lock:
            return [json.loads(m.payload) for m in self.received if m.topic.endswith(suffix)]

    def wait_for(self, suffix: str, count: int, *, timeout_s: float = 60) -> list[dict]:
        return until(
            lambda: len(found := self.documents(suffix)) >= count and found,
            timeout_s,
            lambda: f"{len(self.documents(suffix))} of {count} {suffix} came",
        )

    def _subscribe(self):
        if self._filters:
            self._client.subscribe([(name, 1) for name in self._filters])

    def _keep(self, _client, _userdata, message):
        with self._lock:
            self.received.append(message)


def until(condition: Callable[[], object], timeout_s: float, complaint: Callable[[], str]):
    """Poll until a condition holds; generous, since it only bounds a failure."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(0.02)
