"""Runs a command that ends with its parent: ``python -m demo_parts.tied COMMAND...``.

Whatever becomes of the stage, ``kill -9`` included, nothing that it started stays behind. Linux sends the
signal (PR_SET_PDEATHSIG, prctl(2)); the wish survives exec, so a command that knows nothing of it can be
tied, too.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the wish was heard
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # the stage's own command


if __name__ == "__main__":
    main()
