"""The history job: bronze's records as a stream, by which the history is brought forward."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from pyspark.sql import SparkSession

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_source import stream_of_bronze
from lakebound_spark.bronze.bronze_table import source_table_of
from lakebound_spark.history.history_table import BRONZE_FIELDS, HistoryResult, HistoryWork, prepare_history, rebuild
from lakebound_spark.history.key_selection import EVERY_KEY, KeySelection
from lakebound_spark.platform.metrics import add_counts
from lakebound_spark.platform.streams import claim_checkpoint, run_micro_batches, staging_folder
from lakebound_spark.reading.source import BYTES_PER_MERGE

FILES_PER_MICRO_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class HistoryJob:
    """One run: where bronze is, where the history is, and when micro-batches start."""

    bronze: str
    checkpoint: str
    target: str
    """The history itself, `<silver>_history`."""
    source_table: str
    trigger: dict[str, Any]
    keys: KeySelection = EVERY_KEY
    files_per_micro_batch: int = FILES_PER_MICRO_BATCH
    bytes_per_micro_batch: int = BYTES_PER_MERGE


@dataclass(slots=True)
class HistoryTotals:
    """Sums over the micro-batches of a run; `str()` is the line of them before the job's last."""

    rows: int = 0

    def sentence(self, target: str, seconds: float) -> str:
        """What the run did, for a person."""
        if not self.rows:
            return f"nothing new for {target}"
        return f"told {count_text(self.rows, 'row')} of {target}, {seconds:.0f} s"

    def __str__(self) -> str:
        return f"rows={self.rows}"


def run_history(
    spark: SparkSession,
    job: HistoryJob,
    *,
    report: Callable[[HistoryResult], None],
    stop: threading.Event | None = None,
) -> HistoryTotals:
    """Bring the history forward until caught up (available-now) or until ``stop`` is set.

    Raises Misconfigured before it writes.
    """
    claim_checkpoint(spark, job.checkpoint, job.target, _prepare(spark, job))
    totals = HistoryTotals()

    def tell(done: HistoryResult) -> None:
        add_counts(totals, done)
        report(done)

    stream = stream_of_bronze(spark, job.bronze, job.files_per_micro_batch, job.bytes_per_micro_batch)
    work = HistoryWork(job.target, uuid4().hex, job.bronze, staging_folder(job.checkpoint))
    run_micro_batches(job.keys.of(stream).select(*BRONZE_FIELDS), work, job.checkpoint, job.trigger, stop, report=tell)
    return totals


def rebuild_history(spark: SparkSession, job: HistoryJob) -> int:
    """Replace the history by what the whole bronze says; its rows. Raises Misconfigured before it writes."""
    _prepare(spark, job, is_rebuilt=True)
    return rebuild(spark, job.target, job.bronze, job.keys)


def _prepare(spark: SparkSession, job: HistoryJob, *, is_rebuilt: bool = False) -> str:
    there = source_table_of(spark, job.bronze)
    if there != job.source_table:
        raise Misconfigured(f"{job.bronze} holds the records of {there}, not of {job.source_table}")
    return prepare_history(spark, job.target, job.source_table, job.keys, is_rebuilt=is_rebuilt)
