"""The state folder: made where it's missing, and held by one gatewayd at a time."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gatewayd.errors import StartupError


class StateFolder:
    """Holds the folder's lock while it lives. Two daemons on one outbox would publish everything twice.

    Raises:
        StartupError: The folder cannot be made or written to, or another gatewayd holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StartupError(
                f"gateway.state_dir: {path} cannot be used: {error.strerror}; name a folder that this user may write to"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StartupError(
                f"gateway.state_dir: {path} is in use by another gatewayd; give each its own folder"
            ) from error

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the folder."""
        self.close()
