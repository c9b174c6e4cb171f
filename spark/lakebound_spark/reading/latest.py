"""Reduces many records to one row per key, which holds the greatest of each register (ORDERING.md)."""

from __future__ import annotations

from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.reading.schema import LABEL_DIGITS

REGISTERS: Final = ("stream", "base")
"""The two registers of a key, in the order in which their columns stand."""


def base_register() -> Column:
    """The base register of each base record, as `lakebound.record.base_records.base_register` writes it."""
    present = F.when(F.col("new_image").isNotNull(), "1").otherwise("0")
    label = F.lpad(F.col("snapshot_label_ms").cast("string"), LABEL_DIGITS, "0")
    return F.concat_ws("|", label, F.col("snapshot_run"), present)


def show_expired(records: DataFrame, among: Column | None = None) -> DataFrame:
    """For `ttl_deletes: keep`: a TTL delete shows the item that it removed, so its row stays, marked by `ttl_expired`.

    The image comes from the REMOVE and not from silver's row, which may have an older version when records arrive out
    of order. A REMOVE without its old image (another stream view) stays a delete. With ``among`` only those records are
    concerned.

    | new_image | old_image | ttl_expired |    | new_image | ttl_expired |
    |-----------|-----------|-------------|    |-----------|-------------|
    |           | {"v":"7"} | true        |    | {"v":"7"} | true        |
    |           | {"v":"7"} | false       |    |           | false       |
    """
    expired = F.when(F.col("ttl_expired") & (F.lit(True) if among is None else among), F.col("old_image"))
    return records.withColumn("new_image", F.coalesce("new_image", expired))


def latest_per_key(records: DataFrame, *more: Column) -> DataFrame:
    """One row per key: the greatest stream record and the greatest base record of a micro-batch.

    A MERGE with two source rows for one key fails, or inserts a new key twice. Repeated and reordered inputs do not
    change a maximum, so duplicates and reordering end here. ``more`` are further aggregates of a key's records, each a
    column of its own.

    before
    | key | origin | version | approx_creation_time_ms | snapshot_label_ms | snapshot_run | new_image |
    |-----|--------|---------|-------------------------|-------------------|--------------|-----------|
    | k   | stream | L|…07   | 5000                    |                   |              | {"v":"7"} |
    | k   | stream | L|…09   | 4000                    |                   |              |           |
    | k   | scan   |         |                         | 3000              | r            | {"v":"7"} |
    | m   | scan   |         |                         | 3000              | r            | {"v":"1"} |

    after (`stream_ttl` and `keys` left out)
    | key | version | stream_time_ms | stream_image | base                  | base_image |
    |-----|---------|----------------|--------------|-----------------------|------------|
    | k   | L|…09   | 5000           |              | 000000000003000|r|1   | {"v":"7"}  |
    | m   | ''      |                |              | 000000000003000|r|1   | {"v":"1"}  |
    """
    is_stream = F.col("origin") == "stream"
    version = F.when(is_stream, F.col("version"))
    base = F.when(~is_stream, base_register())
    by_key = records.groupBy("key").agg(
        F.max("keys").alias("keys"),
        F.max(version).alias("version"),
        F.max(F.when(is_stream, F.col("approx_creation_time_ms"))).alias("stream_time_ms"),
        F.max_by(F.struct("new_image", "ttl_expired"), version).alias("stream"),
        F.max(base).alias("base"),
        F.max_by("new_image", base).alias("base_image"),
        *more,
    )
    known = {"key", "keys", "version", "stream_time_ms", "stream", "base", "base_image"}
    return by_key.select(
        "key",
        "keys",
        F.coalesce("version", F.lit("")).alias("version"),
        "stream_time_ms",
        F.col("stream.new_image").alias("stream_image"),
        F.coalesce("stream.ttl_expired", F.lit(False)).alias("stream_ttl"),
        F.coalesce("base", F.lit("")).alias("base"),
        "base_image",
        *[name for name in by_key.columns if name not in known],
    )
