"""The first look of `verify`: each side is read once and written out by key, then compared partition by partition.

What is read of either side goes out as entries (a key's text, and 16 bytes that stand for its item) into PARTITIONS
partitions, chosen by the key. One partition is in memory at a time: about 600 bytes for each of its keys, 60 MB at 100
million keys. Only the keys that differ stay, with about 500 bytes each.

A part that was read to its end is kept. A run that goes on with what another began reads the other parts only. That is
sound however late it is: a difference at first sight is a suspicion, and is read again on both sides.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol, TypeVar
from zlib import crc32

from lakebound.errors import Poison
from lakebound.operate.sample import MAX_SHARES, Selection, Stratum
from lakebound.operate.sides import (
    ABSENT,
    BROKEN,
    EVERY_KEY,
    LakeRow,
    LakeTable,
    SourceTable,
    cannot_be_carried,
    source_states,
    state_of,
)
from lakebound.record.attributes import Image, canonical_key, digest_of

PARTITIONS: Final = 1_024
"""A constant, for a count of items that is six hours old cannot tell how many are needed."""

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Entries of one part that wait in memory. As many parts are open as threads scan."""

_ROWS_A_LOOK_UP: Final = 1_000
_KEYS_A_READ: Final = 100_000
"""Keys that the lake is asked for at once: each time it reads through its column of keys."""


class Spill(Protocol):
    """Keeps what was read, by part and partition. A part counts once its last chunk is kept.

    Raises LakeboundError where that cannot be written or read.
    """

    def whole_parts(self) -> frozenset[str]:
        """The names of the parts whose last chunk is kept."""

    def keep(self, part: str, chunk: Mapping[int, bytes | bytearray], *, is_last: bool) -> None:
        """Keep a further chunk of a part, by partition: all of it or nothing."""

    def read(self, partition: int) -> bytes:
        """What the whole parts hold of one partition."""


class HeldSpill:
    """Port Spill in memory, for tables that fit: about 75 bytes a key and side."""

    def __init__(self) -> None:
        self._partitions: dict[int, bytearray] = {}
        self._open: dict[str, list[Mapping[int, bytes | bytearray]]] = {}
        self._whole: set[str] = set()

    def whole_parts(self) -> frozenset[str]:
        return frozenset(self._whole)

    def keep(self, part: str, chunk: Mapping[int, bytes | bytearray], *, is_last: bool) -> None:
        self._open.setdefault(part, []).append(chunk)
        if is_last:
            self._whole.add(part)
            for kept in self._open.pop(part):
                for partition, entries in kept.items():
                    self._partitions.setdefault(partition, bytearray()).extend(entries)

    def read(self, partition: int) -> bytes:
        return bytes(self._partitions.get(partition, b""))


@dataclass(slots=True)
class Suspect:
    """A key whose sides differ: what each side held last, and since when both have held it."""

    source: bytes
    lake: bytes
    since_ms: int = -1
    earlier: set[bytes] = field(default_factory=set)
    """What the source held before, as far as this run saw it."""
    reason: str = ""
    """Why it cannot be judged."""

    def verdict(self) -> str:
        if self.lake == ABSENT:
            return "missing"
        if self.source == ABSENT:
            return "ghost"
        return "stale" if self.lake in self.earlier else "different"


@dataclass(slots=True)
class FirstLook:
    """What differs at first sight, how many keys are equal, and what cannot be judged."""

    suspects: dict[str, Suspect] = field(default_factory=dict)
    equal: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """(key, reason)"""
    rows: int = 0
    """Visible rows of the lake."""
    from_base: int = 0
    """Those of them of which only a backfill has told."""


Progress = Callable[[str, int], None]
"""Told what is being read (`source`, `lake`, `again`) and how many more were read, or are still suspected."""


