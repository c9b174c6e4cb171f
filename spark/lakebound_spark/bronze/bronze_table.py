"""Bronze: every record of the batch files, unchanged and appended once. A table beside it keeps what cannot be read.

Bronze takes a file as a whole or not at all. Each row bears the name of its file, which holds the digest of the
content, so the same name means the same content in any folder. A file that comes again (a replayed micro-batch, a new
checkpoint, another folder) is recognised by its name and adds nothing. A damaged file is left out until its true bytes
are there. A record in two files is in bronze twice; `version` or `event_id` identifies such twins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from uuid import uuid4

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.times import utc
from lakebound_spark.platform.metrics import Result, add_counts, losses
from lakebound_spark.platform.spark_compat import condition_of
from lakebound_spark.platform.sql_text import insert_clause, literal, quoted
from lakebound_spark.platform.streams import MicroBatchWork, claim_checkpoint, run_micro_batches
from lakebound_spark.platform.tables import (
    add_missing_rows,
    columns_sql,
    companion_table,
    create_table,
    encode_property,
    exists,
    merge_into,
    properties,
    read_table,
    retry_on_conflict,
    table_detail,
)
from lakebound_spark.reading.bad_files import record_bad_files
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.schema import BRONZE_RECORD, CORRUPT, FILE
from lakebound_spark.reading.source import DataFile, data_files, stream_of_files

INGEST_DATE: Final = "_ingest_date"
BRONZE_COLUMNS: Final = (*BRONZE_RECORD.names, FILE, INGEST_DATE)

SOURCE_TABLE_PROPERTY: Final = "lakebound.bronze_of"
"""The table property that names the source table."""
_DAY_MS = 86_400_000
_BAD_LINES = StructType([StructField(FILE, StringType()), StructField("line", StringType())])


@dataclass(frozen=True, slots=True)
class BronzeJob:
    """One run: the files' folder, the bronze table, and when micro-batches start."""

    source: str
    checkpoint: str
    target: str
    source_table: str
    trigger: dict[str, Any]
    reader: str
    files_per_micro_batch: int


@dataclass(frozen=True, slots=True)
class AppendResult(Result):
    """What one micro-batch did. ``known`` counts files that bronze had already, ``records`` the records appended."""

    files: int
    known: int
    bad_files: int
    bad_lines: int
    records: int
    refused: int
    newest_ingest_ms: int | None
    seconds: float


@dataclass(slots=True)
class BronzeTotals:
    """Sums over the micro-batches of a run; `str()` is the line of them before the job's last."""

    files: int = 0
    known: int = 0
    records: int = 0
    refused: int = 0
    bad_files: int = 0
    bad_lines: int = 0

    @property
    def all_refused(self) -> bool:
        """Whether something came in and nothing of it was this table's: the wrong table, or files that are all bad."""
        return bool(self.refused or self.bad_files) and not (self.records or self.known)

    def sentence(self, target: str, seconds: float) -> str:
        """What the run did, for a person."""
        if not self.records and not self.refused and not self.bad_files:
            return f"nothing new for {target}"
        appended = f"appended {count_text(self.records, 'record')} to {target}, {count_text(self.files, 'file')}"
        return "; ".join([f"{appended}, {seconds:.0f} s", *losses(target, self.refused, self.bad_files)])

    def __str__(self) -> str:
        return f"records={self.records} refused={self.refused} bad_files={self.bad_files} bad_lines={self.bad_lines}"


def run_bronze(
    spark: SparkSession,
    job: BronzeJob,
    *,
    report: Callable[[AppendResult], None],
    stop: threading.Event | None = None,
) -> BronzeTotals:
    """Append until caught up (available-now) or until ``stop`` is set. Raises Misconfigured before it writes."""
    stream = stream_of_files(spark, job.source, job.reader, job.files_per_micro_batch)
    claim_checkpoint(spark, job.checkpoint, job.target, prepare_bronze(spark, job.target, job.source_table))
    totals = BronzeTotals()

    def tell(done: AppendResult) -> None:
        add_counts(totals, done)
        report(done)

    work = AppendWork(job.target, uuid4().hex, job.source_table)
    run_micro_batches(stream, work, job.checkpoint, job.trigger, stop, report=tell)
    return totals


