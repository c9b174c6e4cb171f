"""How far a backfill is: what its checkpoints say, counted. Counts and times only, never a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakebound.backfill.checkpoints import Checkpoint
from lakebound.counts import count_text


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run at a moment.

    `segments` counts what the run is cut into, and `unit` names it: a scan's segments, or units of an export's files.
    `expected` is DynamoDB's own count of items, which can be hours old, or what an export's manifest says; so
    `remaining_seconds` is a guess, and None without one.
    """

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
    unit: str = "segments"

    def __str__(self) -> str:
        left = f", about {_duration(self.remaining_seconds)} left" if self.remaining_seconds else ""
        return (
            f"{self.done:,} of {self._parts} done, {count_text(self.items, 'item')} in "
            f"{count_text(self.files, 'file')} ({self.bytes / 1e6:,.1f} MB), {self.items_per_second:,.0f} items/s, "
            f"{count_text(round(self.consumed), 'unit')} consumed, {count_text(self.throttles, 'throttle')}{left}"
        )

    @property
    def brief(self) -> str:
        """For one line beside a bar."""
        parts = [f"{self.done:,}/{self._parts}", count_text(self.items, "item")]
        parts += [f"{self.items_per_second:,.0f}/s", count_text(round(self.consumed), "unit")]
        if self.throttles:
            parts.append(count_text(self.throttles, "throttle"))
        if self.remaining_seconds:
            parts.append(f"{_duration(self.remaining_seconds)} left")
        return "  ".join(parts)

    @property
    def _parts(self) -> str:
        return count_text(self.segments, self.unit.removesuffix("s"))

    @property
    def share(self) -> float:
        """0 to 1: of the items where they can be counted, else of the segments. Below 1 until all are done."""
        if self.done >= self.segments:
            return 1.0
        done = self.items / self.expected if self.expected else self.done / self.segments
        return min(done, 0.99)


def _duration(seconds: float) -> str:
    for size, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"


def progress_of(
    checkpoints: Sequence[Checkpoint | None], segments: int, expected: int, now_ms: int, *, unit: str = "segments"
) -> RunProgress:
    """The progress behind these checkpoints; `expected` is about how many items there are, 0 when unknown.

    The pace counts from the first page, not from the plan: before an export's first file lie minutes of waiting.
    """
    known = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    items = sum(checkpoint.read for checkpoint in known)
    done = sum(checkpoint.done for checkpoint in known)
    began = min((checkpoint.started_ms for checkpoint in known), default=now_ms)
    last = max((checkpoint.saved_ms for checkpoint in known), default=now_ms)
    seconds = max(0.001, ((last if done == segments else now_ms) - began) / 1000)
    pace = items / seconds
    remaining = None
    if done == segments:
        remaining = 0.0
    elif pace and expected > items:
        remaining = round((expected - items) / pace, 1)
    return RunProgress(
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
        unit=unit,
    )
