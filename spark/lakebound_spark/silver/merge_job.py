"""The merge job: what a micro-batch brings, one MERGE out of it, and the totals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lakebound_spark.bronze.bronze_source import bronze_records, check_bronze, stream_of_bronze
from lakebound_spark.platform.metrics import MicroBatch, Totals, count_text, prepare_metrics, record_result
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import MicroBatchWork, run_micro_batches, staging_folder
from lakebound_spark.platform.tables import companion_table
from lakebound_spark.reading.bad_files import record_bad_files
from lakebound_spark.reading.files import NO_RECORDS, CheckedRecords
from lakebound_spark.reading.one_pass import Use, read_once
from lakebound_spark.reading.schema import RECORD, RECORD_WITH_OLD_IMAGE
from lakebound_spark.reading.source import BYTES_PER_MERGE, DataFile, data_files, split_by_bytes, stream_of_files
from lakebound_spark.silver.changes_table import Pending, append_number, last_merge_ms, pending
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.due_merge import AT_ONCE, DueMerge, MergeSchedule
from lakebound_spark.silver.freshness import Freshness, Standing, silver_standing
from lakebound_spark.silver.micro_batch import Destination, MergeResult, Read, bring_records
from lakebound_spark.silver.pending_merge import PendingMerge, merge_pending
from lakebound_spark.silver.preparation import prepare_tables
from lakebound_spark.silver.purge_horizon import StaleRecords
from lakebound_spark.silver.stale_mark import mark_stale, read_gaps, record_stale_gap

BRONZE = "bronze"
"""The reader whose source is a bronze table instead of files."""


@dataclass(frozen=True, slots=True)
class MergeJob:
    """One run: where records come from, where the table is, and when micro-batches start."""

    source: str
    checkpoint: str
    target: str
    config: MergeConfig
    trigger: dict[str, Any]
    reader: str
    files_per_micro_batch: int
    bytes_per_merge: int = BYTES_PER_MERGE
    control_folder: str = ""
    """The folder `_lakebound/<table>`, whose gaps mark silver; empty: nothing is known of gaps."""
    schedule: MergeSchedule = AT_ONCE


def run_merge(
    spark: SparkSession,
    job: MergeJob,
    *,
    report: Callable[[str], None] = print,
    warn: Callable[[str], None] = lambda text: None,
    stop: threading.Event | None = None,
    is_repeated: bool = False,
    freshness: Freshness | None = None,
) -> Totals:
    """Merge until caught up (available-now) or until ``stop`` is set; ``report`` gets one JSON line a MERGE.

    ``warn`` gets a sentence at the first MERGE of a run that never got a record of this table: a stream that goes on
    would tell nobody otherwise. It also gets one for each thing that the catalog refuses.

    The same line is a row of `<target>_metrics`. Raises Misconfigured before anything is merged, and MicroBatchError if
    one fails: nothing is lost then, since the next run takes the same records again.

    ``is_repeated`` says that another run follows soon, as in the job `run`: a MERGE of what waits that fails is then
    told and left to that run, for else the pauses after a failed run would hold up the appends as well.

    ``freshness`` publishes how far silver is behind, once a minute and at the end of a run that is not repeated.

    Silver is marked by the gaps that are open before the first micro-batch, once a minute, and after records that
    came too late.
    """
    stream = stream_of(spark, job)
    run, refusals = uuid4().hex, Refusals(warn)
    totals = Totals()

    def merge() -> PendingMerge | None:
        started = time.monotonic()
        done = merge_pending(spark, job.target, job.config.source_table)
        if done is not None:
            tell(record_pending_merge(spark, job, run, done, started))
        return done

    def look() -> None:
        if job.control_folder:
            gaps = read_gaps(spark, job.control_folder, job.config.source_table)
            totals.stale_since = mark_stale(spark, job.target, gaps, refusals)

    def tell(done: MicroBatch) -> None:
        totals.add(done)
        report(json.dumps(asdict(done)))
        if totals.results == 1 and totals.all_refused:
            warn(refusal_message(job, totals))
        if done.stale:
            look()
        if done.appended:
            due.appended(done.appended)
        if freshness is not None:
            freshness.brought(done)
            freshness.publish(standing, warn)

    def idle() -> None:
        if freshness is not None:
            freshness.caught_up()
            freshness.publish(standing, warn)

    def standing() -> Standing:
        return silver_standing(spark, job.target, job.schedule)

    def between() -> None:
        look()
        if job.schedule.appends:
            due.look()

    def waiting() -> tuple[Pending, int]:
        return pending(spark, job.target), last_merge_ms(spark, job.target)

    due = DueMerge(job.target, job.schedule, waiting, merge, warn)
    prepare_tables(spark, job.target, job.config, job.checkpoint, merge, refusals, appends=job.schedule.appends)
    look()
    if job.schedule.appends:
        due.start()
    work = MergeWork(job.target, run, job)
    run_micro_batches(stream, work, job.checkpoint, job.trigger, stop, report=tell, between=between, idle=idle)
    if job.schedule.appends:
        due.look(last=not is_repeated)
        totals.merge_fails = due.is_failing
    if freshness is not None:
        if stop is None or not stop.is_set():
            freshness.caught_up()
        freshness.publish(standing, warn, last=not is_repeated)
    return totals


def refusal_message(job: MergeJob, totals: Totals) -> str:
    """What is wrong where everything that came in was refused, and what to do."""
    files = f"{count_text(totals.bad_files, 'file')} left out (see {companion_table(job.target, '_bad_files')})"
    if not totals.refused:
        return (
            f"nothing could be read below {job.source}: {files}; `lakebound files check` says what is wrong with them"
        )
    also = f", and {files}" if totals.bad_files else ""
    return (
        f"nothing was merged into {job.target}: all of {count_text(totals.refused, 'record')} refused, none is of the "
        f"table {job.config.source_table}{also}; set source_table or --source right, then merge into a new target with "
        "a new checkpoint"
    )


def stream_of(spark: SparkSession, job: MergeJob) -> DataFrame:
    """The stream of names of files, or of bronze's records. Raises Misconfigured for what is no bronze."""
    if job.reader == BRONZE:
        check_bronze(spark, job.source)
        return stream_of_bronze(spark, job.source, job.files_per_micro_batch, job.bytes_per_merge)
    return stream_of_files(spark, job.source, job.reader, job.files_per_micro_batch)


