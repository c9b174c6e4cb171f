"""How fresh silver is, as metrics: without them nobody is told when the job stands still."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lakebound.errors import LakeboundError
from lakebound_spark.silver.changes_table import Pending

LAG: Final = "SilverLagSeconds"
"""From the oldest record of a micro-batch in its writer's hand to the record being visible; 0 while nothing waits."""
PENDING_ROWS: Final = "SilverPendingRows"
PENDING_BYTES: Final = "SilverPendingBytes"
MERGE_FAILS: Final = "SilverMergeFails"
"""1 while what waits in `_changes` could not be merged when it was last tried, else 0."""

_PAUSE_SECONDS: Final = 30.0


@dataclass(slots=True)
class FreshnessMetrics:
    """Puts the metrics of ``source_table`` by ``put``, at most twice a minute; between two puts the worst lag counts.

    A put that fails is told by ``warn``, once until one succeeds, and stops nothing: that the metrics are missing is
    what the alarm SilverLag looks for.
    """

    source_table: str
    waiting: Callable[[], Pending]
    warn: Callable[[str], None]
    put: Callable[[str, Mapping[str, float]], None]
    clock: Callable[[], float] = time.monotonic
    _lag_seconds: float = field(default=0, init=False)
    _last_put: float = field(default=float("-inf"), init=False)
    _is_told: bool = field(default=False, init=False)

    def note(self, lag_seconds: float, *, merge_fails: bool, last: bool = False) -> None:
        """Note the lag of a micro-batch, or 0 for a moment at which nothing waits. ``last`` puts in any case."""
        self._lag_seconds = max(self._lag_seconds, lag_seconds)
        now = self.clock()
        if not last and now - self._last_put < _PAUSE_SECONDS:
            return
        waiting = self.waiting()
        values = {
            LAG: self._lag_seconds,
            PENDING_ROWS: float(waiting.rows),
            PENDING_BYTES: float(waiting.bytes),
            MERGE_FAILS: float(merge_fails),
        }
        self._last_put = now
        try:
            self.put(self.source_table, values)
        except LakeboundError as failure:
            if not self._is_told:
                self.warn(
                    f"the metrics of {self.source_table} were not put: {failure.what}; the job needs a region and a "
                    "role that may do cloudwatch:PutMetricData, or leave out --publish"
                )
            self._is_told = True
            return
        self._lag_seconds, self._is_told = 0, False
