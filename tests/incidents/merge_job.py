"""The merge job over a Plant. Spark is played: its tables are lists of batch files.

Real are the decision when a merge is due and what becomes of one that fails, what is published and when, and what
`lakebound status` makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lakebound.operate.silver_lag import SilverFacts, WaitingFiles, waiting_files
from lakebound.ports import Clock
from lakebound.transport.object_keys import DataKey, partitioner
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.silver.changes_table import Pending
from lakebound_spark.silver.due_merge import DueMerge, MergeSchedule
from lakebound_spark.silver.freshness import Freshness, Standing
from tests.support.local_ports import MemoryStore
from tests.support.stream_records import TABLE

WITHIN_S: Final = 900
"""The stack's SilverLagMinutes, in seconds."""


@dataclass
class PlayedMergeJob:
    """A job with `--publish`. `turn` is a look at the source, with what follows from it."""

    bucket: MemoryStore
    prefix: str
    clock: Clock
    schedule: MergeSchedule
    is_running: bool = True
    merge_fails: bool = False
    live: list[str] = field(default_factory=list)
    """The files whose records `_live` shows."""
    merged: list[str] = field(default_factory=list)
    """Those whose records are in silver itself."""
    told: list[str] = field(default_factory=list)
    puts: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    _merged_ms: int = 0

    def __post_init__(self) -> None:
        self._merged_ms = self.clock.now_ms()
        self.start()

    def start(self) -> None:
        """A driver begins: nothing is kept in its memory from the one before."""
        self.is_running = True
        self._freshness = Freshness(TABLE, self._put, self.clock.now_ms)
        self._due = DueMerge("silver", self.schedule, self._waiting, self._merge, self.told.append, self.clock.now_ms)

    def turn(self) -> None:
        if not self.is_running:
            return
        taken, now_ms = set(self.live), self.clock.now_ms()
        files = [key for key in self.bucket.objects if DataKey.parse(self.prefix, key) and key not in taken]
        if files:
            self.live += files
            self._freshness.brought(self._result(files, now_ms))
        if self.schedule.appends:
            if files:
                self._due.appended(len(files))
            self._due.look()
        else:
            self._merge()
        self._freshness.caught_up()
        self._freshness.publish(self._standing, self.told.append)

    def _result(self, files: list[str], now_ms: int) -> MicroBatch:
        nothing = dict.fromkeys(("bad_files", "refused", "stale", "inserted", "updated", "rewritten", "inexact"), 0)
        oldest_ms = min(self.bucket.objects[key].modified_ms for key in files)
        return MicroBatch(
            **nothing, batch=0, files=len(files), records=len(files), keys=len(files), rescued=0, lag_ms=None,
            oldest_ingest_ms=None, newest_ingest_ms=now_ms, merged_at_ms=now_ms, seconds=0.0, oldest_file_ms=oldest_ms,
        )  # fmt: skip

    def _waiting(self) -> tuple[Pending, int]:
        waits = tuple(self.live[len(self.merged) :])
        return Pending(waits, len(waits), len(waits)), self._merged_ms

    def _merge(self) -> None:
        if self.merge_fails:
            raise MemoryError
        self.merged, self._merged_ms = list(self.live), self.clock.now_ms()

    def _standing(self) -> Standing:
        now_ms, (waiting, merged_ms) = self.clock.now_ms(), self._waiting()
        return Standing(now_ms, None, waiting, merged_ms, self.schedule.due_since_ms(waiting, merged_ms, now_ms))

    def _put(self, table: str, values: Mapping[str, tuple[float, str]]) -> None:
        self.puts.append((self.clock.now_ms(), {name: value for name, (value, _) in values.items()}))

    def measured(self) -> dict[str, float]:
        """What CloudWatch would hold of the last WITHIN_S: the newest value of each metric, and how many lags."""
        since_ms = self.clock.now_ms() - WITHIN_S * 1000
        recent = [values for at, values in self.puts if at > since_ms]
        newest = recent[-1] if recent else {}
        return {**newest, "SilverLagSeconds SampleCount": len(recent)}

    def published(self) -> SilverFacts:
        """As `lakebound status` reads it from CloudWatch."""
        at, values = self.puts[-1]
        return SilverFacts(
            at, values["SilverLagSeconds"], int(values["SilverPendingRows"]), values["SilverMergeOverdueSeconds"]
        )

    def waiting(self) -> WaitingFiles:
        """As `lakebound status --target` counts it, from the metrics table and the bucket alone."""
        until_ms = max((self.bucket.objects[key].modified_ms for key in self.live), default=0)
        hours = partitioner("dt=%Y-%m-%d/HH=%H")
        return waiting_files(self.bucket, self.prefix, hours, until_ms, self.clock.now_ms())
