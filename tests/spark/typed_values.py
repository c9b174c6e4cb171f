"""Attribute values through the columns of silver, many at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyspark.sql import Row, SparkSession

from lakebound_spark.silver.columns import parse_column
from lakebound_spark.silver.rows import typed_rows
from tests.support.independent_writer import version

LATEST = "key STRING, keys STRING, version STRING, stream_image STRING, base STRING, base_image STRING"


def typed_all(
    spark: SparkSession, columns: dict[str, Any], rows: list[tuple[str, str | None, str | None]]
) -> list[Row]:
    """The rows that `latest_per_key` would give for (keys, stream image, base image), typed."""
    values = [
        (f"{n}", keys, version(7), image, "000000000003000|r|1" if base_image else "", base_image)
        for n, (keys, image, base_image) in enumerate(rows)
    ]
    declared = [parse_column(name, type_) for name, type_ in columns.items()]
    return typed_rows(spark.createDataFrame(values, LATEST).coalesce(1), declared).collect()


def plain(got: Any) -> Any:
    """A collected value as the cases have it: a timestamp comes in the zone of this machine, bytes as a bytearray."""
    if isinstance(got, list):
        return [plain(member) for member in got]
    return got.astimezone(UTC) if isinstance(got, datetime) else bytes(got) if isinstance(got, bytearray) else got
