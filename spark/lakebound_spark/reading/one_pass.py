"""Records read once: they are counted while they are used, and used again only where a count does not fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

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

Use = Callable[[DataFrame, Collection[str]], DataFrame]
"""Computes rows from the records and the registers that they feed, and holds them. It has no other effect."""

_WEIGHT_DIGITS: Final = 7


def read_once(
    spark: SparkSession, files: Sequence[DataFile], source_table: str, use: Use, record: StructType = RECORD
) -> tuple[CheckedRecords, DataFrame | None]:
    """Give ``use`` the records of whole files that belong to the table; what was counted, and what it returned.

    The digests are proven first, so that only a fault of the writer is left to find. Then ``use`` is called while the
    records are counted on their way. Where a count does not fit its name, what ``use`` held is forgotten: each file is
    counted by itself, the doubtful ones are left out, and ``use`` is called again. So it goes where Spark ran a stage
    again and counted its records twice. None without a record.
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
    use: Use,
    record: StructType,
) -> tuple[CheckedRecords, DataFrame | None] | None:
    """The same for files that hold what their names say; None when one of them does not."""
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
    # A server of Spark Connect that is busy sends no counts: it waits for them for a tenth of a second only.
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
    if not named.issuperset(checked.registers):  # a writer that names its files otherwise; their counts fit
        held = use(read.where(ours), checked.registers)
    return checked, held


def _weights() -> Column:
    """The sum of a number for each record, the same for all of one file: the first digits of the digest in its name.

    Two files of one micro-batch with a record too many and one too few have the right count together, and another sum.
    """
    digest = F.substring(F.substring_index(FILE, "-", -1), 1, _WEIGHT_DIGITS)
    return F.sum(F.conv(digest, 16, 10).cast("long")).alias("weights")


def _fit_names(files: Sequence[DataFile], counts: Mapping[str, Any]) -> bool:
    weights = sum(file.count * int(file.digest[:_WEIGHT_DIGITS], 16) for file in files)
    sums = (counts["read"], counts["whole"], counts["weights"])
    named = sum(file.count for file in files)
    return sums == (named, named, weights)
