"""How far silver is behind, as metrics of CloudWatch: nothing else tells that the merge job has stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.errors import LakeboundError
from lakebound_spark.platform.cloudwatch import put_metrics
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.platform.tables import companion_table, read_table
from lakebound_spark.silver.changes_table import Pending, last_merge_ms, pending
from lakebound_spark.silver.due_merge import MergeSchedule

_PAUSE_MS: Final = 55_000
"""CloudWatch keeps one value a minute of a metric. `run` takes its turn once a minute, which has to get through."""

LAG: Final = "SilverLagSeconds"
RECORD_AGE: Final = "SilverRecordAgeSeconds"
PENDING_ROWS: Final = "SilverPendingRows"
PENDING_BYTES: Final = "SilverPendingBytes"
OVERDUE: Final = "SilverMergeOverdueSeconds"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is in silver at a moment, and what waits in `_changes`; None for what is not known."""

    now_ms: int
    newest_record_ms: int | None = None
    """The greatest clock of the writer among the records."""
    waiting: Pending = field(default_factory=Pending)
    merged_ms: int = 0
    """When a merge of what waited has ended last."""
    due_since_ms: int | None = None
    """Since when what waits was to be merged, at the latest."""


def silver_standing(spark: SparkSession, target: str, schedule: MergeSchedule) -> Standing:
    """What the tables say now. Two small queries, of `_metrics` and, where micro-batches append, of `_changes`."""
    return replace(pending_standing(spark, target, schedule), newest_record_ms=newest_record_ms(spark, target))


def newest_record_ms(spark: SparkSession, target: str) -> int | None:
    """The greatest clock of the writer, by `<target>_metrics`; None before the first record.

    Once it was asked in this process, only the rows of the last hour before what was found are asked again.
    """
    known_ms, until_ms = _NEWEST.get(target, (None, None))
    rows = read_table(spark, companion_table(target, "_metrics"))
    if until_ms is not None:
        rows = rows.where(F.col("merged_at_ms") >= until_ms - _LATE_MS)
    found = rows.agg(F.max("newest_ingest_ms").alias("newest_ms"), F.max("merged_at_ms").alias("until_ms")).head()
    assert found is not None
    newest_ms = max((one for one in (known_ms, found["newest_ms"]) if one is not None), default=None)
    _NEWEST[target] = newest_ms, found["until_ms"] if until_ms is None else max(until_ms, found["until_ms"] or 0)
    return newest_ms


_LATE_MS: Final = 3_600_000
"""How much later than another driver's rows a row of an earlier clock may come."""
_NEWEST: Final[dict[str, tuple[int | None, int | None]]] = {}
"""For each target of this process the newest record that was found, and the greatest clock of the rows that told it."""


def pending_standing(spark: SparkSession, target: str, schedule: MergeSchedule) -> Standing:
    """What waits in the table's `_changes`; no newest record."""
    waiting, last_ms = Pending(), 0
    if schedule.appends:
        waiting, last_ms = pending(spark, target), last_merge_ms(spark, target)
    now_ms = time.time_ns() // 1_000_000
    return Standing(now_ms, None, waiting, last_ms, schedule.due_since_ms(waiting, last_ms, now_ms))


Put = Callable[[str, Mapping[str, tuple[float, str]]], None]
"""Puts the metrics of a table, each with its unit. Raises LakeboundError."""


@dataclass(slots=True)
class Freshness:
    """Publishes at most once a minute, and only what the job knows.

    | metric                      | what it is                                                                        |
    |-----------------------------|-----------------------------------------------------------------------------------|
    | `SilverLagSeconds`          | how old the oldest file was when it became visible, the greatest since the last   |
    |                             | value; 0 when the job has looked and no file waits                                |
    | `SilverRecordAgeSeconds`    | since the writer's clock at the newest record that is visible                     |
    | `SilverPendingRows`, …Bytes | rows of `_changes` that wait for a merge, one for each append and register of a   |
    |                             | key, as `--merge-rows` counts them; and their bytes                               |
    | `SilverMergeOverdueSeconds` | since a merge of that was due; 0 while none is                                    |

    A job that is stopped, or that fails or hangs before it brings anything, puts nothing: that no value comes is what
    tells of it. From bronze the lag begins with the oldest record's writer, for bronze names no file.

    A metric that cannot be put stops nothing; it is told once, until one could be put.
    """

    source_table: str
    put: Put = put_metrics
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    _lag_ms: int | None = field(default=None, init=False)
    _put_ms: int = field(default=0, init=False)
    _due_since_ms: int | None = field(default=None, init=False)
    _refused: str = field(default="", init=False)

    def brought(self, done: MicroBatch) -> None:
        """Take note of a micro-batch that is visible."""
        lag_ms = done.lag_ms if done.oldest_file_ms is None else done.merged_at_ms - done.oldest_file_ms
        if lag_ms is not None:
            self._lag_ms = max(self._lag_ms or 0, lag_ms)

    def caught_up(self) -> None:
        """Take note that nothing waited at the last look."""
        self._lag_ms = self._lag_ms or 0

    def publish(self, standing: Callable[[], Standing], warn: Callable[[str], None], *, last: bool = False) -> None:
        """Put what has been noted, unless that was less than a minute ago; with ``last`` even then."""
        now_ms = self.clock()
        if self._lag_ms is None or (now_ms - self._put_ms < _PAUSE_MS and not last):
            return
        values = self._values(standing(), self._lag_ms)
        self._put_ms = now_ms
        try:
            self.put(self.source_table, values)
        except LakeboundError as failure:
            self._tell(failure, warn)
            return
        self._lag_ms, self._refused = None, ""

    def _values(self, now: Standing, lag_ms: int) -> dict[str, tuple[float, str]]:
        # Of a merge that is due by rows or bytes the tables do not tell since when, but this may have seen it before.
        seen = self._due_since_ms
        if now.due_since_ms is None or seen is None or seen < now.merged_ms:
            seen = now.due_since_ms
        self._due_since_ms = None if seen is None or now.due_since_ms is None else min(seen, now.due_since_ms)
        overdue_ms = 0 if self._due_since_ms is None else now.now_ms - self._due_since_ms
        values = {
            LAG: (lag_ms / 1000, "Seconds"),
            PENDING_ROWS: (float(now.waiting.rows), "Count"),
            PENDING_BYTES: (float(now.waiting.bytes), "Bytes"),
            OVERDUE: (overdue_ms / 1000, "Seconds"),
        }
        if now.newest_record_ms is not None:
            values[RECORD_AGE] = (max(0, now.now_ms - now.newest_record_ms) / 1000, "Seconds")
        return values

    def _tell(self, failure: LakeboundError, warn: Callable[[str], None]) -> None:
        if failure.what != self._refused:
            self._refused = failure.what
            warn(
                f"how far silver of {self.source_table} is behind could not be published ({failure.what}); merging "
                "goes on. The job needs a region and a role that may do cloudwatch:PutMetricData, or no --publish"
            )
