"""A folder of batch files (a mirror or a download): listed and read as a bucket is, or record by record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lakebound.counts import count_text
from lakebound.errors import LakeboundError, ObjectMissing
from lakebound.operate.file_check import records_before_damage
from lakebound.ports import StoredObject
from lakebound.record.attributes import Image
from lakebound.transport.object_keys import FORMATS, DataKey

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
                raise LakeboundError(f"{path} has more than {count_text(max_bytes, 'byte')}")
            return path.read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"{path} does not exist") from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every file that is not hidden, in path order. Raises OSError for a folder that may not be looked into."""
        for path in _files_below(self._folder):
            key = f"{PREFIX}/{path.relative_to(self._folder).as_posix()}"
            try:
                state = path.stat()
            except OSError:
                # Gone since the folder was listed, or a link to nowhere: reading it tells.
                yield StoredObject(key, 0, 0)
                continue
            yield StoredObject(key, state.st_size, state.st_mtime_ns // 1_000_000)


def _files_below(folder: Path, *, is_lenient: bool = False) -> Iterator[Path]:
    """Every file that is not hidden, nor in a hidden folder, in path order.

    Raises OSError for a folder that may not be looked into; with ``is_lenient`` it is passed over.
    """
    for above, folders, names in os.walk(folder, onerror=None if is_lenient else _refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(above, name) for name in sorted(names) if not name.startswith("."))


def _refuse(failure: OSError) -> None:
    # os.walk passes over an hour that somebody else's `umask` closed, and `files check` would call the rest whole.
    if not isinstance(failure, FileNotFoundError):
        raise failure


def read_folder(
    folder: Path, since_ms: int = 0, *, is_lenient: bool = False
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """The batch files of a folder in path order, each as its path below the folder and its records.

    A file whose name says that it was written before ``since_ms`` is passed over; one that was renamed is read.
    A file is opened when its first record is asked for, which raises OSError where it cannot be read. A folder that may
    not be looked into raises it too, unless ``is_lenient``.
    """
    for path in _files_below(folder, is_lenient=is_lenient):
        extension = next((ext for ext in FORMATS if path.name.endswith(f".{ext}")), None)
        if extension is not None:
            named = DataKey.parse(PREFIX, f"{PREFIX}/anywhere/{path.name}")
            if named is not None and named.time_ms < since_ms:
                continue
            yield path.relative_to(folder).as_posix(), _records(path, extension)


def _records(path: Path, extension: str) -> Iterator[dict[str, Any]]:
    yield from records_before_damage(extension, path.read_bytes())


def images_in_folder(folder: Path, keys: frozenset[str]) -> Iterator[tuple[str, Image]]:
    """Every image of these keys in the folder's batch files, with its key. What cannot be read is skipped."""
    for _, records in read_folder(folder, is_lenient=True):
        try:
            for record in records:
                if record["key"] in keys:
                    for image in (record["old_image"], record["new_image"]):
                        if image is not None:
                            yield record["key"], image
        except OSError:
            continue  # it proves nothing, and `files check` reports it