@dataclass(frozen=True)
class MergeWork(MicroBatchWork):
    """A micro-batch of names of files, or of bronze's records, merged."""

    job: MergeJob
    kind = MicroBatch

    def results(self, batch: DataFrame, batch_id: int) -> Iterator[MicroBatch]:
        work = merge_bronze_micro_batch if self.job.reader == BRONZE else merge_micro_batches
        yield from work(batch, batch_id, self.job, self.run)


def merge_micro_batches(batch: DataFrame, batch_id: int, job: MergeJob, run: str) -> Iterator[MicroBatch]:
    """Bring in the files named in ``batch`` (columns `path`, `url`, `length`), at most `bytes_per_merge` at once.

    Running it again changes nothing in the target, whatever the checkpoint says. That is why Delta's
    `txnAppId` is not set: it saves one empty MERGE after a crash, and a checkpoint restored from an older
    copy would carry the same identity with other files behind its numbers, which Delta would then skip.
    """
    files = data_files((row["path"], row["url"], row["length"], row["modified_ms"]) for row in batch.collect())
    waiting = list(files)
    for some in split_by_bytes(files, job.bytes_per_merge):
        done = merge_micro_batch(batch.sparkSession, some, batch_id, destination(job, run), job.control_folder)
        del waiting[: len(some)]
        yield replace(done, files_until_ms=files_until_ms(some, waiting))


def files_until_ms(taken: Sequence[DataFile], waiting: Sequence[DataFile]) -> int:
    """Until when every file of a micro-batch is taken, since each of those that wait was written later.

    The parts of a micro-batch are in the order of paths, not of time: a run that ends between two of them has taken
    files that are younger than some that it has not.
    """
    newest = max(file.modified_ms for file in taken)
    return min(newest, min((file.modified_ms - 1 for file in waiting), default=newest))


def destination(job: MergeJob, run: str) -> Destination:
    """Where a job's micro-batches go."""
    append_as = run if job.schedule.appends else ""
    return Destination(job.target, job.config, staging_folder(job.checkpoint), append_as)


