"""Tests put this folder on a daemon's PYTHONPATH: scoring hangs as long as the file in GATEWAYD_TEST_STALL exists.

The product has no such hook, so the fault is put in from outside, where Python itself looks at its start.
"""

import os
import time
from pathlib import Path

from gatewayd.pipeline.flow import Flow

_trigger = Path(os.environ["GATEWAYD_TEST_STALL"])
_run = Flow.run


def _hang(self, messages, *times):
    while messages and _trigger.exists():
        time.sleep(0.02)
    return _run(self, messages, *times)


Flow.run = _hang
