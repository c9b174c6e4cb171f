"""When what waits in `_changes` is merged: by time, by rows or by bytes, and what happens when it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.times import interval_seconds
from lakebound_spark.platform.failure_causes import cause_of
from lakebound_spark.silver.changes_table import Pending

MERGE_ROWS: Final = 1_000_000
MERGE_BYTES: Final = 256 << 20
_BOUND: Final = 4
"""So many times the rows or bytes at which a merge is due may wait. Past that a merge comes before the next append."""
_PAUSE_MS: Final = 60_000


def parse_interval(text: str) -> int:
    """Seconds of `--merge-every`: `0`, `30s`, `10m`, `2h`, `1d`. Raises Misconfigured for anything else."""
    seconds = interval_seconds(text)
    if seconds is None:
        raise Misconfigured(f"--merge-every {text}: use 0 to merge each micro-batch, or an interval such as 30s or 10m")
    return seconds


@dataclass(frozen=True, slots=True)
class MergeSchedule:
    """A merge is due after ``seconds``, or when so many rows or bytes wait. With 0 seconds every micro-batch merges."""

    seconds: float = 0
    rows: int = MERGE_ROWS
    bytes: int = MERGE_BYTES

    @property
    def appends(self) -> bool:
        """Whether micro-batches append, and merge later."""
        return self.seconds > 0

    def is_due(self, waiting: Pending, last_ms: int, now_ms: int) -> bool:
        """Whether what waits is to be merged now, the last merge having ended at ``last_ms``."""
        if not waiting.appends:
            return False
        full = waiting.rows >= self.rows or waiting.bytes >= self.bytes
        return full or now_ms - last_ms >= self.seconds * 1000

    def due_since_ms(self, waiting: Pending, last_ms: int, now_ms: int) -> int | None:
        """Since when a merge is due, at the latest; None while none is. Of rows and bytes, only that they suffice."""
        if not self.is_due(waiting, last_ms, now_ms):
            return None
        return min(now_ms, last_ms + round(self.seconds * 1000))

    def is_overdue(self, waiting: Pending) -> bool:
        """Whether so much waits that appending has to end until a merge has succeeded."""
        return waiting.rows >= _BOUND * self.rows or waiting.bytes >= _BOUND * self.bytes


AT_ONCE: Final = MergeSchedule()
"""Every micro-batch merges what it brings."""


@dataclass(slots=True)
class DueMerge:
    """Merges what waits for it, called again and again.

    ``waiting`` tells what waits and when the last merge ended; ``merge`` merges it.
    """

    target: str
    schedule: MergeSchedule
    waiting: Callable[[], tuple[Pending, int]]
    merge: Callable[[], object]
    warn: Callable[[str], None]
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _failed_ms: int = field(default=0, init=False)
    _seen: tuple[Pending, int] | None = field(default=None, init=False)
    """What ``waiting`` told last."""
    _rows_since: int = field(default=0, init=False)

    @property
    def is_failing(self) -> bool:
        """Whether the merge that was tried last failed."""
        return self._failed_ms > 0

    def appended(self, keys: int) -> None:
        """Merge if a merge is due after an append of so many keys.

        Counting what waits costs a query, which small appends are spared until half of what makes a merge due may wait.
        """
        self._rows_since += 2 * keys  # a row for each of two registers
        if self._seen is not None and self._is_early(*self._seen):
            return
        self.look()

    def start(self) -> None:
        """Merge before the first append where more waits than may, as after a run that ended for that reason.

        Raises the merge's error. Otherwise each new start would add an append to what cannot be merged.
        """
        if self.schedule.is_overdue(self._waiting_now()[0]):
            self.look()

    def _waiting_now(self) -> tuple[Pending, int]:
        """What waits, asked only where this job has appended since it was told last.

        A table into which nothing comes would else cost three jobs of Spark at the end of each run, and once a minute.
        What else changes `_changes` meanwhile takes from it, and a merge looks itself at what is left.
        """
        if self._seen is None or self._rows_since:
            self._seen = self.waiting()
            self._rows_since = 0
        return self._seen

    def _is_early(self, seen: Pending, last_ms: int) -> bool:
        if not seen.rows or self.clock() - last_ms >= self.schedule.seconds * 1000:
            return False
        by_now = self._by_now(seen)
        return by_now.rows < self.schedule.rows / 2 and by_now.bytes < self.schedule.bytes / 2

    def _by_now(self, seen: Pending) -> Pending:
        """What waits by now, at most, by what was appended since ``seen``."""
        rows = seen.rows + self._rows_since
        return Pending(seen.appends, rows, seen.bytes * rows // max(1, seen.rows))

    def _may_be_overdue(self) -> bool:
        return self._seen is not None and self.schedule.is_overdue(self._by_now(self._seen[0]))

    def look(self, *, last: bool = False) -> None:
        """Merge if a merge is due. With ``last``, a failure is raised, since no later call tries again.

        A merge that fails does not keep micro-batches from appending: it is told, and tried again a minute later, or
        before that once four times as much may wait as makes a merge due. Raises its error if so much does.
        """
        now_ms = self.clock()
        if not last and now_ms - self._failed_ms < _PAUSE_MS and not self._may_be_overdue():
            return
        waiting, last_ms = self._waiting_now()
        if not self.schedule.is_due(waiting, last_ms, now_ms):
            return
        try:
            self.merge()
            self._failed_ms, self._seen = 0, None
        except Exception as error:
            if last or self.schedule.is_overdue(waiting):
                raise
            self._failed_ms = now_ms
            self.warn(
                f"{count_text(len(waiting.appends), 'append')} of {self.target} could not be merged "
                f"({cause_of(error)}); nothing is lost, readers of _live see them, and the merge is tried again in a "
                "minute"
            )