def refusal_message(job: BronzeJob, totals: BronzeTotals) -> str:
    """What is wrong where everything that came in was refused, and what to do."""
    return (
        f"nothing was appended to {job.target}: {count_text(totals.refused, 'record')} of other tables than "
        f"{job.source_table} refused, {count_text(totals.bad_files, 'file')} left out (see "
        f"{companion_table(job.target, '_bad_files')}); set source_table or --source right, then take a new target and "
        "a new checkpoint"
    )


@dataclass(frozen=True)
class AppendWork(MicroBatchWork):
    """Appends the records of the files that a micro-batch names."""

    source_table: str
    kind = AppendResult

    def results(self, batch: DataFrame, batch_id: int) -> Iterator[AppendResult]:
        result = append_micro_batch(batch, batch_id, self.target, self.source_table)
        if result is not None:
            yield result


def prepare_bronze(spark: SparkSession, target: str, source_table: str) -> str:
    """Create the bronze table unless it exists. Returns the Delta table's id.

    It is partitioned by the date of ingest (`ingest_time_ms` in UTC): people query days, retention drops days, and the
    check for known files reads the days of the micro-batch only. It refuses UPDATE and DELETE until its owner changes
    `delta.appendOnly`. Raises Misconfigured for a table that is not the bronze of ``source_table``.
    """
    if not exists(spark, target):
        columns = [*columns_sql(BRONZE_RECORD), f"{FILE} STRING NOT NULL", f"{INGEST_DATE} DATE NOT NULL"]
        settings = {"delta.appendOnly": "true", SOURCE_TABLE_PROPERTY: encode_property(source_table)}
        try:
            create_table(spark, target, columns, f"PARTITIONED BY ({INGEST_DATE})", settings)
        except AnalysisException as error:
            raise Misconfigured(f"cannot create the target {target}: {condition_of(error)}") from None
    made_from = source_table_of(spark, target)
    if made_from != source_table:
        raise Misconfigured(
            f"{target} holds the records of {made_from}, the configuration says {source_table}; name another target"
        )
    return str(table_detail(spark, target)["id"])


def is_bronze(spark: SparkSession, target: str) -> bool:
    """Whether ingest_bronze made the Delta table at ``target``, which must be there."""
    return SOURCE_TABLE_PROPERTY in properties(spark, target)


def source_table_of(spark: SparkSession, target: str) -> str:
    """The source table whose records the bronze table at ``target`` holds. Raises Misconfigured if it is none."""
    if not exists(spark, target):
        raise Misconfigured(f"there is no bronze table at {target}; run ingest_bronze first")
    made_from = properties(spark, target).get(SOURCE_TABLE_PROPERTY)
    if made_from is None:
        raise Misconfigured(f"{target} is a Delta table that ingest_bronze did not make; name another one")
    return made_from


def append_micro_batch(batch: DataFrame, batch_id: int, target: str, source_table: str) -> AppendResult | None:
    """Check and append the files named in ``batch`` (columns `path`, `url`, `length`, …); None without a data file.

    A second call with the same files appends nothing, whatever the checkpoint says.
    """
    started = time.monotonic()
    spark = batch.sparkSession
    found = data_files((row["path"], row["url"], row["length"]) for row in batch.collect())
    if not found:
        return None
    # The same content may lie in two folders. Its first path is used.
    files = list({_file_name(file): file for file in reversed(found)}.values())
    bad_lines = 0
    checked = checked_records(spark, files, source_table, BRONZE_RECORD)
    if checked.bad_files:
        record_bad_files(spark, target, checked.bad_files)
    if checked.not_whole is not None:
        bad_lines = _record_bad_lines(target, bad_lines_of(checked.not_whole))
    left_out = {bad.path for bad in checked.bad_files}
    good = [file for file in files if file.path not in left_out]
    known: set[str] = set()
    records = 0
    if checked.records is not None and checked.count:
        assert checked.oldest_ingest_ms is not None
        assert checked.newest_ingest_ms is not None
        days = (_day(checked.oldest_ingest_ms), _day(checked.newest_ingest_ms))
        known = known_files(spark, target, [_file_name(file) for file in good], days)
        rows = bronze_rows(checked.records, known)
        records = _append_once(target, rows, [_file_name(file) for file in good], days)
    return AppendResult(
        batch=batch_id,
        files=len(found),
        known=len(found) - len(files) + len(known),
        bad_files=len(checked.bad_files),
        bad_lines=bad_lines,
        records=records,
        refused=checked.refused,
        newest_ingest_ms=checked.newest_ingest_ms,
        seconds=round(time.monotonic() - started, 3),
    )


