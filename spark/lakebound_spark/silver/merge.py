"""The one guarded MERGE that brings silver forward."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from delta.tables import DeltaMergeBuilder, DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.spark_compat import Counts, execute_merge
from lakebound_spark.platform.sql_text import quoted
from lakebound_spark.platform.tables import open_table
from lakebound_spark.reading.latest import REGISTERS
from lakebound_spark.reading.schema import LABEL_DIGITS, RESCUED
from lakebound_spark.silver.columns import DeclaredColumn


def merge_rows(
    spark: SparkSession,
    target: str,
    rows: DataFrame,
    columns: Sequence[DeclaredColumn],
    registers: Collection[str] = REGISTERS,
    *,
    keys: tuple[str, str] | None = None,
    rescue: bool = False,
) -> Counts:
    """Bring silver forward by the rows of `rows.typed_rows` (one per key, whatever was merged before).

    t, before                                        s
    | _key | _version | _stream_time_ms | _base |    | key | version | stream_time_ms | stream_image | base |
    |------|----------|-----------------|-------|    |-----|---------|----------------|--------------|------|
    | k    | L|…07   | 5000            | ''    |    | k   | L|…09   | 4000           | NULL         | ''   |

    t, after: version 9 is the greater, so the key is gone; the greatest time stays
    | _key | _item | _is_deleted | _version | _stream_time_ms | _base |
    |------|-------|-------------|----------|-----------------|-------|
    | k    | NULL  | true        | L|…09    | 5000            | ''    |

    ``registers`` are those that the rows feed, as `typed_rows` was told: most micro-batches hold stream records only,
    and the other register's clauses made the MERGE of 500 columns half as long again. ``keys``, the least and the
    greatest key of ``rows``, let Delta skip files whose keys lie outside. Delta refuses the commit when another writer
    committed in between (see `tables.retry_on_conflict`). A retry is harmless: the guard compares with the table as it
    is then.
    """
    table = open_table(spark, target)
    return execute_merge(spark, table, _guarded_merge(table, rows, columns, registers, keys, rescue=rescue))


def _guarded_merge(
    table: DeltaTable,
    rows: DataFrame,
    columns: Sequence[DeclaredColumn],
    registers: Collection[str],
    keys: tuple[str, str] | None,
    *,
    rescue: bool,
) -> DeltaMergeBuilder:
    """The rule in its compacted form, one clause for each thing that can happen to a key.

    The three matched clauses together fire when `s.version > t._version OR s.base > t._base OR
    s.stream_time_ms > t._stream_time_ms` and never otherwise, so a replayed row touches nothing. Silver keeps
    one image, not both: a row that raises only the time cannot bring back a stream image that an older base
    record has hidden. It need not, for such a base record was read MARGIN after its label and has that change.
    """
    t = _Registers("t._version", "t._stream_time_ms", "t._base")
    none = _Registers("''", "CAST(NULL AS BIGINT)", "''")
    stream = _image_assignments("s.stream_image", "s.stream_ttl", "s.stream_columns", columns)
    base = _image_assignments("s.base_image", "false", "s.base_columns", columns)
    if rescue:
        stream[RESCUED], base[RESCUED] = "s.stream_rescued", "s.base_rescued"
    moved = "s.version > t._version OR s.base > t._base OR s.stream_time_ms > t._stream_time_ms"
    key = {"_key": "s.key"}
    same = F.col("t._key") == F.col("s.key")
    if keys is not None:
        same = same & F.col("t._key").between(*map(F.lit, keys))
    merge = table.alias("t").merge(rows.alias("s"), same)
    if "stream" in registers:
        merge = merge.whenMatchedUpdate(
            f"s.version > t._version AND {t.stream_is_visible}", {**t.greatest, **stream}
        ).whenNotMatchedInsert(none.stream_is_visible, {**key, **none.greatest, **stream})
    if "base" in registers:
        merge = merge.whenMatchedUpdate(
            f"s.base > t._base AND NOT ({t.stream_is_visible})", {**t.greatest, **base}
        ).whenNotMatchedInsert(f"NOT ({none.stream_is_visible})", {**key, **none.greatest, **base})
    return merge.whenMatchedUpdate(moved, dict(t.greatest))


def _image_assignments(image: str, ttl: str, typed: str, columns: Sequence[DeclaredColumn]) -> dict[str, str | Column]:
    """Assignments that make one register's image the visible one."""
    shown: dict[str, str | Column] = {quoted(c.name): f"{typed}.c{number}" for number, c in enumerate(columns)}
    return shown | {"_item": image, "_is_deleted": f"{image} IS NULL", "_ttl_expired": ttl}


@dataclass(frozen=True, slots=True)
class _Registers:
    """SQL for a row's registers before the merge, and from them for what the merge decides."""

    version: str
    time: str
    base: str

    @property
    def greatest(self) -> dict[str, str | Column]:
        """Assignments of the registers after the merge; `greatest` passes over NULLs."""
        return {
            "_version": f"greatest({self.version}, s.version)",
            "_stream_time_ms": f"greatest({self.time}, s.stream_time_ms)",
            "_base": f"greatest({self.base}, s.base)",
        }

    @property
    def stream_is_visible(self) -> str:
        """`A >= L`, ties included, or no base record at all. Never NULL."""
        after = self.greatest
        label = f"CAST(substring({after['_base']}, 1, {LABEL_DIGITS}) AS BIGINT)"
        return (
            f"CASE WHEN {after['_base']} = '' THEN true ELSE coalesce({after['_stream_time_ms']} >= {label}, false) END"
        )
