"""The history as a Delta table. Most keys continue from their current stretch; others are computed again from bronze.

A key continues when the records of the micro-batch can only follow what its history holds:
- All of them are stream records of greater versions than any before. The current stretch is a change of a smaller
  version, or an image that a scan or an export read more than READ_MS before them, or there is none.
- No base record of the key has a label less than READ_MS (an ABSENT record: RUN_MS) before them. Such a record might
  belong between or behind them, or be explained by them.
The earlier stretches then stay, except for the end of the current one. The current row and the micro-batch suffice,
however large bronze and the history are. Every other key (a late or repeated record, a backfill) is computed from all
of its records in bronze. Both ways end in the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.errors import Misconfigured
from lakebound_spark.history.key_selection import EVERY_KEY, KeySelection
from lakebound_spark.history.stretches import HISTORY, READ_MS, RUN_MS, entries, stretches, stretches_of, value_digest
from lakebound_spark.platform.metrics import Result
from lakebound_spark.platform.sql_text import insert_clause, update_clause
from lakebound_spark.platform.streams import MicroBatchWork
from lakebound_spark.platform.tables import (
    columns_sql,
    create_table,
    decode_property,
    exists,
    hold,
    merge_into,
    read_table,
    retry_on_conflict,
    set_properties,
    table_detail,
    table_sql,
)
from lakebound_spark.silver.silver_table import extent_of, extent_property

BRONZE_FIELDS: Final = (
    *("key", "origin", "event_name", "version", "approx_creation_time_ms", "snapshot_label_ms", "snapshot_run"),
    *("ingest_time_ms", "new_image", "old_image"),
)
"""The fields of a record that `stretches` takes."""

_SOURCE_TABLE = "lakebound.history_of"
_ROW_KEY = ("_key", "_version")
# A scan for at most so many keys names them as values, so that Delta and Parquet skip files without them.
_KEYS_AS_VALUES = 1_000


@dataclass(frozen=True, slots=True)
class HistoryUpdate:
    """What an update of the history did."""

    keys: int
    anew: int
    """The number of keys that were computed again from all of their records in bronze."""
    rows: int
    """The number of rows inserted, changed and removed."""


@dataclass(frozen=True, slots=True)
class HistoryResult(Result):
    """What one micro-batch did: a HistoryUpdate, and how long it took."""

    keys: int
    anew: int
    rows: int
    seconds: float


@dataclass(frozen=True)
class HistoryWork(MicroBatchWork):
    """Updates the history by the records of bronze in a micro-batch."""

    bronze: str
    staging: str
    kind = HistoryResult

    def results(self, batch: DataFrame, batch_id: int) -> Iterator[HistoryResult]:
        started = time.monotonic()
        done = update_history(batch.sparkSession, self.target, self.bronze, batch, self.staging)
        yield HistoryResult(batch_id, **asdict(done), seconds=round(time.monotonic() - started, 3))


def prepare_history(
    spark: SparkSession, target: str, source_table: str, keys: KeySelection = EVERY_KEY, *, is_rebuilt: bool = False
) -> str:
    """Create the history table unless it exists. Returns the Delta table's id.

    Raises Misconfigured for the history of another source table, and for one of other keys unless it ``is_rebuilt``.
    The table is partitioned by `is_current`, so a key that continues needs no past stretch to be read.
    """
    if not exists(spark, target):
        features = {"delta.enableChangeDataFeed": "true", "delta.enableDeletionVectors": "true"}
        settings = features | {_SOURCE_TABLE: source_table}
        if keys.extent:
            settings |= extent_property(keys.extent)
        create_table(spark, target, columns_sql(HISTORY), "PARTITIONED BY (is_current)", settings)
    # `properties` refuses the name of a source table that `SHOW TBLPROPERTIES` would redact.
    detail = table_detail(spark, target)
    if detail["properties"].get(_SOURCE_TABLE) != source_table:
        raise Misconfigured(f"{target} is no history of {source_table}; name another target")
    there = {name: decode_property(value) for name, value in detail["properties"].items()}
    if extent_of(there) != list(keys.extent):
        if not is_rebuilt:
            raise Misconfigured(
                f"{target} was made for other keys than the configuration gives its table now; run build_history with "
                "--rebuild, which makes it anew from bronze"
            )
        set_properties(spark, target, extent_property(keys.extent))
    return str(detail["id"])


def update_history(spark: SparkSession, target: str, bronze: str, records: DataFrame, staging: str) -> HistoryUpdate:
    """Bring the history of the keys of ``records`` in line with bronze, to which the records were appended before.

    Takes their BRONZE_FIELDS. One commit writes the rows that differ, so a replay makes no commit. The job's checkpoint
    allows one writer at a time, and ``staging`` is this writer's own folder. The cost grows with the records and the
    current rows; for keys that are computed again, also with their records in bronze and their rows in the history.
    """
    return retry_on_conflict(lambda: _update_history(spark, target, bronze, records, staging))


def _update_history(spark: SparkSession, target: str, bronze: str, records: DataFrame, staging: str) -> HistoryUpdate:
    history, records_of_bronze = read_table(spark, target), read_table(spark, bronze)
    touched = hold(classify_keys(records, history.where("is_current"), records_of_bronze), f"{staging}/keys")
    counts = touched.agg(F.count("*").alias("keys"), F.count_if("continues").alias("continuing")).head()
    assert counts is not None
    recomputed = counts["keys"] - counts["continuing"]
    changes = continuation(records, touched)
    if recomputed:
        keys = touched.where("NOT continues").select("key")
        right = stretches(_rows_of_keys(records_of_bronze, "key", keys))
        changes = changes.unionByName(differences(_rows_of_keys(history, "_key", keys), right))
    rows = _write_differences(target, changes, "true" if recomputed else "t.is_current")
    return HistoryUpdate(counts["keys"], recomputed, rows)


def classify_keys(records: DataFrame, current: DataFrame, bronze: DataFrame) -> DataFrame:
    """Each key of ``records`` with its row of ``current``, the history's current rows, and whether it continues.

    | key | records                  | current row           | labels of the key in bronze | continues |
    |-----|--------------------------|-----------------------|-----------------------------|---------|
    | a   | L|…09 at 9000000       | L|…08               |                             | true    |
    | b   | L|…09 at 9000000       | …6000|r|1 (a scan's)  | 6000                        | true    |
    | c   | L|…09 at 9000000       | none                  |                             | true    |
    | d   | L|…07, L|…09         | L|…08               |                             | false   |
    | e   | L|…09 at 9000000       | L|…08               | 8999000                     | false   |
    | f   | a scan's                 | L|…08               | 8999000                     | false   |
    """
    by_key = records.groupBy("key").agg(
        F.bool_and(F.col("origin") == "stream").alias("from_stream"),
        F.min("version").alias("first"),
        F.min("approx_creation_time_ms").alias("oldest_ms"),
    )
    near = _keys_with_late_bases(by_key, bronze)
    shown = _rows_of_keys(current, "_key", by_key).select(F.col("_key").alias("key"), F.struct("*").alias("current"))
    marked = by_key.join(shown, "key", "left").join(near.withColumn("near", F.lit(True)), "key", "left")
    # Only a stream record's current stretch is exact. A base image that is shown was read before these records, and
    # every stream record before that image is older still.
    after = F.when(F.col("current.is_exact"), F.col("first") > F.col("current._version")).otherwise(
        F.col("current._item").isNotNull()
    )
    continues = F.col("from_stream") & F.col("near").isNull() & (F.col("current").isNull() | after)
    return marked.select("key", "current", continues.alias("continues"))


def _keys_with_late_bases(by_key: DataFrame, bronze: DataFrame) -> DataFrame:
    """The keys that cannot continue because of a late base record in bronze, whatever its image is."""
    least = by_key.where("from_stream").agg(F.min("oldest_ms").alias("ms")).head()
    assert least is not None
    least_ms = F.lit(least["ms"])  # NULL without such a key, and then no label is near
    before = F.when(F.col("is_deleted"), RUN_MS).otherwise(READ_MS)
    label = F.col("snapshot_label_ms")
    bases = bronze.select("key", "snapshot_label_ms", "is_deleted")
    # A bound for all keys comes first: by it Delta skips files of stream records only, and of older runs.
    late = bases.where(label >= least_ms - RUN_MS).where((label >= least_ms - READ_MS) | F.col("is_deleted"))
    joined = late.join(by_key.select("key", "oldest_ms"), "key")
    return joined.where(label >= F.col("oldest_ms") - before).select("key").distinct()


def continuation(records: DataFrame, touched: DataFrame) -> DataFrame:
    """`differences` for the keys of ``touched`` (see `classify_keys`) that continue.

    The current row of a key replaces all its earlier records, as an entry in front of the entries of ``records``.
    """
    on = touched.where("continues")
    there = on.where("current IS NOT NULL").select("current.*")
    current_entries = there.select(
        F.col("_key").alias("key"),
        F.col("is_exact").alias("is_stream"),
        F.col("_version").alias("version"),
        F.unix_millis("valid_from").alias("time_ms"),
        F.col("_item").alias("item"),
        value_digest("_item").alias("image"),
        F.lit(None).cast("string").alias("old"),
        F.lit(False).alias("old_is_known"),
    )
    new = entries(records.join(on.select("key"), "key", "left_semi"))
    return differences(there, stretches_of(current_entries.unionByName(new)))


def _rows_of_keys(table: DataFrame, column: str, keys: DataFrame) -> DataFrame:
    """The rows of ``table`` whose ``column`` is one of ``keys``."""
    few = [row["key"] for row in keys.select("key").limit(_KEYS_AS_VALUES + 1).collect()]
    if len(few) <= _KEYS_AS_VALUES:
        return table.where(F.col(column).isin(few))
    return table.join(keys.select(F.col("key").alias(column)), column, "left_semi")


def differences(there: DataFrame, right: DataFrame) -> DataFrame:
    """HISTORY's columns and `_gone`: rows to insert or change, and rows to remove.

    there                    right                    after
    | _key | _version | …    | _key | _version | …    | _key | _version | … | _gone |
    |------|----------|--    |------|----------|--    |------|----------|---|-------|
    | k    | 1        | a    | k    | 1        | a    | k    | 2        | c | false |
    | k    | 2        | b    | k    | 2        | c    | k    | 3        | d | false |
    | k    | 9        | e    | k    | 3        | d    | k    | 9        |   | true  |
    """
    values = [name for name in HISTORY.names if name not in _ROW_KEY]
    old = there.select(*_ROW_KEY, F.struct(*values).alias("old"))
    new = right.select(*_ROW_KEY, F.struct(*values).alias("new"))
    both = old.join(new, list(_ROW_KEY), "full_outer").where(~F.col("old").eqNullSafe(F.col("new")))
    return both.select(*_ROW_KEY, *[F.col(f"new.{name}") for name in values], F.col("new").isNull().alias("_gone"))


def _write_differences(target: str, changes: DataFrame, only: str) -> int:
    """Merge the `differences` into the rows for which ``only`` holds, in one commit. Returns their number."""
    values = {name: f"s.{name}" for name in HISTORY.names}
    merged = merge_into(
        target,
        changes,
        " AND ".join([only, *(f"t.{name} = s.{name}" for name in _ROW_KEY)]),
        "WHEN MATCHED AND s._gone THEN DELETE",
        f"WHEN MATCHED THEN {update_clause(values)}",
        f"WHEN NOT MATCHED AND NOT s._gone THEN {insert_clause(values)}",
    )
    return int(merged["num_affected_rows"])


def rebuild(spark: SparkSession, target: str, bronze: str, keys: KeySelection = EVERY_KEY) -> int:
    """Replace the whole history by what bronze says, in one commit. Returns the number of rows."""
    # An overwrite in place keeps the table's properties. The rows come from bronze, not from the rows replaced.
    stretches(keys.of(read_table(spark, bronze))).writeTo(table_sql(target)).overwrite(F.lit(True))
    return read_table(spark, target).count()
