"""The two sides that `verify` compares, and what stands for an item on either of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import orjson

from lakebound.errors import Poison
from lakebound.operate.sample import Selection
from lakebound.record.attributes import Image, canonical_key, digest_of, parse_key
from lakebound.record.redaction import Redaction


class Page(NamedTuple):
    """Items of one part of the source. `is_last`: the part has no more."""

    part: int
    items: Sequence[Image]
    is_last: bool


class SourceTable(Protocol):
    """The DynamoDB table. Images with binary as base64 text, as they stand in stream events."""

    @property
    def key_names(self) -> Sequence[str]:
        """The names of the key attributes."""

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        """Every item of these parts of `of`, strongly consistent. Pages of a few parts at a time mingle.

        Each item is in one part, and all parts together are the table.
        """

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        """The items of these key attributes that exist, strongly consistent, in no order."""


@dataclass(frozen=True, slots=True)
class RedactedSource:
    """Port SourceTable: the items of a source as they land after DROP_ATTRIBUTES and HASH_ATTRIBUTES.

    Keys are read again by their attributes, so none of these may be hashed.
    """

    source: SourceTable
    redaction: Redaction

    @property
    def key_names(self) -> Sequence[str]:
        return self.source.key_names

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        for page in self.source.pages(parts, of):
            yield page._replace(items=[self.redaction.item(item) for item in page.items])

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return map(self.redaction.item, self.source.read(keys))


@dataclass(frozen=True, slots=True)
class LakeRow:
    """A row of silver: `key` is `_key`, `item` is `_item` (null: a tombstone).

    `from_base`: only a backfill has told of its key, the stream has said nothing (ORDERING.md's base register).
    """

    key: str
    item: str | None
    from_base: bool = False


EVERY_KEY: Final = Selection()


class LakeTable(Protocol):
    """The lake's table."""

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        """Every row of the keys selected, all of one version of the table, tombstones too or not."""

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""


ABSENT: Final = b"-"
"""Stands for an item that is not there: in the source, or in the lake no row or a tombstone."""
BROKEN: Final = b"!"
"""Stands for rows that are no item: text that does not parse, two rows of one key. Equal to nothing."""


def state_of(row: LakeRow) -> bytes:
    """What stands for the item that a row shows."""
    if row.item is None:
        return ABSENT
    try:
        item = orjson.loads(row.item)
        return digest_of(item) if isinstance(item, dict) else BROKEN
    except (orjson.JSONDecodeError, Poison):
        return BROKEN


def source_states(source: SourceTable, keys: Iterable[str]) -> dict[str, bytes | str]:
    """What each of these keys holds in the source now: what stands for the item, or the code of its Poison."""
    states: dict[str, bytes | str] = {}
    for item in source.read([parse_key(key) for key in keys]):
        key = canonical_key({name: item[name] for name in source.key_names})
        try:
            states[key] = digest_of(item)
        except Poison as poison:
            states[key] = poison.code
    return states


def lake_states(lake: LakeTable, keys: Iterable[str]) -> dict[str, bytes]:
    """What each of these keys holds in the lake now; none for a key without a row."""
    states: dict[str, bytes] = {}
    for row in lake.read(list(keys)):
        states[row.key] = BROKEN if row.key in states else state_of(row)
    return states


def cannot_be_carried(code: str) -> str:
    """Why an item of the source is left out."""
    return f"the source's item cannot be carried ({code})"
