"""`lakebound files flatten`: batch files in, one plain file each out, whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lakebound.errors import Poison
from lakebound.operate.file_check import MAX_FILE_BYTES, Files, whole_records
from lakebound.record.plain_json import flatten
from lakebound.transport.object_keys import DataKey


@dataclass(slots=True)
class FlattenResult:
    """What was written, what was there already (names hold a digest: the same), and what is damaged, with its code."""

    files: int = 0
    records: int = 0
    present: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def flatten_all(
    files: Files, prefix: str, folder: Path | None, *, dry_run: bool, flattened: Callable[[], None]
) -> FlattenResult:
    """Flatten every batch file below a prefix, into a folder or to stdout. Raises StoreUnavailable and OSError."""
    result = FlattenResult()
    for stored in files.list(prefix + "/"):
        key = DataKey.parse(prefix, stored.key)
        if key is None:
            continue
        place = None if folder is None else _place(folder, prefix, stored.key, key.ext)
        if place is not None and place.exists():
            result.present += 1
            continue
        count = key.count
        if not dry_run:
            try:
                lines = [flatten(record) for record in whole_records(key.ext, files.get(stored.key, MAX_FILE_BYTES))]
            except Poison as poison:
                result.damaged[stored.key] = poison.code
                continue
            _write(place, b"".join(lines))
            count = len(lines)
        result.files += 1
        result.records += count
        flattened()
    return result


def _place(folder: Path, prefix: str, key: str, extension: str) -> Path:
    return folder.joinpath(*f"{key[len(prefix) + 1 : -len(extension)]}json".split("/"))


def _write(place: Path | None, lines: bytes) -> None:
    if place is None:
        sys.stdout.buffer.write(lines)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    hidden = place.with_name(f".{place.name}.{os.getpid()}")
    hidden.write_bytes(lines)
    hidden.replace(place)
