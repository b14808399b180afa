"""Notices that a bundle's folder has changed, so that a new model goes live without a restart.

It only says that something changed. Whether the new content is whole is told by the hashes in ``bundle.yaml``: a
half-written model never matches them, and is refused until the rest has arrived.
"""

from collections.abc import Mapping
from pathlib import Path

_Signature = tuple[tuple[str, int, int, int], ...]


class BundleWatch:
    """Remembers what bundle folders looked like. Owned by the main thread.

    Args:
        folders: By stream name.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)
        self._seen = {name: _signature(folder) for name, folder in self._folders.items()}

    def changed(self) -> list[str]:
        """Return the streams whose bundle has changed since the last call; each change is told once."""
        names: list[str] = []
        for name, folder in self._folders.items():
            signature = _signature(folder)
            if signature != self._seen[name]:
                self._seen[name] = signature
                names.append(name)
        return names

    def over(self, folders: Mapping[str, Path]) -> "BundleWatch":
        """Return a watch over other folders. Of those that stay, what changes after this one's last look is told."""
        watch = BundleWatch(folders)
        for name, folder in watch._folders.items():
            if self._folders.get(name) == folder:
                watch._seen[name] = self._seen[name]
        return watch


def _signature(folder: Path) -> _Signature:
    """Name, inode, size and time of change of the bundle's files; a folder that is being replaced may lack some."""
    found: list[tuple[str, int, int, int]] = []
    for name in ("bundle.yaml", "model.tflite", "golden.json"):
        try:
            status = (folder / name).stat()
        except OSError:
            continue
        found.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)