def bronze_rows(records: DataFrame, known: set[str]) -> DataFrame:
    """The rows to append: the record's fields, the file's name and the day of ingest, without those of known files.

    before (`known` is {f2}; the fields between are left out)
    | key | …         | ingest_time_ms | _file        |
    |-----|-----------|----------------|--------------|
    | k   |           | 86400000       | file:/a/f1   |
    | m   |           | 5              | file:/b/c/f2 |

    after
    | key | …         | ingest_time_ms | _file | _ingest_date |
    |-----|-----------|----------------|-------|--------------|
    | k   |           | 86400000       | f1    | 1970-01-02   |
    """
    # A cast of a timestamp would give another day in a session of another time zone.
    days = F.expr(f"CAST(ingest_time_ms DIV {_DAY_MS} AS INT)")
    rows = records.withColumn(FILE, F.element_at(F.split(FILE, "/"), -1)).withColumn(
        INGEST_DATE, F.date_add(F.lit(date(1970, 1, 1)), days)
    )
    return rows.where(~F.col(FILE).isin(sorted(known))).select(*BRONZE_COLUMNS)


def known_files(spark: SparkSession, target: str, names: Sequence[str], days: tuple[date, date]) -> set[str]:
    """Those of these files that bronze holds already.

    Names begin with origin and time. So Delta skips most files of a day by their least and greatest name.
    """
    there = read_table(spark, target).where(F.col(INGEST_DATE).between(*days) & F.col(FILE).isin(list(names)))
    return {row[FILE] for row in there.select(FILE).distinct().collect()}


def _append_once(target: str, rows: DataFrame, names: Sequence[str], days: tuple[date, date]) -> int:
    """Append ``rows`` in one commit, without those of a file that has arrived in the meantime.

    A plain append never conflicts: two jobs that both found a file unknown would both append it. A MERGE that only
    inserts also reads the days that it writes. So Delta refuses the later commit, and the next attempt finds the file.
    """
    wanted = ", ".join(map(literal, names))
    same = f"t.{FILE} = s.{FILE} AND t.{FILE} IN ({wanted})"
    within = f"t.{INGEST_DATE} BETWEEN DATE'{days[0]}' AND DATE'{days[1]}'"

    insert = f"WHEN NOT MATCHED THEN {insert_clause({name: f's.{quoted(name)}' for name in BRONZE_COLUMNS})}"
    merged = retry_on_conflict(lambda: merge_into(target, rows, f"{within} AND {same}", insert))
    return int(merged["num_inserted_rows"])


def bad_lines_of(not_whole: DataFrame) -> DataFrame:
    """The content of each line that is no whole record: its text, or the fields that could be read.

    before (other fields NULL)                       after
    | key | version | _corrupt       | _file      |    | _file | line                      |
    |-----|---------|----------------|------------|    |-------|---------------------------|
    |     |         | {"schema":1,"k | file:/a/f1 |    | f1    | {"schema":1,"k            |
    | m   | L|9     |                | file:/a/f1 |    | f1    | {"key":"m","version":"L|9"} |
    """
    read = F.to_json(F.struct(*BRONZE_RECORD.names))
    return not_whole.select(F.element_at(F.split(FILE, "/"), -1).alias(FILE), F.coalesce(CORRUPT, read).alias("line"))


def _record_bad_lines(target: str, lines: DataFrame) -> int:
    """Keep each line once in `<target>_bad_lines`. Returns the number of different lines."""
    distinct = lines.distinct()
    add_missing_rows(companion_table(target, "_bad_lines"), _BAD_LINES, distinct, _BAD_LINES.names)
    return distinct.count()


def _file_name(file: DataFile) -> str:
    return file.path.rsplit("/", 1)[-1]


def _day(ms: int) -> date:
    return utc(ms).date()
