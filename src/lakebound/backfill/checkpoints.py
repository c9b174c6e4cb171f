"""A segment's checkpoint: where its reading goes on, and what it has written so far.

A checkpoint follows its files: it is saved after the page's file is durable. It holds its own list of files, so it is
true by itself whoever saved it: a segment that runs twice at once writes some records twice, which ORDERING.md makes
harmless, and names in the manifest only what belongs to the line of checkpoints that won.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One batch file of a run: its key, records and bytes."""

    key: str
    records: int
    size: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one segment (a scan's segment, or a unit of export files or keys to read again).

    `start` is what the source wants to continue with; it holds key values and never leaves the bucket.
    """

    run: str
    number: int
    total: int
    table_id: str
    start: Any = None
    done: bool = False
    read: int = 0
    records: int = 0
    quarantined: int = 0
    consumed: float = 0.0
    pages: int = 0
    throttles: int = 0
    invocations: int = 0
    min_label_ms: int | None = None
    max_label_ms: int | None = None
    started_ms: int = 0
    saved_ms: int = 0
    rate: float | None = None
    ready_ms: int = 0
    files: tuple[WrittenFile, ...] = ()

    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """As one JSON document."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["files"] = [[file.key, file.records, file.size] for file in self.files]
        return orjson.dumps({"v": VERSION} | fields)

    @staticmethod
    def decode(key: str, body: bytes) -> Checkpoint:
        """The checkpoint behind a document. Raises LakeboundError for one that is none."""
        try:
            fields = orjson.loads(body)
            if fields.pop("v") != VERSION:
                raise ValueError("version")
            fields["files"] = tuple(WrittenFile(*file) for file in fields["files"])
            return Checkpoint(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LakeboundError(
                f"{key} is not a checkpoint of this version", hint="Start a new backfill; this run cannot go on"
            ) from None

    def check(self, run: str, number: int, total: int, table_id: str) -> None:
        """Refuse to go on with another way of cutting the table, or with another table. Raises Misconfigured.

        A start key belongs to its segment count: under another one, part of the table would be read by nobody.
        """
        if (self.run, self.number) != (run, number):
            raise Misconfigured(
                f"the checkpoint is of run {self.run}, segment {self.number}", hint="Start a new backfill"
            )
        if self.total != total:
            raise segments_changed(run, self.total, total)
        if self.table_id != table_id:
            raise table_recreated(run)


def segments_changed(run: str, before: int, asked: int) -> Misconfigured:
    """The error of a run that is to go on with another number of segments than it began with."""
    return Misconfigured(
        f"run {run} was started with {count_text(before, 'segment')} and cannot go on with {asked}",
        hint="Start a new backfill; its records and this run's agree",
    )


def table_recreated(run: str) -> Misconfigured:
    """The error of a run whose table was deleted and created again meanwhile."""
    return Misconfigured(
        f"the table was created again since run {run} began", hint="Start a new backfill of the new table"
    )
