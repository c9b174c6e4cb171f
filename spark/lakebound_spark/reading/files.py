"""Is each batch file whole? A file with a doubt is left out whole and named, its neighbours are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from lakebound_spark.platform.spark_compat import condition_of, root_cause_text
from lakebound_spark.reading.digests import files_of_other_bytes
from lakebound_spark.reading.schema import FILE, RECORD, WHOLE, record_time_ms
from lakebound_spark.reading.source import DataFile, read_records

MISSING = "missing"
DIGEST = "digest differs from name"
DAMAGED = "damaged"
NOT_WHOLE = "line does not parse whole"
COUNT = "count differs from name"

_DAMAGE = (
    "EOFException",
    "java.util.zip.",
    "not a gzip file",
    "gzip stream",
    "incorrect header check",
    "incorrect data check",
    "invalid block type",
    "invalid stored block",
    "invalid distance",
    "invalid code",
    "invalid bit length",
    "invalid literal",
    "org.apache.avro.",
    "is not a Parquet file",
    "org.apache.parquet.",
)


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file left out whole, with the reason and what was counted (None where it could not be read)."""

    path: str
    reason: str
    records_named: int
    records_read: int | None = None
    records_whole: int | None = None


@dataclass(frozen=True, slots=True)
class CheckedRecords:
    """The records of whole files that belong to the table (None when there are none), and what was left out.

    ``count`` is the number of ``records``; ``refused`` counts whole records of another table. ``not_whole`` are the
    rows that did not parse whole, of files that were left out for them (None when there are none).
    """

    records: DataFrame | None
    count: int
    refused: int
    bad_files: tuple[BadFile, ...]
    oldest_ingest_ms: int | None
    newest_ingest_ms: int | None
    not_whole: DataFrame | None = None
    oldest_record_ms: int | None = None
    """The least creation time or label among ``records``."""
    from_stream: int = 0
    """How many of ``records`` have `origin = stream`."""

    @property
    def registers(self) -> tuple[str, ...]:
        """The registers that the records feed: of `stream` and `base` those that have one."""
        fed = {"stream": self.from_stream, "base": self.count - self.from_stream}
        return tuple(register for register, records in fed.items() if records)


NO_RECORDS: Final = CheckedRecords(None, 0, 0, (), None, None)


def checked_records(
    spark: SparkSession, files: Sequence[DataFile], source_table: str, record: StructType = RECORD
) -> CheckedRecords:
    """Compare each of ``files`` with its name, and plan the reading of the records of those that are whole.

    The counts are known before the records are used, at the price of reading them twice (see `one_pass.read_once`).
    """
    proven, bad_files = prove_files(spark, files)
    return count_files(spark, proven, bad_files, source_table, record)


def prove_files(spark: SparkSession, files: Sequence[DataFile]) -> tuple[list[DataFile], list[BadFile]]:
    """The files that hold the bytes which their names were made from, and the others with their reasons."""
    if not files:
        return [], []
    try:
        others = files_of_other_bytes(spark, files)
    except Exception as error:
        if damage_reason(error) != MISSING:
            raise
        if len(files) == 1:
            return [], [BadFile(files[0].path, MISSING, files[0].count)]
        half = len(files) // 2
        (first, without), (second, and_without) = (prove_files(spark, some) for some in (files[:half], files[half:]))
        return first + second, without + and_without
    return [file for file in files if file not in others], [BadFile(file.path, DIGEST, file.count) for file in others]


def count_files(
    spark: SparkSession,
    files: Sequence[DataFile],
    bad_files: Sequence[BadFile],
    source_table: str,
    record: StructType = RECORD,
) -> CheckedRecords:
    """Read ``files`` once and count what the digest cannot see: the faults of their writer.

    These are a wrong count in the name, a line that is no record, and bytes that were never whole. ``bad_files`` are
    those that were left out before.
    """
    files, bad_files, counts = list(files), list(bad_files), dict[str, Row]()
    while files:
        try:
            counts = {
                row[FILE]: row for row in count_by_file(read_records(spark, files, record), source_table).collect()
            }
            break
        except Exception as error:
            damaged = find_damaged_files(spark, files, record) if damage_reason(error) else []
            if not damaged:  # nothing is wrong with a file: what failed is the storage or this machine
                raise
            bad_files += damaged
            left_out = {bad.path for bad in damaged}
            files = [file for file in files if file.path not in left_out]
    good, unparsed = list[DataFile](), list[DataFile]()
    for file in files:
        count = counts.get(file.url)
        bad = compare_with_name(file, count["read"], count["whole"]) if count else compare_with_name(file, 0, 0)
        if bad is None:
            good.append(file)
        else:
            bad_files.append(bad)
            unparsed += [file] if bad.reason == NOT_WHOLE else []
    found = [counts[file.url] for file in good if file.url in counts]
    foreign = sum(count["foreign"] for count in found)
    ours = F.col("source_table") == source_table
    return CheckedRecords(
        records=read_records(spark, good, record).where(ours) if found else None,
        count=sum(count["whole"] for count in found) - foreign,
        refused=foreign,
        bad_files=tuple(bad_files),
        oldest_ingest_ms=min((count["oldest"] for count in found if count["oldest"] is not None), default=None),
        newest_ingest_ms=max((count["newest"] for count in found if count["newest"] is not None), default=None),
        oldest_record_ms=min((count["aged"] for count in found if count["aged"] is not None), default=None),
        from_stream=sum(count["stream"] for count in found),
        not_whole=read_records(spark, unparsed, record).where(~F.col(WHOLE)) if unparsed else None,
    )


