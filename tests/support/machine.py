"""A machine with a real systemd for tests, and commands that run inside it.

``tools/with-systemd`` boots it and runs this file there; it reads commands as JSON lines and answers each with one.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).resolve().parents[2]
_NOT_HERE = 77


class Machine:
    """Runs from construction to ``close()``."""

    def __init__(self, *, limit_s: int = 280) -> None:
        self._process = subprocess.Popen(
            [str(ROOT / "tools" / "with-systemd"), "--limit", str(limit_s), "--", sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        if self._process.stdout.readline() != "up\n":
            code = self._process.wait(60)
            self.close()
            if code == _NOT_HERE and not os.environ.get("CI"):
                pytest.skip("no root or no systemd here")
            pytest.fail(f"tools/with-systemd ended with {code}")

    def run(self, *command: str | Path, check: bool = True, timeout_s: float = 120) -> str:
        """Run a command inside; what it printed. ``check=False``: also where it failed."""
        order = {"command": [str(part) for part in command], "timeout_s": timeout_s}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the machine is gone"
        answer = json.loads(line)
        if check and answer["code"] != 0:
            log = self.run("journalctl", "--no-pager", "-n", "40", check=False)
            raise AssertionError(f"{command} ended with {answer['code']}:\n{answer['output']}\n{log}")
        return answer["output"]

    def write(self, path: str, text: str) -> None:
        """Write a file inside, world-readable."""
        program = (
            "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(parents=True, exist_ok=True)"
        )
        self.run(sys.executable, "-c", f"{program}; p.write_text(sys.argv[2]); p.chmod(0o644)", path, text)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        output = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in output.splitlines())

    def wait_for(self, condition: Callable[[], object], what: str, *, timeout_s: float = 60):
        """Poll until a condition holds; generous, since it only bounds a failure."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            if time.monotonic() > deadline:
                log = self.run("journalctl", "--no-pager", "-n", "60", check=False)
                raise AssertionError(f"waited in vain for: {what}\n{log}")
            time.sleep(0.1)
        return found

    def close(self) -> None:
        """Switch it off."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def require_systemd() -> None:
    """Skip where a machine can't be booted; in CI that is a failure."""
    if os.geteuid() != 0 or shutil.which("systemctl") is None:
        if os.environ.get("CI"):
            pytest.fail("root and systemd are needed; CI must have them")
        pytest.skip("needs root and systemd")


def _serve() -> None:
    """Inside the machine: one command at a time, until standard input ends."""
    print("up", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            done = subprocess.run(
                order["command"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=order["timeout_s"],
                check=False,
            )
            answer = {"code": done.returncode, "output": done.stdout.decode("utf-8", "replace")}
        except (OSError, subprocess.TimeoutExpired) as error:
            answer = {"code": 127, "output": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
