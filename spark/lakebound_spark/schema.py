"""The record as Spark reads it, and the silver table's own columns. One definition for every file format."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import BooleanType, IntegerType, LongType, StringType, StructField, StructType

CORRUPT: Final = "_corrupt"
FILE: Final = "_file"
WHOLE: Final = "_whole"

# Images and keys are STRING though they are objects in NDJSON: Spark's JSON reader then hands over the text
# exactly as it stands in the file, so no number is rewritten on its way to `_item`. `old_image` is left out:
# the merge never reads it, and parsing it costs a fifth of the whole read.
RECORD: Final = StructType(
    [
        StructField("schema", IntegerType()),
        StructField("event_name", StringType()),
        StructField("origin", StringType()),
        StructField("source_table", StringType()),
        StructField("key", StringType()),
        StructField("keys", StringType()),
        StructField("new_image", StringType()),
        StructField("is_deleted", BooleanType()),
        StructField("ttl_expired", BooleanType()),
        StructField("version", StringType()),
        StructField("snapshot_label_ms", LongType()),
        StructField("snapshot_run", StringType()),
        StructField("approx_creation_time_ms", LongType()),
        StructField("ingest_time_ms", LongType()),
    ]
)

# With `ttl_deletes: keep` a TTL delete shows the item it removed, so that one image more has to be read.
RECORD_WITH_OLD_IMAGE: Final = StructType([*RECORD.fields, StructField("old_image", StringType())])

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
"""With `columns: auto`: the attributes that no column could take, as one DynamoDB-JSON object."""

RESERVED_COLUMNS: Final = frozenset(
    ("_key", *SILVER.fieldNames(), RESCUED, "_change_type", "_commit_version", "_commit_timestamp")
)

LABEL_DIGITS: Final = 15


def is_whole() -> Column:
    """True for a record this code can merge; false for a line that did not parse whole, never null.

    The corrupt column alone is not enough. `{}` parses without complaint and has a NULL key. A line that
    breaks after its key and version, with the image last, keeps both and has a NULL image: merged, it would
    delete the item. An unpadded version would sort above every padded one for ever. So each field that the
    registers compare is checked, and `is_deleted` has to agree with the image.
    """
    stream = F.col("version").rlike(r"\|[0-9]{40}\z") & (F.col("approx_creation_time_ms") >= 0)
    base = F.col("snapshot_label_ms").between(0, 10**LABEL_DIGITS - 1) & F.col("snapshot_run").isNotNull()
    whole = (
        F.col(CORRUPT).isNull()
        & (F.col("schema") == 1)
        & (F.col("key") != "")
        & (F.col("source_table") != "")
        & F.col("keys").startswith("{")
        & (F.col("new_image").isNull() | F.col("new_image").startswith("{"))
        & (F.col("is_deleted") == F.col("new_image").isNull())
        & F.when(F.col("origin") == "stream", stream).otherwise(F.col("origin").isNotNull() & base)
    )
    return F.coalesce(whole, F.lit(False))


def mark_whole(records: DataFrame) -> DataFrame:
    """Add the boolean `_whole` of :func:`is_whole` and drop the corrupt text."""
    return records.withColumn(WHOLE, is_whole()).drop(CORRUPT)
