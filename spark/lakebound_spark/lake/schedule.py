"""When each step of each table is due, and which goes next. Moments are seconds since the epoch, told by the caller."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

STEPS: Final = ("bronze", "silver", "history", "maintain", "audit")
"""The steps of a table, in the order in which they go when several are due at the same moment."""
FIRST_RETRY_SECONDS: Final = 60
LONGEST_RETRY_SECONDS: Final = 3600
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Every:
    """Due at each multiple of so many seconds, so that a restart moves nothing, and `5m` and `15m` meet."""

    seconds: int

    def after(self, moment: float) -> float:
        """The first due time later than ``moment``."""
        return (moment // self.seconds + 1) * self.seconds

    def __str__(self) -> str:
        for unit, length in (("d", _DAY), ("h", 3600), ("m", 60)):
            if self.seconds % length == 0:
                return f"every {self.seconds // length}{unit}"
        return f"every {self.seconds}s"


@dataclass(frozen=True, slots=True)
class Daily:
    """Due once a day, at this minute of the day in UTC."""

    minute: int

    def after(self, moment: float) -> float:
        """The first due time later than ``moment``."""
        offset = self.minute * 60
        return ((moment - offset) // _DAY + 1) * _DAY + offset

    def __str__(self) -> str:
        return f"at {self.minute // 60:02d}:{self.minute % 60:02d}"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one table; ``name`` is one of STEPS."""

    table: str
    name: str
    timing: Every | Daily


class End(Enum):
    """How a turn of a step ended."""

    DONE = "done"
    FAILED = "failed"
    CUT = "continues"
    """It gave way to others before it had caught up, and is due again at once."""


@dataclass(slots=True)
class _Entry:
    step: Step
    due: float | None
    """None: never again."""
    failures: int = 0
    is_running: bool = False


_NOTHING: Final[Mapping[Step, float]] = MappingProxyType({})


class Agenda:
    """The steps with their due times. Threads may share it.

    The step that has waited longest goes first, whatever its table: whoever has had a turn is due later than all who
    wait, so a table with much to do holds up none with little. Steps of one table never run at the same time.

    ``done`` tells when a daily step was last done; one that is not in it is due at once, as are all others at the
    start. With ``once`` a step that has ended is not due again.
    """

    def __init__(
        self, steps: Iterable[Step], now: float, done: Mapping[Step, float] = _NOTHING, *, once: bool = False
    ) -> None:
        self._once = once
        self._lock = threading.Lock()
        self._entries = [_Entry(step, _first_due(step, now, done)) for step in steps]
        if once:
            for entry in self._entries:
                entry.due = entry.due if entry.due is not None and entry.due <= now else None

    def take(self, now: float) -> Step | None:
        """The step to run now, which counts as running until `finish`; None while none can."""
        with self._lock:
            entry = min(self._startable(now), key=self._rank, default=None)
            if entry is None:
                return None
            entry.is_running = True
            return entry.step

    def finish(self, step: Step, now: float, end: End) -> float | None:
        """Note how the turn of ``step`` ended; when it is due next, None for never."""
        with self._lock:
            entry = self._entry(step)
            entry.is_running = False
            entry.failures = entry.failures + 1 if end is End.FAILED else 0
            if end is End.CUT:
                entry.due = now
            elif self._once:
                entry.due = None
            elif end is End.FAILED:
                entry.due = _retry(step.timing, entry.failures, now)
            else:
                entry.due = step.timing.after(now)
            return entry.due

    def tables_waiting(self, step: Step, now: float) -> int:
        """How many tables have a step that is due and does not run, other than ``step``."""
        with self._lock:
            return len({one.step.table for one in self._entries if _is_waiting(one, now) and one.step != step})

    def next_due(self) -> float | None:
        """When the next step that does not run is due; None when there is none."""
        with self._lock:
            return min(
                (entry.due for entry in self._entries if entry.due is not None and not entry.is_running), default=None
            )

    def due_times(self) -> list[tuple[Step, float | None]]:
        """Each step with its due time."""
        with self._lock:
            return [(entry.step, entry.due) for entry in self._entries]

    def _startable(self, now: float) -> list[_Entry]:
        busy = {entry.step.table for entry in self._entries if entry.is_running}
        return [entry for entry in self._entries if _is_waiting(entry, now) and entry.step.table not in busy]

    def _rank(self, entry: _Entry) -> tuple[float, int]:
        assert entry.due is not None
        return entry.due, STEPS.index(entry.step.name)

    def _entry(self, step: Step) -> _Entry:
        return next(entry for entry in self._entries if entry.step == step)


def _is_waiting(entry: _Entry, now: float) -> bool:
    return entry.due is not None and entry.due <= now and not entry.is_running


def _first_due(step: Step, now: float, done: Mapping[Step, float]) -> float:
    if isinstance(step.timing, Every) or step not in done:
        return now
    # A due time that passed while no driver ran counts from now: the streams catch up first.
    return max(step.timing.after(done[step]), now)


def _retry(timing: Every | Daily, failures: int, now: float) -> float:
    pause = min(FIRST_RETRY_SECONDS << min(failures - 1, 10), LONGEST_RETRY_SECONDS)
    return max(timing.after(now), now + pause) if isinstance(timing, Every) else now + pause
