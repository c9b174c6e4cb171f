"""Records and batch files as FORMAT.md writes them, made by hand so that the job meets an independent writer."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lakebound.times import format_time

LABEL = "2013-01-01T00:00:00.000"
TABLE = "flights"

Item = Mapping[str, Mapping[str, Any]]
Record = dict[str, Any]


def version(sequence: int | str, label: str = LABEL) -> str:
    return f"{label}|{str(sequence).zfill(40)}"


def item(key: str, **attributes: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """An item whose only key attribute is `id`."""
    return {"id": {"S": key}, **attributes}


def canonical(keys: Item) -> str:
    """The record's `key` for key attributes without characters that need an escape."""
    return "|".join(f"{name}={tag}:{value}" for name, pair in sorted(keys.items()) for tag, value in pair.items())


def stream(
    key: str | Item, sequence: int | str, new_image: Item | None, *, time_ms: int = 1000, **changed: Any
) -> Record:
    """A stream record: `new_image` None is a REMOVE."""
    keys = {"id": {"S": key}} if isinstance(key, str) else key
    return {
        "schema": 1,
        "event_name": "MODIFY" if new_image is not None else "REMOVE",
        "event_id": f"e{sequence}",
        "origin": "stream",
        "source_table": TABLE,
        "key": canonical(keys),
        "keys": keys,
        "new_image": new_image,
        "old_image": None,
        "is_deleted": new_image is None,
        "ttl_expired": False,
        "sequence_number": str(sequence),
        "version": version(sequence),
        "snapshot_label_ms": None,
        "snapshot_run": None,
        "approx_creation_time_ms": time_ms,
        "ingest_time_ms": time_ms + 250,
        "size_bytes": 100,
        **changed,
    }


def base(
    key: str | Item, label_ms: int, new_image: Item | None, *, run: str = "run-1", origin: str = "scan", **changed: Any
) -> Record:
    """A scan, export or sweep row: `new_image` None is ABSENT."""
    return stream(key, 0, new_image, time_ms=label_ms) | {
        "event_name": "SNAPSHOT" if new_image is not None else "ABSENT",
        "event_id": f"{run}|0|{label_ms}|0",
        "origin": origin,
        "sequence_number": None,
        "version": None,
        "snapshot_label_ms": label_ms,
        "snapshot_run": run,
        "approx_creation_time_ms": None,
        **changed,
    }


def line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"


def file_name(
    count: int, content: bytes, *, origin: str = "stream", time_ms: int = 1000, ext: str = "ndjson.gz"
) -> str:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return f"{origin}-{format_time(time_ms)}-{count}-{digest}.{ext}"


def write_bytes(
    source: Path, count: int, content: bytes, *, hour: str = "dt=2013-01-01/HH=05", ext: str = "ndjson.gz"
) -> Path:
    """A file with a right name (but for what the test does to `count` and `content`), put into place by a rename."""
    folder = source / hour
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(count, content, ext=ext)
    temporary = folder / f".{path.name}.part"
    temporary.write_bytes(content)
    temporary.rename(path)
    return path


def write_lines(
    source: Path, lines: Sequence[str], *, count: int | None = None, hour: str = "dt=2013-01-01/HH=05"
) -> Path:
    """One gzip member per five hundred lines, as the flusher concatenates them."""
    members = (lines[start : start + 500] for start in range(0, len(lines), 500))
    content = b"".join(gzip.compress("".join(member).encode(), mtime=0) for member in members)
    return write_bytes(source, len(lines) if count is None else count, content, hour=hour)


def write_records(source: Path, records: Iterable[Mapping[str, Any]], *, hour: str = "dt=2013-01-01/HH=05") -> Path:
    return write_lines(source, [line(record) for record in records], hour=hour)