def merge_micro_batch(
    spark: SparkSession, files: list[DataFile], batch_id: int, to: Destination, folder: str = ""
) -> MicroBatch:
    """Check, reduce, type and merge or append these files (at least one).

    Late records become a gap in the control ``folder``.
    """
    started = time.monotonic()

    checked, brought = bring_records(spark, reader_of_files(spark, files, to.target, to.config), to)
    record_gap(spark, folder, to.config.source_table, brought.stale)
    row = metrics_row(batch_id, len(files), checked, brought, started)
    return replace(row, oldest_file_ms=min(file.modified_ms for file in files))


def reader_of_files(spark: SparkSession, files: list[DataFile], target: str, config: MergeConfig) -> Read:
    """Reads the files, and records those that are left out in `<target>_bad_files`."""

    def read(use: Use) -> tuple[CheckedRecords, DataFrame | None]:
        checked, held = read_once(spark, files, config.source_table, use, record_schema(config))
        if checked.bad_files:
            record_bad_files(spark, target, checked.bad_files)
        return checked, held

    return read


def reader_of_bronze(batch: DataFrame, config: MergeConfig) -> Read:
    """Reads rows of a bronze table."""

    def read(use: Use) -> tuple[CheckedRecords, DataFrame | None]:
        checked = bronze_records(batch, config.source_table, record_schema(config))
        return checked, None if checked.records is None else use(checked.records, checked.registers)

    return read


def merge_bronze_micro_batch(batch: DataFrame, batch_id: int, job: MergeJob, run: str) -> Iterator[MicroBatch]:
    """Bring in the records of ``batch``, rows of a bronze table; nothing without one."""
    started = time.monotonic()

    checked, brought = bring_records(batch.sparkSession, reader_of_bronze(batch, job.config), destination(job, run))
    if not checked.count and not checked.refused:
        return
    record_gap(batch.sparkSession, job.control_folder, job.config.source_table, brought.stale)
    yield metrics_row(batch_id, 0, checked, brought, started)


def record_gap(spark: SparkSession, folder: str, table: str, stale: StaleRecords | None) -> None:
    """Note stale records of the source ``table`` as a gap in the control ``folder``."""
    # Before the micro-batch is committed: a crash here brings the same records again, and then their gap.
    if folder and stale is not None:
        record_stale_gap(spark, folder, table, stale.from_ms, stale.to_ms, time.time_ns() // 1_000_000)


def record_pending_merge(
    spark: SparkSession, job: MergeJob, run: str, done: PendingMerge, started: float
) -> MicroBatch:
    """The line of a merge of pending changes, which becomes a row of `<target>_metrics` too."""
    record_gap(spark, job.control_folder, job.config.source_table, done.stale)
    number = append_number(done.appends[-1])
    row = metrics_row(number, 0, NO_RECORDS, MergeResult(done.keys, stale=done.stale, counts=done.counts), started)
    prepare_metrics(spark, job.target, MicroBatch)
    record_result(spark, job.target, f"{run}-merge", 0, row)
    return row


def record_schema(config: MergeConfig) -> StructType:
    """The fields of a record that the merge reads."""
    return RECORD_WITH_OLD_IMAGE if config.keep_expired else RECORD


def metrics_row(batch_id: int, files: int, checked: CheckedRecords, brought: MergeResult, started: float) -> MicroBatch:
    """The line of a micro-batch that began at ``started`` of the monotonic clock."""
    now_ms, oldest = time.time_ns() // 1_000_000, checked.oldest_ingest_ms
    stale = 0 if brought.stale is None else brought.stale.records
    return MicroBatch(
        batch=batch_id,
        files=files,
        bad_files=len(checked.bad_files),
        records=max(0, checked.count - stale),
        refused=checked.refused,
        stale=stale,
        keys=brought.keys,
        inserted=brought.counts.inserted,
        updated=brought.counts.updated,
        rewritten=brought.counts.updated + brought.counts.copied,
        inexact=brought.inexact,
        rescued=brought.rescued,
        oldest_ingest_ms=oldest,
        newest_ingest_ms=checked.newest_ingest_ms,
        merged_at_ms=now_ms,
        lag_ms=None if oldest is None else now_ms - oldest,
        appended=brought.keys if brought.append else 0,
        seconds=round(time.monotonic() - started, 3),
    )
