"""The record as Spark reads it, and silver's own columns: one definition for every file format."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import BooleanType, DataType, IntegerType, LongType, StringType, StructField, StructType

from lakebound.record import base_records
from lakebound.record.envelope import FIELDS
from lakebound.times import MAX_TIME_MS

CORRUPT: Final = "_corrupt"
FILE: Final = "_file"
WHOLE: Final = "_whole"

_SPARK_TYPES: Final[dict[str, DataType]] = {
    "int": IntegerType(),
    "long": LongType(),
    "string": StringType(),
    "boolean": BooleanType(),
    # Images and keys are STRING though they are objects in NDJSON: Spark's JSON reader then hands over the text
    # exactly as it stands in the file, so no number is rewritten on its way to `_item`.
    "json": StringType(),
}

BRONZE_RECORD: Final = StructType([StructField(name, _SPARK_TYPES[kind]) for name, kind, _ in FIELDS])
"""Every field of the record, in the contract's order: what bronze keeps."""

# The merge never reads `old_image`, whose parsing takes a fifth of the read. The other three identify a record to
# people and are not compared.
_UNREAD = ("event_id", "old_image", "sequence_number", "size_bytes")

RECORD: Final = StructType([field for field in BRONZE_RECORD if field.name not in _UNREAD])
"""What the merge reads of a record."""

# With `ttl_deletes: keep` a TTL delete shows the item that it removed, so the old image is read too.
RECORD_WITH_OLD_IMAGE: Final = StructType([*RECORD.fields, BRONZE_RECORD["old_image"]])

# What silver keeps beside the declared columns (`_key` stands first in the table).
SILVER: Final = StructType(
    [
        StructField("_item", StringType()),
        StructField("_is_deleted", BooleanType()),
        StructField("_version", StringType()),
        StructField("_stream_time_ms", LongType()),
        StructField("_base", StringType()),
        StructField("_ttl_expired", BooleanType()),
    ]
)

BAD_FILES: Final = StructType(
    [
        StructField("path", StringType()),
        StructField("reason", StringType()),
        StructField("records_named", LongType()),
        StructField("records_read", LongType()),
        StructField("records_whole", LongType()),
    ]
)

RESCUED: Final = "_rescued"
"""With `columns: auto`: the attributes that no column can hold, as one DynamoDB-JSON object."""

LABEL_DIGITS: Final = base_records.LABEL_DIGITS


def is_whole() -> Column:
    """True for a line that is a whole record that this code can merge; never null."""
    return F.col(CORRUPT).isNull() & is_whole_record()


def is_whole_record() -> Column:
    """True for a record that this code can merge, false for any other, never null.

    The corrupt column is not enough. `{}` parses without an error and has a NULL key. A line that breaks after its key
    and version, before the image, has a NULL image, and its merge would delete the item. An unpadded version would sort
    above every padded one for ever. So each field that the registers compare is checked, and `is_deleted` has to agree
    with the image.
    """
    stream = F.col("version").rlike(r"\|[0-9]{40}\z") & (F.col("approx_creation_time_ms") >= 0)
    base = F.col("snapshot_label_ms").between(0, 10**LABEL_DIGITS - 1) & F.col("snapshot_run").isNotNull()
    whole = (
        (F.col("schema") == 1)
        & (F.col("key") != "")
        & (F.col("source_table") != "")
        & F.col("keys").startswith("{")
        & (F.col("new_image").isNull() | F.col("new_image").startswith("{"))
        & (F.col("is_deleted") == F.col("new_image").isNull())
        & F.col("ingest_time_ms").between(0, MAX_TIME_MS)
        & F.when(F.col("origin") == "stream", stream).otherwise(F.col("origin").isNotNull() & base)
    )
    return F.coalesce(whole, F.lit(False))


def mark_whole(records: DataFrame) -> DataFrame:
    """Add the boolean `_whole` of :func:`is_whole`. The corrupt text stays, because bronze keeps it."""
    return records.withColumn(WHOLE, is_whole())


def record_time_ms() -> Column:
    """A record's own time: the creation time of a stream record, the label of a base record."""
    is_stream = F.col("origin") == "stream"
    return F.when(is_stream, F.col("approx_creation_time_ms")).otherwise(F.col("snapshot_label_ms"))
