"""The oracle of silver: two max-registers per key, in plain Python. It imports nothing of the code under test.

The same rule in two forms, each checked against the other and against the source. `Registers` keeps both images and
takes in one record at a time. `merge` does to one compacted row what the Spark job's guarded MERGE does.
`chain_breaks` is the old-image audit over bronze.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

BaseTuple = tuple[int, str, int]
NO_BASE: tuple[()] = ()
NO_TIME = -1


class Change(NamedTuple):
    """What the rule reads of one record. A stream record has a version and a time, a base record a base tuple."""

    version: str
    time: int
    base: BaseTuple | tuple[()]
    image: Any
    """The item, or None for a tombstone and for ABSENT."""


class Row(NamedTuple):
    """Silver's row in compacted form: one image, and both registers' greatest values."""

    version: str
    time: int
    base: BaseTuple | tuple[()]
    image: Any


EMPTY = Row("", NO_TIME, NO_BASE, None)


class Reduced(NamedTuple):
    """One row per key of a micro-batch: what it says to either register."""

    version: str
    stream_image: Any
    time: int
    base: BaseTuple | tuple[()]
    base_image: Any


def reduce(changes: Iterable[Change]) -> Reduced:
    """The greatest of each register over one key's changes."""
    version, stream_image, time, base, base_image = "", None, NO_TIME, NO_BASE, None
    for change in changes:
        if change.base:
            if change.base > base:
                base, base_image = change.base, change.image  # type: ignore[assignment]
        else:
            if change.time > time:
                time = change.time
            if change.version > version:
                version, stream_image = change.version, change.image
    return Reduced(version, stream_image, time, base, base_image)


def merge(row: Row, batch: Reduced) -> Row:
    """The guarded MERGE for one key: the row after the micro-batch (the same object when the guard holds)."""
    newer, newer_base = batch.version > row.version, batch.base > row.base
    if not (newer or newer_base or batch.time > row.time):
        return row
    time = max(row.time, batch.time)
    base = batch.base if newer_base else row.base
    stream_visible = not base or time >= base[0]
    if stream_visible:
        image = batch.stream_image if newer else row.image
    else:
        image = batch.base_image if newer_base else row.image
    return Row(batch.version if newer else row.version, time, base, image)


class Registers:
    """The rule as ORDERING.md states it: both registers of one key, each with its image."""

    __slots__ = ("base", "base_image", "stream_image", "time", "version")

    def __init__(self) -> None:
        self.version = ""
        self.stream_image: Any = None
        self.time = NO_TIME
        self.base: BaseTuple | tuple[()] = NO_BASE
        self.base_image: Any = None

    def add(self, change: Change) -> None:
        """Take one record in."""
        if change.base:
            if change.base > self.base:
                self.base, self.base_image = change.base, change.image
            return
        self.time = max(self.time, change.time)
        if change.version > self.version:
            self.version, self.stream_image = change.version, change.image

    @property
    def visible(self) -> Any:
        """The item a reader sees, or None."""
        return self.stream_image if not self.base or self.time >= self.base[0] else self.base_image

    @property
    def stream_time_ms(self) -> int | None:
        """The greatest creation time, None before the first stream record."""
        return None if self.time == NO_TIME else self.time

    @property
    def label_ms(self) -> int:
        """The label of the base register, 0 without one."""
        return self.base[0] if self.base else 0

    @property
    def base_text(self) -> str:
        """The base register as silver's `_base` spells it."""
        return f"{self.base[0]:015d}|{self.base[1]}|{self.base[2]}" if self.base else ""


def change_of(record: Mapping[str, Any]) -> Change:
    """The rule's view of one record of the contract."""
    if record["origin"] == "stream":
        return Change(record["version"], record["approx_creation_time_ms"], NO_BASE, record["new_image"])
    present = int(record["new_image"] is not None)
    return Change("", NO_TIME, (record["snapshot_label_ms"], record["snapshot_run"], present), record["new_image"])


class Silver:
    """The whole table by key, fed in micro-batches of records."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def merge(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Merge one micro-batch; how many rows it changed."""
        by_key: dict[str, list[Change]] = {}
        for record in records:
            by_key.setdefault(record["key"], []).append(change_of(record))
        changed = 0
        for key, changes in by_key.items():
            before = self.rows.get(key, EMPTY)
            after = merge(before, reduce(changes))
            changed += after is not before
            self.rows[key] = after
        return changed

    def items(self) -> dict[str, Any]:
        return {key: row.image for key, row in self.rows.items() if row.image is not None}


def receive_all(records: Iterable[Mapping[str, Any]]) -> dict[str, Registers]:
    """Both registers of each key, whatever the order of the records."""
    keys: dict[str, Registers] = {}
    for record in records:
        keys.setdefault(record["key"], Registers()).add(change_of(record))
    return keys


def visible_items(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: one.visible for key, one in receive_all(records).items() if one.visible is not None}


def chain_breaks(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Where the old-image chain is broken: (key, version before, version after).

    For one key in version order each record's old image equals the previous record's new image, exactly, because a
    write that changes nothing emits nothing.
    """
    chains: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        if record["origin"] == "stream":
            chains.setdefault(record["key"], {})[record["version"]] = record
    breaks = []
    for key, chain in chains.items():
        for before, after in itertools.pairwise(sorted(chain)):
            if chain[after]["old_image"] != chain[before]["new_image"]:
                breaks.append((key, before, after))
    return breaks
