"""Reads records once: counts them while they are used, and uses them again only where a count is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from lakebound_spark.reading.files import (
    BadFile,
    CheckedRecords,
    aggregates_of,
    count_files,
    damage_reason,
    prove_files,
)
from lakebound_spark.reading.schema import FILE, RECORD, WHOLE
from lakebound_spark.reading.source import DataFile, read_records

T = TypeVar("T")

Use = Callable[[DataFrame, Collection[str]], T]
"""Computes rows from the records and the registers that they feed, and holds them. Has no other effect."""

_WEIGHT_DIGITS: Final = 7


def read_once(
    spark: SparkSession, files: Sequence[DataFile], source_table: str, use: Use[T], record: StructType = RECORD
) -> tuple[CheckedRecords, T | None]:
    """Give ``use`` the table's records of whole files. Returns the counts, and what ``use`` returned.

    The digests are checked first, so only a fault of the writer remains to be found. Then ``use`` is called, and the
    records are counted as they pass. Where the counts do not match the names, its result is dropped: each file is
    counted by itself, the damaged ones are left out, and ``use`` is called again. The same happens when Spark reruns a
    stage and so counts records twice. The result is None without a record.
    """
    proven, bad_files = prove_files(spark, files)
    found = _read_and_count(spark, proven, bad_files, source_table, use, record) if proven else None
    if found is not None:
        return found
    checked = count_files(spark, proven, bad_files, source_table, record)
    return checked, None if checked.records is None else use(checked.records, checked.registers)


def _read_and_count(
    spark: SparkSession,
    files: Sequence[DataFile],
    bad_files: Sequence[BadFile],
    source_table: str,
    use: Use[T],
    record: StructType,
) -> tuple[CheckedRecords, T | None] | None:
    """The same for files that hold what their names say. None when one of them does not."""
    ours = F.col(WHOLE) & (F.col("source_table") == source_table)
    counted = Observation()
    named = {"stream" if file.origin == "stream" else "base" for file in files}
    try:
        read = read_records(spark, files, record)
        held = use(read.observe(counted, *aggregates_of(read, source_table), _weights()).where(ours), named)
    except Exception as error:
        if damage_reason(error) is None:
            raise
        return None
    counts = counted.get
    # A busy server of Spark Connect sends no counts, because it waits for them for a tenth of a second only.
    if not counts or not _fit_names(files, counts):
        return None
    checked = CheckedRecords(
        records=read.where(ours),
        count=counts["whole"] - counts["foreign"],
        refused=counts["foreign"],
        bad_files=tuple(bad_files),
        oldest_ingest_ms=counts["oldest"],
        newest_ingest_ms=counts["newest"],
        oldest_record_ms=counts["aged"],
        from_stream=counts["stream"],
    )
    if not named.issuperset(checked.registers):  # another writer names its files differently
        held = use(read.where(ours), checked.registers)
    return checked, held


def _weights() -> Column:
    """The sum of a weight for each record: the first digits of the digest in its file's name.

    If one file of a micro-batch has a record too many and another one too few, their count is right and this sum wrong.
    """
    digest = F.substring(F.substring_index(FILE, "-", -1), 1, _WEIGHT_DIGITS)
    return F.sum(F.conv(digest, 16, 10).cast("long")).alias("weights")


def _fit_names(files: Sequence[DataFile], counts: Mapping[str, Any]) -> bool:
    weights = sum(file.count * int(file.digest[:_WEIGHT_DIGITS], 16) for file in files)
    sums = (counts["read"], counts["whole"], counts["weights"])
    named = sum(file.count for file in files)
    return sums == (named, named, weights)
