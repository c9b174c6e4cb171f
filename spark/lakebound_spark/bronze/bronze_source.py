"""Bronze as the source of silver: a Delta stream of records that were checked when bronze took them."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StructType

from lakebound.errors import Misconfigured
from lakebound_spark.platform.tables import exists, is_path, read_table, table_sql
from lakebound_spark.reading.files import CheckedRecords, record_aggregates
from lakebound_spark.reading.schema import BRONZE_RECORD, is_whole_record


def check_bronze(spark: SparkSession, source: str) -> None:
    """Raises Misconfigured unless ``source`` is a Delta table with every field of the record, of the right type."""
    if not exists(spark, source):
        raise Misconfigured(f"--source {source} is no Delta table; with --reader bronze give the bronze table")
    there = {field.name: field.dataType for field in read_table(spark, source).schema.fields}
    wrong = [field.name for field in BRONZE_RECORD.fields if there.get(field.name) != field.dataType]
    if wrong:
        raise Misconfigured(
            f"--source {source} is no bronze table: its {', '.join(wrong)} are missing or of another type"
        )


def stream_of_bronze(spark: SparkSession, source: str, most_files: int, most_bytes: int) -> DataFrame:
    """The rows appended to bronze, in micro-batches of about so many of its files and bytes.

    OPTIMIZE repeats no row, and a DELETE of whole days is ignored. A changed or partly deleted file stops the stream
    with Delta's error, because bronze only grows.
    """
    stream = (
        spark.readStream.format("delta")
        .option("maxFilesPerTrigger", most_files)
        .option("maxBytesPerTrigger", most_bytes)
        .option("ignoreDeletes", "true")
    )
    return stream.load(source) if is_path(source) else stream.table(table_sql(source))


def bronze_records(batch: DataFrame, source_table: str, record: StructType) -> CheckedRecords:
    """The rows of ``batch`` that belong to the table.

    A row of another table is refused, and so is a row that somebody inserted and that is no whole record.
    """
    ours = is_whole_record() & (F.col("source_table") == source_table)
    counts = batch.agg(
        F.count_if(ours).alias("ours"),
        F.count_if(~ours).alias("refused"),
        *record_aggregates(ours),
    ).head()
    assert counts is not None
    return CheckedRecords(
        records=batch.select(*record.names).where(ours) if counts["ours"] else None,
        count=counts["ours"],
        refused=counts["refused"],
        bad_files=(),
        oldest_ingest_ms=counts["oldest"],
        newest_ingest_ms=counts["newest"],
        oldest_record_ms=counts["aged"],
        from_stream=counts["stream"],
    )