def find_damaged_files(spark: SparkSession, files: Sequence[DataFile], record: StructType = RECORD) -> list[BadFile]:
    """The files among ``files`` that cannot be read to their end, found by halving.

    Spark's `ignoreCorruptFiles` would be one pass, but it keeps the rows read before the damage, and one
    flipped bit has invented rows: a checksum that fails after the last line would go unnoticed. An error
    that says nothing about a file (storage out of reach, memory) is raised again, so that an outage stops
    the run instead of leaving good files out.
    """
    try:
        read_records(spark, files, record).write.format("noop").mode("overwrite").save()
    except Exception as error:
        reason = damage_reason(error)
        if reason is None:
            raise
        if len(files) == 1:
            return [BadFile(files[0].path, reason, files[0].count)]
        half = len(files) // 2
        return find_damaged_files(spark, files[:half], record) + find_damaged_files(spark, files[half:], record)
    return []


def damage_reason(error: BaseException) -> str | None:
    """Why a read failed if a file is to blame (`missing`, `damaged`), None for every other failure.

    Only the first cause counts: Avro wraps a broken connection in an exception of its own just as it wraps a
    broken block. Its top frame counts too, since a cut Avro file can end in a bare NullPointerException.
    """
    text = root_cause_text(error)
    # Of a read that could not even be planned Spark Connect sends a trace without the condition.
    if "FileNotFoundException" in text or "PATH_NOT_FOUND" in f"{condition_of(error)} {text}":
        return MISSING
    return DAMAGED if any(sign in text for sign in _DAMAGE) else None


def count_by_file(records: DataFrame, source_table: str) -> DataFrame:
    """What is compared with the count in each file's name, and the clock of its records' writer.

    before (`origin` and times left out)                     after (for `flights`; `aged` and `stream` left out)
    | _file | _whole | source_table | ingest_time_ms |    | _file | read | whole | foreign | oldest | newest |
    |-------|--------|--------------|----------------|    |-------|------|-------|---------|--------|--------|
    | f1    | true   | flights      | 70             |    | f1    | 3    | 2     | 0       | 70     | 80     |
    | f1    | true   | flights      | 80             |    | f2    | 1    | 1     | 1       |        |        |
    | f1    | false  | flights      | 90             |
    | f2    | true   | weather      | 60             |
    """
    return records.groupBy(FILE).agg(*aggregates_of(records, source_table))


def aggregates_of(records: DataFrame, source_table: str) -> list[Column]:
    """The aggregates of `count_by_file`."""
    ours = F.col(WHOLE) & (F.col("source_table") == source_table)
    return [
        F.count("*").alias("read"),
        F.count_if(F.col(WHOLE)).alias("whole"),
        F.count_if(F.col(WHOLE) & (F.col("source_table") != source_table)).alias("foreign"),
        *record_aggregates(ours),
        # Spark's JSON reader passes over a field that nobody asks for, and would not see that it does not parse.
        F.max(F.xxhash64(*[name for name in records.columns if name not in (FILE, WHOLE)])).alias("all_fields"),
    ]


def record_aggregates(ours: Column) -> list[Column]:
    """Aggregates of the records that are ours: their writer's clock, the least creation time or label, the origin."""
    return [
        F.min(F.when(ours, F.col("ingest_time_ms"))).alias("oldest"),
        F.max(F.when(ours, F.col("ingest_time_ms"))).alias("newest"),
        F.min(F.when(ours, record_time_ms())).alias("aged"),
        F.count_if(ours & (F.col("origin") == "stream")).alias("stream"),
    ]


def compare_with_name(file: DataFile, read: int, whole: int) -> BadFile | None:
    """None when the file holds exactly the whole records its name says.

    The JSON reader drops a second record on one line without a word, and a writer killed half-way or a
    file edited by hand leaves fewer or more lines: only the name knows how many there were.
    """
    if read == whole == file.count:
        return None
    reason = COUNT if read == whole else NOT_WHOLE
    return BadFile(file.path, reason, file.count, read, whole)
