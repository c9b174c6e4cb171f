"""Every record of one key in order, and why the visible item is the visible one.

Two registers decide (docs/ORDERING.md). The stream register holds the greatest version, the
base register the greatest (label, run, present). The stream's image is visible when there is no base, or when any
stream record of the key was created at the base's label or later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import orjson

from lakebound.errors import Poison
from lakebound.operate.file_check import MAX_FILE_BYTES, records_before_damage
from lakebound.operate.typed_key import KeyQuery
from lakebound.ports import ObjectStore
from lakebound.record.attributes import canonical_item, canonical_key
from lakebound.times import iso_millis
from lakebound.transport.object_keys import DataKey
from lakebound.transport.undelivered import pending_quarantine, read_quarantine

FileRecords = Iterator[tuple[str, Iterator[dict[str, Any]]]]
"""Files by name, each with its records."""


@dataclass(frozen=True, slots=True)
class Step:
    """One record of the key: its file, its kind, and what orders it."""

    file: str
    origin: str
    event_name: str
    version: str
    label_ms: int | None
    run: str
    created_ms: int | None
    ingested_ms: int
    has_image: bool
    copies: int = 1

    @property
    def is_stream(self) -> bool:
        return self.origin == "stream"

    @property
    def base(self) -> tuple[int, str, int]:
        """What orders base records."""
        return (self.label_ms or 0, self.run, int(self.has_image))


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A quarantined record of the key's sequence numbers: it is in no file."""

    object_key: str
    reason: str
    sequence_number: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The records in order, and the verdict. `winner` is None where there is no record of the key."""

    key: str
    stream: tuple[Step, ...]
    base: tuple[Step, ...]
    winner: Step | None
    why: str
    breaks: tuple[str, ...] = ()
    """Versions whose old image is not the image before: a record is missing there, or the order is wrong."""
    quarantined: tuple[QuarantineEntry, ...] = ()

    @property
    def is_visible(self) -> bool:
        return self.winner is not None and self.winner.has_image


@dataclass(slots=True)
class KeySearch:
    """Finds what is known of the key that somebody named, and counts what was read."""

    query: KeyQuery
    files: int = 0
    records: int = 0
    quarantined: int = 0

    def in_files(self, files: FileRecords, progress: Callable[[], None]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each record that the query may mean, with its file. `progress` is called after each file."""
        for name, records in files:
            for record in records:
                self.records += 1
                if self.query.meets(record["key"], record["keys"]):
                    yield name, record
            self.files += 1
            progress()

    def in_quarantine(self, store: ObjectStore, table: str) -> Iterator[tuple[str, QuarantineEntry]]:
        """Each quarantined record that the query may mean, with its key. Passes over those whose Keys cannot be read.

        Raises StoreUnavailable.
        """
        for one in read_quarantine(store, pending_quarantine(store, table).objects):
            self.quarantined += 1
            try:
                keys = orjson.loads(one.payload)["dynamodb"]["Keys"]
                key = canonical_key(keys)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, Poison):
                continue
            if self.query.meets(key, keys):
                yield key, QuarantineEntry(one.key, one.reason, str(one.source.get("sequence_number") or ""))


def read_bucket(store: ObjectStore, prefix: str, since_ms: int) -> FileRecords:
    """The batch files that were written from a moment on, each with its records. Raises StoreUnavailable."""
    for stored in store.list(f"{prefix}/"):
        data = DataKey.parse(prefix, stored.key)
        if data is not None and data.time_ms >= since_ms:
            yield stored.key, records_before_damage(data.ext, store.get(stored.key, MAX_FILE_BYTES))


def trace(
    key: str, records: Iterable[tuple[str, Mapping[str, Any]]], quarantined: Iterable[QuarantineEntry] = ()
) -> Trace:
    """The trace of a key, from (file, record) in any order. Records of other keys are passed over."""
    steps: dict[tuple[Any, ...], Step] = {}
    images: dict[str, tuple[Any, Any]] = {}
    for file, record in records:
        if record["key"] != key:
            continue
        step = _step(file, record)
        place = (step.version,) if step.is_stream else ("base", step.base, step.origin)
        known = steps.get(place)
        if known is None:
            steps[place] = step
            if step.is_stream:
                images[step.version] = (record["old_image"], record["new_image"])
        else:
            first = min(known, step, key=lambda one: (one.ingested_ms, one.file))
            steps[place] = replace(first, copies=known.copies + 1)
    stream = tuple(sorted((step for step in steps.values() if step.is_stream), key=lambda step: step.version))
    base = tuple(sorted((step for step in steps.values() if not step.is_stream), key=lambda step: step.base))
    winner, why = _decide(stream, base)
    return Trace(key, stream, base, winner, why, _breaks(stream, images), tuple(quarantined))


def _step(file: str, record: Mapping[str, Any]) -> Step:
    return Step(
        file=file,
        origin=record["origin"],
        event_name=record["event_name"],
        version=record["version"] or "",
        label_ms=record["snapshot_label_ms"],
        run=record["snapshot_run"] or "",
        created_ms=record["approx_creation_time_ms"],
        ingested_ms=record["ingest_time_ms"],
        has_image=record["new_image"] is not None,
    )


def _decide(stream: tuple[Step, ...], base: tuple[Step, ...]) -> tuple[Step | None, str]:
    if not stream and not base:
        return None, "no record of this key was found"
    if not base:
        return stream[-1], "the greatest version of the stream; there is no base record"
    if not stream:
        return base[-1], "the greatest base record; the stream has no record of this key"
    newest = max(step.created_ms or 0 for step in stream)
    label = base[-1].label_ms or 0
    if newest >= label:
        why = f"a stream record was created at {iso_millis(newest)}, not before the base record's label "
        return stream[-1], why + iso_millis(label)
    why = f"the base record's label {iso_millis(label)} is after the last stream record's creation, "
    return base[-1], why + iso_millis(newest)


def _breaks(stream: tuple[Step, ...], images: Mapping[str, tuple[Any, Any]]) -> tuple[str, ...]:
    """Only where both neighbours carry what is compared: a stream of new images alone cannot be audited.

    A change whose old image could not be carried has none, which says nothing; an INSERT without one says that there
    was no item.
    """
    if all(old is None for old, _ in images.values()):
        return ()
    found = []
    for before, after in pairwise(stream):
        old, previous = images[after.version][0], images[before.version][1]
        is_known = old is not None or after.event_name == "INSERT"
        if is_known and not _are_equal(old, previous):
            found.append(after.version)
    return tuple(found)


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two images are one item, as the chain audit sees it: `1.0` and `1` are, in any order of names."""
    if one is None or other is None or one == other:
        return bool(one == other)
    try:
        return canonical_item(one) == canonical_item(other)
    except Poison:
        return False
