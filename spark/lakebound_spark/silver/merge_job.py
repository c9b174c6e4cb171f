"""The merge job of one table: its settings, what a micro-batch brings, and one MERGE out of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lakebound.counts import count_text
from lakebound_spark.bronze.bronze_source import bronze_records, check_bronze, stream_of_bronze
from lakebound_spark.platform.metrics import MicroBatch, Totals
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import MicroBatchWork, claim_checkpoint, staging_folder
from lakebound_spark.platform.tables import companion_table
from lakebound_spark.reading.bad_files import record_bad_files
from lakebound_spark.reading.files import NO_RECORDS, CheckedRecords
from lakebound_spark.reading.one_pass import Use, read_once
from lakebound_spark.reading.schema import RECORD, RECORD_WITH_OLD_IMAGE
from lakebound_spark.reading.source import BYTES_PER_MERGE, DataFile, data_files, split_by_bytes, stream_of_files
from lakebound_spark.silver.changes_table import append_number
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.due_merge import AT_ONCE, MergeSchedule
from lakebound_spark.silver.freshness import Standing, silver_standing
from lakebound_spark.silver.micro_batch import Destination, MergeResult, Read, bring_records
from lakebound_spark.silver.pending_merge import PendingMerge
from lakebound_spark.silver.preparation import prepare_silver
from lakebound_spark.silver.purge_horizon import StaleRecords
from lakebound_spark.silver.stale_mark import record_stale_gap

T = TypeVar("T")

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

    @property
    def whole(self) -> MergeJob:
        """Itself: it has one table."""
        return self

    def tables(self) -> list[MergeJob]:
        """Itself."""
        return [self]

    def totals(self) -> Totals:
        """Sums in which nothing is counted yet."""
        return Totals()

    def work(self, run: str) -> MicroBatchWork:
        """What is done with each micro-batch of the run of this id."""
        return MergeWork(self.target, run, self)

    def prepare(self, spark: SparkSession, merge: Callable[[str], object], refusals: Refusals) -> None:
        """Make the table, and tie the checkpoint to it. Raises Misconfigured as `prepare_silver` does."""
        target, appends = self.target, self.schedule.appends
        due = partial(merge, target)
        table_id = prepare_silver(spark, target, self.config, self.checkpoint, due, refusals, appends=appends)
        claim_checkpoint(spark, self.checkpoint, target, table_id)

    def label(self, target: str) -> dict[str, str]:
        """Nothing: every line is about the one table."""
        return {}

    def appended(self, done: MicroBatch) -> dict[str, int]:
        """The keys that a micro-batch appended."""
        return {self.target: done.appended} if done.appended else {}

    def merge_row(self, target: str, row: MicroBatch) -> MicroBatch:
        """The same: every row is about the one table."""
        return row

    def merge_run(self, target: str, run: str) -> str:
        """The id under which a merge of what waited is recorded."""
        return f"{run}-merge"

    def standing(self, spark: SparkSession) -> Standing:
        """What the table says now."""
        return silver_standing(spark, self.target, self.schedule)

    def refusal_message(self, totals: Totals) -> str:
        """What is wrong where everything that came in was refused, and what to do."""
        files = f"{count_text(totals.bad_files, 'file')} left out (see {companion_table(self.target, '_bad_files')})"
        if not totals.refused:
            return (
                f"nothing could be read below {self.source}: {files}; `lakebound files check` says what is wrong with "
                "them"
            )
        also = f", and {files}" if totals.bad_files else ""
        return (
            f"nothing was merged into {self.target}: all of {count_text(totals.refused, 'record')} refused, none is of "
            f"the table {self.config.source_table}{also}; set source_table or --source right, then merge into a new "
            "target with a new checkpoint"
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


def reader_of_files(spark: SparkSession, files: list[DataFile], target: str, config: MergeConfig) -> Read[T]:
    """Reads the files, and records those that are left out in `<target>_bad_files`."""

    def read(use: Use[T]) -> tuple[CheckedRecords, T | None]:
        checked, held = read_once(spark, files, config.source_table, use, record_schema(config))
        if checked.bad_files:
            record_bad_files(spark, target, checked.bad_files)
        return checked, held

    return read


def reader_of_bronze(batch: DataFrame, config: MergeConfig) -> Read[T]:
    """Reads rows of a bronze table."""

    def read(use: Use[T]) -> tuple[CheckedRecords, T | None]:
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


def pending_merge_row(spark: SparkSession, job: MergeJob, done: PendingMerge, started: float) -> MicroBatch:
    """The line of a merge of pending changes. Its late records become a gap."""
    record_gap(spark, job.control_folder, job.config.source_table, done.stale)
    number = append_number(done.appends[-1])
    return metrics_row(number, 0, NO_RECORDS, MergeResult(done.keys, stale=done.stale, counts=done.counts), started)


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
