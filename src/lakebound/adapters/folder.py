"""A folder of batch files, read as a bucket is: for `files check` and `files flatten` on a mirror or a download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lakebound.errors import LakeboundError, ObjectMissing
from lakebound.ports import StoredObject

PREFIX = "files"
"""What stands for the folder at the front of each key."""


class FolderFiles:
    """The reading half of port ObjectStore over a folder; hidden files are somebody's work in progress."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, max_bytes: int) -> bytes:
        """See ObjectStore. Raises OSError for what the file system refuses."""
        path = self._folder.joinpath(*key.split("/")[1:])
        try:
            if path.stat().st_size > max_bytes:
                raise LakeboundError(f"{path} has more than {max_bytes} bytes")
            return path.read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"{path} does not exist") from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every file that is not hidden, in path order."""
        for folder, folders, names in os.walk(self._folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    path = Path(folder, name)
                    key = f"{PREFIX}/{path.relative_to(self._folder).as_posix()}"
                    try:
                        state = path.stat()
                    except OSError:
                        # Gone since the folder was listed, or a link to nowhere: reading it tells.
                        yield StoredObject(key, 0, 0)
                        continue
                    yield StoredObject(key, state.st_size, state.st_mtime_ns // 1_000_000)
