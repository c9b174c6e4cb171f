"""The re-read of ORDERING.md: every key with a record from around a gap is read again, consistently.

An incremental export leaves out an item that was inserted and deleted inside one window. If its INSERT was delivered,
or a scan inside the gap read it, and its DELETE was lost, only this read shows that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from lakebound.backfill.segment_worker import Page, Throttled
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Poison
from lakebound.formats.registry import reader_of
from lakebound.ports import Clock, ObjectStore
from lakebound.record.attributes import Image, canonical_key
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.stream_records import ChangeEvent
from lakebound.times import TimeRange

KEYS_PER_READ: Final = 100
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
_ROUNDS: Final = 8


class KeyReader(Protocol):
    """Reads items by key."""

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        """One BatchGetItem, strongly consistent: (the answer, ms just before). Raises Throttled, LakeboundError."""


@dataclass(frozen=True, slots=True)
class RereadUnit:
    """What one unit of a run reads again: the keys of these batch files' records in the range, both ends included."""

    table: str
    run: str
    key_names: Sequence[str]
    files: Sequence[str]
    range: TimeRange
    margin_ms: int


class KeyReread:
    """Port PageSource: the keys of some batch files' records, except the run's own records, 100 at a time.

    A start is `{"file": n, "line": n}`. A page is one consistent read; its values are (keys, item or None).
    """

    origin = "reread"

    def __init__(self, unit: RereadUnit, reader: KeyReader, store: ObjectStore, clock: Clock) -> None:
        self._unit = unit
        self._reader = reader
        self._decoder = SnapshotDecoder(unit.table, unit.run, self.origin, unit.key_names)
        self._store = store
        self._clock = clock
        self._read: set[str] = set()
        self._open: tuple[int, int] = (-1, 0)
        self._lines: Iterator[dict[str, Any]] = iter(())

    def page(self, start: Any, limit: int | None) -> Page:
        number, line = (start["file"], start["line"]) if start else (0, 0)
        if self._open != (number, line) and number < len(self._unit.files):
            self._lines = self._open_file(number)
            for _ in range(line):
                next(self._lines)
        keys: dict[str, Image] = {}
        most = min(limit or KEYS_PER_READ, KEYS_PER_READ)
        while number < len(self._unit.files) and len(keys) < most:
            record = self._next()
            if record is None:
                number, line = number + 1, 0
                if number < len(self._unit.files):
                    self._lines = self._open_file(number)
                continue
            line += 1
            self._collect(record, keys)
        following = {"file": number, "line": line} if number < len(self._unit.files) else None
        # The place counts as reached only once its keys were read: a throttled page is asked for again from `start`.
        self._open = (-1, 0)
        values, units, asked = read_keys(self._reader, self._clock, self._unit.table, self._unit.key_names, keys)
        self._read.update(keys)
        self._open = (number, line)
        return Page(asked, asked - self._unit.margin_ms, values, units, following)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return base_record(self._decoder, value, label_ms, event_id)

    def _open_file(self, number: int) -> Iterator[dict[str, Any]]:
        key = self._unit.files[number]
        extension = key.rpartition("/")[2].partition(".")[2]
        return reader_of(extension)(self._store.get(key, MAX_FILE_BYTES))

    def _next(self) -> dict[str, Any] | None:
        try:
            return next(self._lines, None)
        except Poison as poison:
            raise LakeboundError(
                f"a batch file is not as it was written ({poison.code})",
                hint="Find it with `lakebound files check`; the gap cannot be healed incrementally until then",
            ) from None

    def _collect(self, record: dict[str, Any], keys: dict[str, Image]) -> None:
        unit = self._unit
        if record["source_table"] != unit.table or record["snapshot_run"] == unit.run:
            return
        moment = record["approx_creation_time_ms"] if record["origin"] == "stream" else record["snapshot_label_ms"]
        if unit.range.from_ms <= moment <= unit.range.to_ms and record["key"] not in self._read:
            keys[record["key"]] = record["keys"]


def base_record(
    decoder: SnapshotDecoder, read: tuple[Image, Image | None], label_ms: int, event_id: str
) -> ChangeEvent:
    """The base record of one key of `read_keys`: its item, or that it is absent. Raises Poison."""
    keys, item = read
    return decoder.absent(keys, label_ms, event_id) if item is None else decoder.item(item, label_ms, event_id)


def read_keys(
    reader: KeyReader, clock: Clock, table: str, key_names: Sequence[str], keys: dict[str, Image]
) -> tuple[list[tuple[Image, Image | None]], float, int]:
    """One consistent read of at most 100 keys: (key attributes, item or None) of each, read units, ms just before it.

    `keys` are key attributes by canonical key. Raises Throttled when the table leaves some unread again and again.
    """
    asked = clock.now_ms()
    units, found, wanted = 0.0, {}, list(keys.values())
    for _ in range(_ROUNDS):
        if not wanted:
            break
        answer, _ = reader.read_items(wanted)
        for item in answer.get("Responses", {}).get(table, []):
            found[canonical_key({name: item[name] for name in key_names})] = item
        units += sum(float(entry.get("CapacityUnits", 0)) for entry in answer.get("ConsumedCapacity") or ())
        wanted = (answer.get("UnprocessedKeys") or {}).get(table, {}).get("Keys", [])
    if wanted:
        raise Throttled(f"table {table} throttled a read of {count_text(len(keys), 'key')}")
    return [(key, found.get(text)) for text, key in keys.items()], units, asked
