"""The processes of a benchmark: started on a core, asked for their CPU time, ended by their own id.

Every process lives in a ``with`` block; leaving it ends the process, whatever went wrong inside.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve().parent
EVENT_TIMEOUT_S = 300.0


class RigError(Exception):
    """A process of the rig didn't do its part: the run is void."""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on one core: a child inherits its parent's affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int, int]:
    """Return (the core of what is measured, the core of its load): the last and the first that we may use."""
    mine = sorted(os.sched_getaffinity(0))
    return mine[-1], mine[0]


def cpu_s(pid: int) -> float:
    """Return a process's user and system time so far, in seconds, all threads included.

    The clock of another process: clock_getcpuclockid(3), whose id Linux makes from the process id like this.
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory_kib(pid: int) -> dict[str, int]:
    """Return a process's resident memory now (VmRSS) and at its highest (VmHWM), proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {key: int(found[key].split()[0]) for key in ("VmRSS", "VmHWM")}


def wait_until_idle(pid: int, *, quiet_s: float = 0.4, limit_s: float = EVENT_TIMEOUT_S) -> None:
    """Wait until a process has used less than 1 ms of CPU for ``quiet_s``."""
    deadline = time.monotonic() + limit_s
    before = cpu_s(pid)
    while time.monotonic() < deadline:
        time.sleep(quiet_s)
        now = cpu_s(pid)
        if now - before < 1e-3:
            return
        before = now
    raise RigError(f"process {pid} did not come to rest in {limit_s:.0f} s")


class Helper:
    """A script of this folder as a process of its own, which speaks one JSON object a line."""

    def __init__(self, script: str, *arguments: object, core: int) -> None:
        self._name = script
        command = [sys.executable, str(HERE / script), *map(str, arguments)]
        with on_core(core):
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self._lines = b""

    def go(self) -> None:
        """Tell it to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def event(self, name: str, *, timeout_s: float = EVENT_TIMEOUT_S) -> dict[str, object]:
        """Wait for its next event, which must be ``name``.

        Raises:
            RigError: Another event, none in time, or the process ended.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._lines:
            readable, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, deadline - time.monotonic())
            )
            if not readable:
                raise RigError(f"{self._name}: no event {name!r} in {timeout_s:.0f} s")
            data = os.read(self._process.stdout.fileno(), 65_536)
            if not data:
                raise RigError(f"{self._name} ended before its event {name!r}")
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        found: dict[str, object] = json.loads(line)
        if found["event"] != name:
            raise RigError(f"{self._name}: expected the event {name!r}, got {line.decode()}")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        end(self._process, patience_s=1.0 if self._name != "empty_paho.py" else 0.0)


class Mosquitto:
    """A real mosquitto on a free port of the loopback, without limits that would drop messages."""

    def __init__(self, folder: Path, *, core: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "max_queued_messages 0\nmax_inflight_messages 2000\nlog_type error\n",
            encoding="ascii",
        )
        command = [mosquitto_path(), "-c", str(config)]
        with on_core(core), (folder / "mosquitto.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for_port(self.port, self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, patience_s=0.0)


def mosquitto_path() -> str:
    """Find mosquitto; Debian keeps it in /usr/sbin, which isn't on everybody's PATH.

    Raises:
        RigError: It isn't installed.
    """
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/local/sbin"]:
        if os.access(path := os.path.join(folder, "mosquitto"), os.X_OK):  # noqa: PTH118  # PATH may hold ""
            return path
    raise RigError("mosquitto is not installed: leave it out with --brokers null")


def wait_for_port(port: int, process: subprocess.Popen[bytes], *, limit_s: float = 10.0) -> None:
    """Wait until a process listens."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        time.sleep(0.02)
    raise RigError(f"{process.args!r} does not listen on port {port}")


class Daemon:
    """The installed ``gatewayd run`` on one core, ready when this is built.

    Attributes:
        ready_s: Seconds from the start of the process to READY=1 (sd_notify(3)).
    """

    def __init__(self, command: Sequence[str], config: Path, *, core: int) -> None:
        self._folder = config.parent
        self._log = self._folder / "daemon.log"
        notify = self._folder / "notify"
        environment: Mapping[str, str] = {**os.environ, "NOTIFY_SOCKET": str(notify)}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self._log.open("wb") as log:
            ready.bind(str(notify))
            started_at = time.monotonic()
            with on_core(core):
                self._process = subprocess.Popen(
                    [*command, "run", "-c", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=self._folder,
                )
            self.pid = self._process.pid
            try:
                self._wait_until_ready(ready, started_at + 30.0)
            except RigError:
                end(self._process, patience_s=0.0)
                raise
            self.ready_s = time.monotonic() - started_at

    def _wait_until_ready(self, ready: socket.socket, deadline: float) -> None:
        ready.settimeout(0.1)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                if b"READY=1" in ready.recv(4096).split(b"\n"):
                    return
            if self._process.poll() is not None:
                raise RigError(f"the daemon ended with {self._process.returncode}:\n{self._tail()}")
        raise RigError(f"the daemon did not become ready in 30 s:\n{self._tail()}")

    def stop(self) -> dict[str, object]:
        """End it with SIGTERM; return its last ``figures`` log line.

        Raises:
            RigError: It didn't end with 0, or logged no figures.
        """
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired as error:
            raise RigError("the daemon did not stop in 30 s") from error
        if code != 0:
            raise RigError(f"the daemon ended with {code}:\n{self._tail()}")
        figures: dict[str, object] | None = None
        for line in self._log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                figures = event if event.get("event") == "figures" else figures
        if figures is None:
            raise RigError(f"the daemon logged no figures:\n{self._tail()}")
        return figures

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        end(self._process, patience_s=0.0)


def end(process: subprocess.Popen[bytes], *, patience_s: float) -> None:
    """End a process: give it ``patience_s`` to end by itself, then SIGTERM, then SIGKILL."""
    for patience, number in ((patience_s, signal.SIGTERM), (10.0, signal.SIGKILL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
        process.send_signal(number)
    process.wait()
