"""The one guarded MERGE that brings silver forward."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.sql_text import insert_clause, literal, update_clause
from lakebound_spark.platform.tables import Counts, count_copied, merge_into
from lakebound_spark.reading.latest import REGISTERS
from lakebound_spark.reading.schema import LABEL_DIGITS, RESCUED
from lakebound_spark.silver import bloom_filter

_TEXT_TO_BROADCAST: Final = 32 << 20
"""Characters of images up to which a micro-batch is sent to every executor for the MERGE's joins.

Spark's own limit (10 MiB) goes by the size of a cached row, which is far over that of its text, so the whole target was
shuffled and sorted for micro-batches of a few megabytes: 18 s instead of 14 s for 100,000 records into a million rows.
"""


def merge_rows(
    spark: SparkSession,
    target: str,
    rows: DataFrame,
    columns: Sequence[str],
    registers: Collection[str] = REGISTERS,
    *,
    bounds: Mapping[str, Any] | Row | None = None,
    is_held: bool = False,
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

    ``columns`` are the names of the attributes' columns. ``registers`` are those that the rows feed, as `typed_rows`
    was told: most micro-batches hold stream records only, and the other register's clauses made the MERGE of 500
    columns half as long again. ``bounds``, the `row_bounds` of ``rows``, let Delta skip files whose keys lie outside.
    ``is_held`` says that ``rows`` are read from files that do not change meanwhile (`tables.hold`): of a large table
    the MERGE then shuffles few rows (`bloom_filter.allowed`).
    Delta refuses the commit when another writer committed in between (see `tables.retry_on_conflict`). A retry is
    harmless: the guard compares with the table as it is then.
    """
    same = "t._key = s.key"
    settings: AbstractContextManager[None] = nullcontext()
    if bounds is not None:
        same += f" AND t._key BETWEEN {literal(bounds['first'])} AND {literal(bounds['last'])}"
        if is_held and bloom_filter.pays(spark, target, bounds["first"], bounds["last"]):
            # True of every row. Spark makes a Bloom filter only of what a filter has made smaller, by the look of it.
            rows = rows.where(F.col("key") >= bounds["first"])
            settings = bloom_filter.allowed(rows.sparkSession, bounds["keys"], bounds["text"])
        elif bounds["text"] <= _TEXT_TO_BROADCAST:
            rows = F.broadcast(rows)
    with settings:
        merged = merge_into(target, rows, same, *_guarded_clauses(columns, registers, rescue))
    return count_copied(spark, target, merged)


def row_bounds() -> list[Column]:
    """Aggregates of the rows to merge: how many `keys`, the `first` and the `last` of them, and how much `text`."""
    text = F.expr("coalesce(length(stream_image), 0) + coalesce(length(base_image), 0)")
    least, greatest = F.min("key").alias("first"), F.max("key").alias("last")
    return [F.count("*").alias("keys"), least, greatest, F.sum(text).alias("text")]


def _guarded_clauses(columns: Sequence[str], registers: Collection[str], rescue: bool) -> list[str]:
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
    updates, inserts = [], []
    if "stream" in registers:
        updates.append((f"s.version > t._version AND {t.stream_is_visible}", {**t.greatest, **stream}))
        inserts.append((none.stream_is_visible, {**key, **none.greatest, **stream}))
    if "base" in registers:
        updates.append((f"s.base > t._base AND NOT ({t.stream_is_visible})", {**t.greatest, **base}))
        inserts.append((f"NOT ({none.stream_is_visible})", {**key, **none.greatest, **base}))
    updates.append((moved, t.greatest))
    return [
        *(f"WHEN MATCHED AND {condition} THEN {update_clause(values)}" for condition, values in updates),
        *(f"WHEN NOT MATCHED AND {condition} THEN {insert_clause(values)}" for condition, values in inserts),
    ]


def _image_assignments(image: str, ttl: str, typed: str, columns: Sequence[str]) -> dict[str, str]:
    """Assignments that make one register's image the visible one."""
    shown = {name: f"{typed}.c{number}" for number, name in enumerate(columns)}
    return shown | {"_item": image, "_is_deleted": f"{image} IS NULL", "_ttl_expired": ttl}


@dataclass(frozen=True, slots=True)
class _Registers:
    """SQL for a row's registers before the merge, and from them for what the merge decides."""

    version: str
    time: str
    base: str

    @property
    def greatest(self) -> dict[str, str]:
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
