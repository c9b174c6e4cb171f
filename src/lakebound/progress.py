"""How far a backfill is: what its checkpoints say, counted. Counts and times only, never a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lakebound.segments import Checkpoint


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at a moment. `remaining_seconds` follows from DynamoDB's own count of items, which can be hours old."""

    segments: int
    done: int
    items: int
    expected: int
    files: int
    bytes: int
    consumed: float
    throttles: int
    items_per_second: float
    remaining_seconds: float | None

    def fields(self) -> dict[str, Any]:
        """As a JSON document."""
        return asdict(self)

    def __str__(self) -> str:
        left = "" if self.remaining_seconds is None else f", about {self.remaining_seconds:,.0f} s left"
        return (
            f"{self.done:,} of {self.segments:,} segments done, {self.items:,} items in {self.files:,} files "
            f"({self.bytes / 1e6:,.1f} MB), {self.items_per_second:,.0f} items/s, "
            f"{self.consumed:,.0f} units consumed, {self.throttles:,} throttles{left}"
        )


def progress_of(
    checkpoints: Sequence[Checkpoint | None], segments: int, expected: int, began_ms: int, now_ms: int
) -> Progress:
    """The progress behind these checkpoints; `expected` is about how many items there are, 0 when unknown."""
    known = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    items = sum(checkpoint.read for checkpoint in known)
    done = sum(checkpoint.done for checkpoint in known)
    last = max((checkpoint.saved_ms for checkpoint in known), default=began_ms)
    seconds = max(0.001, ((last if done == segments else now_ms) - began_ms) / 1000)
    pace = items / seconds
    remaining = None
    if done == segments:
        remaining = 0.0
    elif pace and expected > items:
        remaining = round((expected - items) / pace, 1)
    return Progress(
        segments=segments,
        done=done,
        items=items,
        expected=expected,
        files=sum(len(checkpoint.files) for checkpoint in known),
        bytes=sum(checkpoint.size() for checkpoint in known),
        consumed=round(sum(checkpoint.consumed for checkpoint in known), 1),
        throttles=sum(checkpoint.throttles for checkpoint in known),
        items_per_second=round(pace, 1),
        remaining_seconds=remaining,
    )
