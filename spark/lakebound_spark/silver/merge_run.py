"""A run of the merge job, for one table or for several of one source: its stream, its due merges, what it tells."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Protocol, TypeVar
from uuid import uuid4

from pyspark.sql import SparkSession

from lakebound_spark.platform.metrics import MicroBatch, Totals, prepare_metrics, record_result
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import MicroBatchWork, run_micro_batches, staging_folder
from lakebound_spark.silver.changes_table import Pending, last_merge_ms, pending
from lakebound_spark.silver.due_merge import DueMerge
from lakebound_spark.silver.freshness import Freshness, Standing
from lakebound_spark.silver.merge_job import MergeJob, pending_merge_row, stream_of
from lakebound_spark.silver.pending_merge import PendingMerge, merge_pending
from lakebound_spark.silver.stale_mark import mark_stale, read_gaps

T = TypeVar("T", bound=Totals)


class SilverJob(Protocol[T]):
    """What a run does for its tables: `MergeJob` for one, `EntityJob` for several."""

    @property
    def whole(self) -> MergeJob:
        """What the tables have in common. Of several its target is a name without a table."""

    def tables(self) -> Sequence[MergeJob]:
        """A job for each table."""

    def totals(self) -> T:
        """Sums in which nothing is counted yet."""

    def work(self, run: str) -> MicroBatchWork:
        """What is done with each micro-batch of the run of this id."""

    def prepare(self, spark: SparkSession, merge: Callable[[str], object], refusals: Refusals) -> None:
        """Make the tables, and tie the checkpoint to them. Raises Misconfigured.

        ``merge`` merges what waits for a table.
        """

    def label(self, target: str) -> Mapping[str, str]:
        """What the line of a merge of what waited for a table says beside its counts."""

    def appended(self, done: MicroBatch) -> Mapping[str, int]:
        """The keys that a micro-batch appended to each table; a table without one is left out."""

    def merge_row(self, target: str, row: MicroBatch) -> MicroBatch:
        """The row of a merge of what waited for a table, as `<target>_metrics` of the whole has it."""

    def merge_run(self, target: str, run: str) -> str:
        """The id under which that row is recorded, once for each number of an append."""

    def standing(self, spark: SparkSession) -> Standing:
        """What the tables say now."""

    def refusal_message(self, totals: T) -> str:
        """What is wrong where everything that came in was refused, and what to do."""


def run_merge(
    spark: SparkSession,
    job: SilverJob[T],
    *,
    report: Callable[[str], None] = print,
    warn: Callable[[str], None] = lambda text: None,
    stop: threading.Event | None = None,
    is_repeated: bool = False,
    freshness: Freshness | None = None,
) -> T:
    """Merge until caught up (available-now) or until ``stop`` is set; ``report`` gets one JSON line a micro-batch.

    ``warn`` gets a sentence at the first micro-batch of a run that never got a record of its tables: a stream that goes
    on would tell nobody otherwise. It also gets one for each thing that the catalog refuses.

    The same line is a row of `<target>_metrics`. A micro-batch for several tables is one row with the sums, and with
    the counts of each table that it had a key of. Raises Misconfigured before anything is merged, also where several
    tables have other rules than those that they were made by, unless the job accepts that; and MicroBatchError if a
    micro-batch fails: nothing is lost then, since the next run takes the same records again.

    ``is_repeated`` says that another run follows soon, as in the job `run`: a MERGE of what waits that fails is then
    told and left to that run, for else the pauses after a failed run would hold up the appends as well.

    ``freshness`` publishes how far silver is behind, once a minute and at the end of a run that is not repeated.

    Silver is marked by the gaps that are open before the first micro-batch, once a minute, and after records that
    came too late.
    """
    whole, tables = job.whole, [table.target for table in job.tables()]
    stream = stream_of(spark, whole)
    run, refusals = uuid4().hex, Refusals(warn)
    totals = job.totals()

    def merge(target: str) -> PendingMerge | None:
        started = time.monotonic()
        done = merge_pending(spark, target, whole.config.source_table, staging_folder(whole.checkpoint))
        if done is not None:
            row = job.merge_row(target, pending_merge_row(spark, whole, done, started))
            prepare_metrics(spark, whole.target, type(row))
            record_result(spark, whole.target, job.merge_run(target, run), 0, row)
            tell(row, job.label(target))
        return done

    def look() -> None:
        if whole.control_folder:
            gaps = read_gaps(spark, whole.control_folder, whole.config.source_table)
            totals.stale_since = max(mark_stale(spark, target, gaps, refusals) for target in tables)

    def tell(done: MicroBatch, label: Mapping[str, str] | None = None) -> None:
        totals.add(done)
        report(json.dumps({**(label or {}), **asdict(done)}))
        if totals.results == 1 and totals.all_refused:
            warn(job.refusal_message(totals))
        if done.stale:
            look()
        if done.appended:
            keys = job.appended(done)
            for one in due:
                if one.target in keys:
                    one.appended(keys[one.target])
        if freshness is not None:
            freshness.brought(done)
            publish()

    def publish(*, last: bool = False) -> None:
        if freshness is not None:
            freshness.publish(partial(job.standing, spark), warn, last=last)

    def idle() -> None:
        if freshness is not None:
            freshness.caught_up()
            publish()

    def between() -> None:
        look()
        for one in due:
            one.look()

    def waiting(target: str) -> tuple[Pending, int]:
        return pending(spark, target), last_merge_ms(spark, target)

    due = []
    if whole.schedule.appends:
        due = [DueMerge(one, whole.schedule, partial(waiting, one), partial(merge, one), warn) for one in tables]
    job.prepare(spark, merge, refusals)
    look()
    for one in due:
        one.start()
    run_micro_batches(
        stream, job.work(run), whole.checkpoint, whole.trigger, stop, report=tell, between=between, idle=idle
    )
    for one in due:
        one.look(last=not is_repeated)
        totals.merge_fails = totals.merge_fails or one.is_failing
    if freshness is not None:
        if stop is None or not stop.is_set():
            freshness.caught_up()
        publish(last=not is_repeated)
    return totals
