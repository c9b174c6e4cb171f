"""The streaming shell around the pure parts: files of a micro-batch in, one MERGE out, and the totals."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.columns import DeclaredColumn
from lakebound_spark.config import MergeConfig
from lakebound_spark.errors import Misconfigured
from lakebound_spark.files import checked_records
from lakebound_spark.latest import latest_per_key
from lakebound_spark.merge import Merged, merge_rows, prepare_target, record_bad_files
from lakebound_spark.rows import typed_rows
from lakebound_spark.source import data_files, stream_of_files
from lakebound_spark.streams import claim_checkpoint, path_exists, run_micro_batches


@dataclass(frozen=True, slots=True)
class MergeJob:
    """One run: where files come from, where the table is, and when micro-batches start."""

    source: str
    checkpoint: str
    target: str
    config: MergeConfig
    trigger: dict[str, Any]
    reader: str
    files_per_micro_batch: int


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one micro-batch did, printed as one JSON line. Counts and times only, never an item's values.

    ``files`` counts batch files, bad ones included; ``records`` those merged; ``keys`` the rows they came
    down to. ``newest_ingest_ms`` is the greatest clock of the writer among them, and ``merged_at_ms`` this
    machine's clock after the commit.
    """

    batch: int
    files: int
    bad_files: int
    records: int
    refused: int
    keys: int
    inserted: int
    updated: int
    inexact: int
    oldest_ingest_ms: int | None
    newest_ingest_ms: int | None
    merged_at_ms: int
    seconds: float


@dataclass(slots=True)
class Totals:
    """Sums over the micro-batches of a run; `str()` is the job's last line."""

    inexact: int = 0
    refused: int = 0
    bad_files: int = 0

    def add(self, done: MicroBatch) -> None:
        self.inexact += done.inexact
        self.refused += done.refused
        self.bad_files += done.bad_files

    def __str__(self) -> str:
        return f"inexact={self.inexact} refused={self.refused} bad_files={self.bad_files}"


def run(
    spark: SparkSession,
    job: MergeJob,
    *,
    report: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> Totals:
    """Merge until caught up (available-now) or until ``stop`` is set; ``report`` gets one JSON line a micro-batch.

    Raises Misconfigured before anything is merged, and the micro-batch's own error if one fails: nothing is
    lost then, since the next run takes the same files again.
    """
    if path_exists(spark, job.source) is False:
        raise Misconfigured(f"--source {job.source} is not there; give the folder that holds the hour partitions")
    table_id = prepare_target(spark, job.target, job.config)
    claim_checkpoint(spark, job.checkpoint, job.target, table_id)
    totals = Totals()

    def merge(batch: DataFrame, batch_id: int) -> None:
        done = merge_micro_batch(batch, batch_id, job.target, job.config)
        if done is not None:
            totals.add(done)
            report(json.dumps(asdict(done)))

    stream = stream_of_files(spark, job.source, job.reader, job.files_per_micro_batch)
    run_micro_batches(stream, merge, job.checkpoint, job.trigger, stop)
    return totals


def merge_micro_batch(batch: DataFrame, batch_id: int, target: str, config: MergeConfig) -> MicroBatch | None:
    """Check, reduce, cast and merge the files named in ``batch`` (columns `path`, `url`); None without a data file.

    Running it again changes nothing in the target, whatever the checkpoint says. That is why Delta's
    `txnAppId` is not set: it saves one empty MERGE after a crash, and a checkpoint restored from an older
    copy would carry the same identity with other files behind its numbers, which Delta would then skip.
    """
    started = time.monotonic()
    spark = batch.sparkSession
    files = data_files((row["path"], row["url"]) for row in batch.collect())
    if not files:
        return None
    with checked_records(spark, files, config.source_table) as checked:
        if checked.bad_files:
            record_bad_files(spark, target, checked.bad_files)
        keys, inexact, merged = _merge_records(spark, target, checked.records, config.columns)
    return MicroBatch(
        batch=batch_id,
        files=len(files),
        bad_files=len(checked.bad_files),
        records=checked.count,
        refused=checked.refused,
        keys=keys,
        inserted=merged.inserted,
        updated=merged.updated,
        inexact=inexact,
        oldest_ingest_ms=checked.oldest_ingest_ms,
        newest_ingest_ms=checked.newest_ingest_ms,
        merged_at_ms=time.time_ns() // 1_000_000,
        seconds=round(time.monotonic() - started, 3),
    )


def _merge_records(
    spark: SparkSession, target: str, records: DataFrame | None, columns: Sequence[DeclaredColumn]
) -> tuple[int, int, Merged]:
    if records is None:
        return 0, 0, Merged(0, 0)
    rows = typed_rows(latest_per_key(records), columns).persist()
    try:
        counts = rows.agg(F.count("*").alias("keys"), F.sum("inexact").alias("inexact")).head()
        assert counts is not None
        if not counts["keys"]:
            return 0, 0, Merged(0, 0)
        return counts["keys"], counts["inexact"], merge_rows(spark, target, rows, columns)
    finally:
        rows.unpersist()
