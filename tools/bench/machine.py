"""What a figure depends on: the machine and the versions."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rig import RigError, mosquitto_path

_PACKAGES = (
    "gatewayd",
    "paho-mqtt",
    "numpy",
    "tflite-runtime",
    "ai-edge-litert",
    "orjson",
    "msgspec",
    "structlog",
)


def describe() -> dict[str, object]:
    """Describe machine, interpreter and packages; what isn't there is None."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in _PACKAGES} | {"mosquitto": _mosquitto()},
        "load_average_1min": os.getloadavg()[0],
    }


def _cpu_model() -> str | None:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _mosquitto() -> str | None:
    try:
        found = subprocess.run([mosquitto_path(), "-h"], capture_output=True, text=True, check=False)
    except RigError:
        return None
    return found.stdout.splitlines()[0].split()[-1]
