"""Reading silver back, for `lakebound verify` and for people in a notebook."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.errors import Misconfigured
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY
from lakebound_spark.platform.tables import require_silver
from lakebound_spark.reading.schema import SILVER
from lakebound_spark.silver.live_rows import live_rows


class SilverRow(NamedTuple):
    """One key of silver. ``item`` is DynamoDB-JSON text, None for a tombstone and for what TTL has deleted."""

    key: str
    item: str | None
    version: str
    base: str
    stream_time_ms: int | None
    is_deleted: bool

    @property
    def from_base(self) -> bool:
        """Whether only a backfill has told of the row: the stream has said nothing of its key."""
        return bool(self.base) and self.stream_time_ms is None


def read_silver(
    spark: SparkSession,
    target: str,
    *,
    keys: Collection[str] | None = None,
    selection: Selection = EVERY_KEY,
    live: bool = False,
) -> Iterator[SilverRow]:
    """Every row of the silver table at ``target`` (path or name), tombstones included, in no order.

    With ``live`` the rows are those of `_live`, in which pending changes count as merged.

    All rows come from one version of the table, the newest when the call is made. Rows stream: this process
    holds about two file splits (128 MB of Parquet each at most), whatever the table's size. With ``keys`` only those
    rows come, for reading a few again; a key without a row gives nothing. With a ``selection`` only its rows come.
    Raises Misconfigured when there is no silver table at ``target``.
    """
    silver = require_silver(spark, target)
    if not {"_key", *SILVER.fieldNames()} <= set(silver.columns):
        raise Misconfigured(f"{target} is a Delta table without silver's columns; name the merge job's target")
    if live:
        silver = live_rows(spark, target)
    if keys is not None:
        wanted = spark.createDataFrame([(key,) for key in keys], "_key STRING")
        silver = silver.join(wanted, "_key", "left_semi")
    if selection.stratum is not None:
        low, high = selection.stratum.bounds
        silver = silver.where(f"md5(_key) >= '{low}' AND md5(_key) < '{high}'")
    if selection.since_ms is not None:
        label = F.expr("try_cast(substr(_base, 1, 15) AS BIGINT)")
        silver = silver.where((F.col("_stream_time_ms") >= selection.since_ms) | (label >= selection.since_ms))
    # With `ttl_deletes: keep` an expired item is still shown; the source has it no longer.
    gone = F.col("_is_deleted") | F.coalesce(F.col("_ttl_expired"), F.lit(False))
    item = F.when(~gone, F.col("_item"))
    for row in silver.select("_key", item, "_version", "_base", "_stream_time_ms", gone).toLocalIterator(
        prefetchPartitions=True
    ):
        yield SilverRow(*row)
