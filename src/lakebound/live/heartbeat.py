"""A heartbeat: an item of the stack's own that is written, changed and removed, and the seconds of each hop it took.

It lies in a table of its own, because the source table is its owner's. From there it goes the way of every change: a
stream, a function with the code of stream_ingest, the buffer queue, the flusher, the bucket. Its records bear the name
of that table, so the flusher tells them from data and puts their files beside the data, where silver's readers never
look.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

from lakebound.errors import Poison
from lakebound.formats.registry import encoder_of, reader_of
from lakebound.ports import Clock
from lakebound.transport.messages import Member

KEY: Final = "id"
"""The key attribute of the heartbeat's table, a string."""

_WRITTEN: Final = "written_ms"
_ITEM_KEY: Final = {KEY: {"S": "heartbeat"}}
"""Always the same: an item that a killed function left is written over by the next heartbeat, and removed."""


class HeartbeatItems(Protocol):
    """The heartbeat's table."""

    def put(self, item: dict[str, Any]) -> None:
        """Write the item over the one of its key. Raises LakeboundError."""

    def remove(self, key: dict[str, Any]) -> None:
        """Remove the item of this key, if there is one. Raises LakeboundError."""


def beat(items: HeartbeatItems, clock: Clock) -> None:
    """Write, change and remove the item. Raises LakeboundError where the table does not take one of the three."""
    for step in ("written", "changed"):
        # The step makes the second put a change: DynamoDB tells its stream nothing of a put that changes nothing.
        items.put(_ITEM_KEY | {_WRITTEN: {"N": str(clock.now_ms())}, "step": {"S": step}})
    items.remove(_ITEM_KEY)


@dataclass(frozen=True, slots=True)
class Hops:
    """The seconds that one record of a heartbeat took, hop by hop. Never negative, though each clock is another's."""

    stream_s: float
    """From the write to the function that reads the stream."""
    queue_s: float
    """From there to the flusher: sent, and waited for in the buffer queue."""
    file_s: float
    """In the flusher, until the file is in the bucket."""

    @property
    def total_s(self) -> float:
        """From the write to the file."""
        return self.stream_s + self.queue_s + self.file_s


@dataclass(frozen=True, slots=True)
class Beat:
    """One record of a heartbeat in the flusher's hands: when each before it had it."""

    written_ms: int
    received_ms: int
    taken_ms: int

    def hops(self, durable_ms: int) -> Hops:
        """The seconds of each hop, once the record's file is in the bucket."""
        moments = (self.written_ms, self.received_ms, self.taken_ms, durable_ms)
        return Hops(*(max(0, after - before) / 1000 for before, after in pairwise(moments)))


def read_beats(members: Iterable[Member], taken_ms: int) -> list[Beat]:
    """The records of a heartbeat's message. Raises Poison (`heartbeat_shape`, or why a member cannot be read)."""
    return [
        _beat(record, taken_ms)
        for member in members
        for record in reader_of(member.format)(encoder_of(member.format).join([member.data]))
    ]


def _beat(record: dict[str, Any], taken_ms: int) -> Beat:
    # A REMOVE has an old image only: it tells when the item was changed, a moment before.
    image = record["new_image"] or record["old_image"]
    try:
        return Beat(int(image[_WRITTEN]["N"]), record["ingest_time_ms"], taken_ms)
    except (TypeError, KeyError, ValueError):
        raise Poison("heartbeat_shape", "a record of the heartbeat's table that tells no time of writing") from None
