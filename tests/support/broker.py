"""A real mosquitto on a free port."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest


def require_mosquitto() -> str:
    """Return mosquitto's path; without one the test skips, but fails in CI."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed; CI must have it")
        pytest.skip("mosquitto is not installed")
    return path


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Broker:
    """mosquitto with a configuration of ours; ``options`` are lines of mosquitto.conf."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = (), anonymous: bool = True) -> None:
        self._path = require_mosquitto()
        self.port = free_port()
        self.folder = folder
        self.log = folder / "mosquitto.log"
        self._conf = folder / "mosquitto.conf"
        user = "root" if os.geteuid() == 0 else ""
        self._conf.write_text(
            "\n".join(
                (
                    *((f"user {user}",) if user else ()),
                    "persistence false" if not any("persistence" in line for line in options) else "",
                    f"listener {self.port} 127.0.0.1",
                    f"allow_anonymous {'true' if anonymous else 'false'}",
                    "log_type all",
                    "max_queued_messages 0",
                    *options,
                    "",
                )
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._path, "-c", str(self._conf)], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"mosquitto did not start:\n{self.log.read_text()}") from None
                time.sleep(0.02)
            else:
                return self

    def stop(self) -> None:
        """End it in order; its memory is lost unless persistence is on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop answering, connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log_text(self) -> str:
        return self.log.read_text()
