"""What a backfill knows of its source before it reads: the table, its stream, the stream's mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as DynamoDB describes it. `items` and `size` (bytes) are counted by DynamoDB about every six hours."""

    name: str
    arn: str
    table_id: str
    key_names: tuple[str, ...]
    items: int
    size: int
    read_capacity: int
    """Provisioned read units a second; 0 on demand."""
    stream_arn: str | None
    recovery_from_ms: int | None
    """The earliest time that exports reach; None without point-in-time recovery."""


@dataclass(frozen=True, slots=True)
class MappingFacts:
    """The mapping that delivers the stream. `modified_ms` is not before its creation."""

    mapping_id: str
    stream_arn: str
    state: str
    modified_ms: int


class Described(Protocol):
    """The source's describer."""

    def describe(self, *, recovery: bool = False) -> TableFacts:
        """The table; `recovery_from_ms` only with `recovery`. Raises Misconfigured, LakeboundError."""


class Mapped(Protocol):
    """The stream mapping's describer."""

    def mapping(self) -> MappingFacts:
        """Raises Misconfigured, LakeboundError."""
