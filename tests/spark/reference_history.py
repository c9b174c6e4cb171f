"""The rules at the top of history/stretches.py in plain Python, one key at a time. The reference for Spark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.support.independent_writer import Record

READ_MS = 120_000
RUN_MS = 7 * 24 * 3600 * 1000


@dataclass(slots=True)
class Stretch:
    """One image and from when to when it was visible. ``ends`` None: it is the current one."""

    version: str
    image: Any
    starts: int
    ends: int | None = None
    is_exact: bool = True


@dataclass(slots=True)
class _Entry:
    at: int
    is_stream: bool
    version: str
    image: Any
    old: Any = None
    old_is_known: bool = False

    @property
    def place(self) -> tuple[int, bool, str]:
        return (self.at, self.is_stream, self.version)


def value_of(tagged: Any) -> Any:
    """An image as a value: numbers by what they are worth, sets without order."""
    if not isinstance(tagged, dict):
        return tagged
    return {name: _plain(*pair) for name, value in tagged.items() for pair in value.items()}


def _plain(tag: str, inner: Any) -> Any:
    if tag == "N":
        return Decimal(inner)
    if tag in ("SS", "NS", "BS"):
        return frozenset(inner)
    return (tag, str(inner))


def reference_history(records: Iterable[Record]) -> list[Stretch]:
    """The stretches of one key's records."""
    records = list(records)
    stream = _stream(records)
    bases = sorted({e.version: e for e in map(_base, records) if e is not None}.values(), key=lambda e: e.place)
    shown: list[_Entry] = list(stream)
    for base in bases:
        if not _told_later(base, stream):
            shown.append(base)
    shown.sort(key=lambda e: e.place)
    kept: list[_Entry] = []
    for entry in shown:
        before = value_of(kept[-1].image) if kept else None
        if entry.is_stream or value_of(entry.image) != before:
            kept.append(entry)
    told = []
    for entry, after in zip(kept, [*kept[1:], None], strict=False):
        contradicted = after is not None and (
            not after.is_stream or (after.old_is_known and value_of(after.old) != value_of(entry.image))
        )
        ends = None if after is None else after.at
        told.append(Stretch(entry.version, entry.image, entry.at, ends, entry.is_stream and not contradicted))
    return told


def _stream(records: list[Record]) -> list[_Entry]:
    entries: list[_Entry] = []
    by_version = {r["version"]: r for r in records if r["origin"] == "stream"}
    latest = -1
    for version in sorted(by_version):
        record = by_version[version]
        latest = max(latest, record["approx_creation_time_ms"])
        known = record["old_image"] is not None or record["event_name"] == "INSERT"
        entries.append(_Entry(latest, True, version, record["new_image"], record["old_image"], known))
    return entries


def _base(record: Record) -> _Entry | None:
    if record["origin"] == "stream":
        return None
    present = 0 if record["new_image"] is None else 1
    label = record["snapshot_label_ms"]
    return _Entry(label, False, f"{label:015d}|{record['snapshot_run']}|{present}", record["new_image"])


def _told_later(base: _Entry, stream: list[_Entry]) -> bool:
    before = [entry for entry in stream if entry.at < base.at]
    chain_holds, last = bool(before), before[-1] if before else None
    for entry in stream[len(before) :]:
        if last is not None:
            chain_holds = chain_holds and entry.old_is_known and value_of(entry.old) == value_of(last.image)
        last = entry
        within_run = base.image is None and chain_holds and entry.at <= base.at + RUN_MS
        if value_of(entry.image) == value_of(base.image) and (within_run or entry.at <= base.at + READ_MS):
            return True
    return False