def parts_of(stratum: Stratum | None, parts: int) -> tuple[range, int]:
    """Which parts of how many the source is read in: ``parts`` for the whole, or for the share of a stratum.

    DynamoDB splits a table by a hash of the partition key. A share is that stretch of hashes, not the keys that the
    lake's share has: nobody outside of DynamoDB knows the hash.
    """
    if stratum is None:
        return range(parts), parts
    each = max(1, min(parts, MAX_SHARES // stratum.of))
    return range(stratum.number * each, (stratum.number + 1) * each), stratum.of * each


def take_first_look(
    source: SourceTable,
    lake: LakeTable,
    spill: Spill,
    selection: Selection = EVERY_KEY,
    parts: int = 1,
    progress: Progress = lambda side, count: None,
) -> FirstLook:
    """Read what is selected of both sides, the source first, and compare it.

    With every key selected both sides are read whole. With a share, two halves meet: the source's part of that share
    is scanned and looked up in the lake, and the lake's keys of that share are looked up in the source. The first
    finds what the lake lacks, the second what it has too much, both what differs. With a moment there is the second
    half only.
    """
    if selection.since_ms is None:
        _scan(source, spill, *parts_of(selection.stratum, parts), progress)
    if "lake" not in spill.whole_parts():
        out = _Part(spill, "lake")
        rows = lake.rows(selection)
        if selection == EVERY_KEY:
            _put_rows(out, rows, progress)
        else:
            _put_rows_and_items(out, rows, source, progress)
        out.end()
    if selection.stratum is not None and "lake-of-source" not in spill.whole_parts():
        out = _Part(spill, "lake-of-source")
        for keys in _groups(_source_keys(spill, selection.stratum), _KEYS_A_READ):
            _put_rows(out, lake.read(keys), progress)
        out.end()
    look = FirstLook()
    for partition in range(PARTITIONS):
        _compare(spill.read(partition), look)
        progress("compared", 1)
    return look


# ── writing out ─────────────────────────────────────────────────────────────────────────────────────────────

_ENTRY: Final = struct.Struct("<IB16s")
"""Bytes of the key's text, what the entry is, the item's digest or the Poison's code; then the text."""
_DIGEST, _ABSENT, _BROKEN, _UNREADABLE, _NAMELESS, _KIND = 0, 1, 2, 3, 4, 7
_FROM_BASE: Final = 8
_OF_LAKE: Final = 16
_NONE: Final = bytes(16)


class _Part:
    """Entries on their way into a spill."""

    def __init__(self, spill: Spill, name: str) -> None:
        self._spill = spill
        self._name = name
        self._chunk: dict[int, bytearray] = {}
        self._bytes = 0

    def put(self, key: str, kind: int, digest: bytes = _NONE) -> None:
        text = key.encode("utf-8", "surrogatepass")
        partition = crc32(text) % PARTITIONS
        entries = self._chunk.get(partition)
        if entries is None:
            entries = self._chunk[partition] = bytearray()
        entries += _ENTRY.pack(len(text), kind, digest)
        entries += text
        self._bytes += _ENTRY.size + len(text)
        if self._bytes >= CHUNK_BYTES:
            self._keep(is_last=False)

    def put_item(self, item: Image, key_names: Sequence[str]) -> None:
        try:
            key = canonical_key({name: item[name] for name in key_names})
        except (Poison, KeyError):
            self.put("?", _NAMELESS)
            return
        try:
            self.put(key, _DIGEST, digest_of(item))
        except Poison as poison:
            self.put(key, _UNREADABLE, poison.code.encode())

    def put_row(self, row: LakeRow) -> None:
        state = state_of(row)
        kind = _OF_LAKE | (_FROM_BASE if row.from_base else 0)
        if state in (ABSENT, BROKEN):
            self.put(row.key, kind | (_ABSENT if state == ABSENT else _BROKEN))
        else:
            self.put(row.key, kind, state)

    def end(self) -> None:
        self._keep(is_last=True)

    def _keep(self, *, is_last: bool) -> None:
        self._spill.keep(self._name, self._chunk, is_last=is_last)
        self._chunk, self._bytes = {}, 0


def _scan(source: SourceTable, spill: Spill, parts: range, of: int, progress: Progress) -> None:
    done = spill.whole_parts()
    names = {part: f"source-{part:07d}" for part in parts}
    left = [part for part in parts if names[part] not in done]
    out: dict[int, _Part] = {}
    for page in source.pages(left, of):
        part = out.setdefault(page.part, _Part(spill, names[page.part]))
        for item in page.items:
            part.put_item(item, source.key_names)
        progress("source", len(page.items))
        if page.is_last:
            out.pop(page.part).end()
            progress("parts", 1)


def _put_rows(out: _Part, rows: Iterable[LakeRow], progress: Progress) -> None:
    for row in rows:
        out.put_row(row)
        progress("lake", 1)


def _put_rows_and_items(out: _Part, rows: Iterable[LakeRow], source: SourceTable, progress: Progress) -> None:
    for group in _groups(rows, _ROWS_A_LOOK_UP):
        states = source_states(source, {row.key for row in group})
        for key, state in states.items():
            if isinstance(state, bytes):
                out.put(key, _DIGEST, state)
            else:
                out.put(key, _UNREADABLE, state.encode())
        _put_rows(out, group, progress)


_Value = TypeVar("_Value")


def _groups(values: Iterable[_Value], size: int) -> Iterator[list[_Value]]:
    left = iter(values)
    while group := list(islice(left, size)):
        yield group


def _source_keys(spill: Spill, stratum: Stratum) -> Iterator[str]:
    """The source's keys that the lake has not been asked for: those of the lake's own share have been."""
    for partition in range(PARTITIONS):
        for key, kind, _ in _entries(spill.read(partition)):
            if not kind & _OF_LAKE and kind != _NAMELESS and not stratum.holds(key):
                yield key


# ── comparing ───────────────────────────────────────────────────────────────────────────────────────────────


def _entries(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    place, end = 0, len(data)
    while place < end:
        size, kind, digest = _ENTRY.unpack_from(data, place)
        place += _ENTRY.size
        yield data[place : place + size].decode("utf-8", "surrogatepass"), kind, digest
        place += size


def _compare(data: bytes, look: FirstLook) -> None:
    """Compare one partition, which holds every entry of its keys."""
    source: dict[str, bytes] = {}
    unreadable: dict[str, str] = {}
    for key, kind, digest in _entries(data):
        if kind == _NAMELESS:
            look.left_out.append((key, "the source's key cannot be carried"))
        elif kind == _UNREADABLE:
            unreadable[key] = cannot_be_carried(digest.rstrip(b"\0").decode())
        elif kind == _DIGEST:
            source[key] = digest
    met: set[str] = set()
    for key, kind, digest in _entries(data):
        if not kind & _OF_LAKE:
            continue
        what = kind & _KIND
        if what != _ABSENT:
            look.rows += 1
            look.from_base += bool(kind & _FROM_BASE)
        if key in unreadable:
            continue
        found = digest if what == _DIGEST else ABSENT if what == _ABSENT else BROKEN
        held = source.get(key, ABSENT)
        if key in met:
            # Two rows of one key: silver promises one row each, whatever the second one holds.
            look.suspects[key] = Suspect(held, BROKEN)
        elif found != held:
            look.suspects[key] = Suspect(held, found)
        met.add(key)
    for key, held in source.items():
        if key not in met and key not in unreadable:
            look.suspects[key] = Suspect(held, ABSENT)
    look.equal += sum(key not in look.suspects and key not in unreadable for key in source)
    look.left_out += unreadable.items()
