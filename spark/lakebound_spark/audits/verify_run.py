"""Verify at scale: Spark compares the files of a finished backfill run with silver.

`lakebound verify` reads the table itself and waits until both sides are at rest. Here the source is what one run read,
a moment or a week ago. A key that has changed since then cannot be judged; it is left out and counted. Before the run
is merged, the report shows what the merge will repair. After that it shows whether silver holds what the source held.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.counts import count_text
from lakebound.operate.verify import Report
from lakebound.record import base_records
from lakebound_spark.history.stretches import value_digest
from lakebound_spark.platform.tables import read_table
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.latest import base_register
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.upkeep.sweep import SweepJob, SweepRefusal, check_manifest, load_manifest, require_run_files

_COUNTED = ("shown", "from_base")
CHANGED_SINCE = "it changed after the run read it"


def verify_run(spark: SparkSession, run: SweepJob, *, bronze: str = "", live: bool = False) -> Report:
    """The report of `lakebound verify`, with the run's files as the source.

    With ``live`` changes that wait in `_changes` for a merge count as merged, as `_live` shows them.
    An older value of the item is reported as stale when ``bronze`` is given, else as different. The lists hold every
    key, in this process's memory: a few thousand are normal, millions mean that it is another table. Raises
    Misconfigured, and SweepRefusal when the run did not read the whole table consistently or its files are incomplete.
    """
    manifest = load_manifest(spark, run)
    check_manifest(manifest, run.table)
    files = require_run_files(spark, run.source, manifest)
    silver = _shown(run.silver.rows(spark, live_rows if live else read_table))
    earlier = read_table(spark, bronze) if bronze else None
    checked = checked_records(spark, files, run.table)
    if checked.bad_files or checked.count != manifest.records:
        raise SweepRefusal(
            f"the manifest has {count_text(manifest.records, 'record')}, {checked.count} can be read of its files; "
            "mirror the bucket again, then verify again"
        )
    records = checked.records if checked.records is not None else spark.createDataFrame([], _NO_RECORDS)
    records = run.silver.of_tables(records)
    return report_of(key_verdicts(records, silver, manifest.first_label_ms, manifest.run, earlier))


def _shown(silver: DataFrame) -> DataFrame:
    """Silver with no item in a row that TTL has deleted: `ttl_deletes: keep` still shows it, the source has it not."""
    return silver.withColumn("_item", F.when(~F.coalesce(F.col("_ttl_expired"), F.lit(False)), F.col("_item")))


_NO_RECORDS = "key STRING, snapshot_label_ms BIGINT, snapshot_run STRING, new_image STRING"


def key_verdicts(
    records: DataFrame, silver: DataFrame, label_ms: int, run: str, bronze: DataFrame | None = None
) -> DataFrame:
    """One row (`key`, `verdict`, `shown`, `from_base`) per key of either side.

    The verdict is NULL where both sides are equal. `shown` counts the key's visible rows, `from_base` those of them of
    which only a backfill has told.

    before, the run                                before, silver
    | key | snapshot_label_ms | new_image |    | _key | _item     | _stream_time_ms | _base |
    |-----|-------------------|-----------|    |------|-----------|-----------------|-------|
    | k   | 5000              | {"v":"1"} |    | k    | {"v":"1"} | 900             | ''    |
    | l   | 5000              | {"v":"1"} |    |      |           |                 |       |
    | m   | 5000              | {"v":"1"} |    | m    | {"v":"2"} | 900             | ''    |
    | n   | 5000              | {"v":"1"} |    | n    | {"v":"2"} | 7000            | ''    |
    |     |                   |           |    | o    | {"v":"1"} | 900             | ''    |

    after: k NULL, l missing, m different, n changed since, o ghost
    """
    ours = records.groupBy("key").agg(
        F.max(base_register()).alias("run_base"),
        F.max("snapshot_label_ms").alias("label"),
        F.max_by("new_image", base_register()).alias("source"),
    )
    rows = silver.groupBy(F.col("_key").alias("key")).agg(
        F.count("*").alias("rows"),
        F.count("_item").alias("shown"),
        F.count_if(F.expr("_item IS NOT NULL AND _stream_time_ms IS NULL AND _base <> ''")).alias("from_base"),
        F.first("_item").alias("lake"),
        F.max("_stream_time_ms").alias("stream_ms"),
        F.max("_base").alias("lake_base"),
    )
    both = ours.join(rows, "key", "full_outer").where(F.col("source").isNotNull() | F.col("lake").isNotNull())
    both = both.withColumn("again", F.coalesce(F.col("rows") > 1, F.lit(False)))
    same_text = F.col("source").eqNullSafe(F.col("lake")) & ~F.col("again")
    equal = both.where(same_text).select("key", F.lit(None).cast("string").alias("verdict"), *_COUNTED)
    # A comparison of values parses each image in Python, so it is made only where the texts differ.
    suspects = both.where(~same_text).withColumns({"s": value_digest("source"), "l": value_digest("lake")})
    if bronze is not None:
        suspects = _add_is_earlier(suspects, bronze)
    else:
        suspects = suspects.withColumn("is_earlier", F.lit(False))
    return equal.unionByName(suspects.select("key", _verdict(label_ms, run).alias("verdict"), *_COUNTED))


def _verdict(label_ms: int, run: str) -> Column:
    # For a key that the run did not find: the register that its sweep would give the key.
    absent = F.lit(base_records.base_register(label_ms, run, is_present=False))
    moved = (F.col("stream_ms") >= F.coalesce("label", F.lit(label_ms))) | (
        F.col("lake_base") > F.coalesce("run_base", absent)
    )
    return (
        F.when(F.col("again"), "different")
        .when(F.col("s").eqNullSafe(F.col("l")), None)
        .when(F.coalesce(moved, F.lit(False)), CHANGED_SINCE)
        .when(F.col("l").isNull(), "missing")
        .when(F.col("s").isNull(), "ghost")
        .when(F.col("is_earlier"), "stale")
        .otherwise("different")
    )


def _add_is_earlier(suspects: DataFrame, bronze: DataFrame) -> DataFrame:
    """Add `is_earlier`: whether bronze knows the image that the lake shows as one that the key had."""
    both_shown = suspects.where("s IS NOT NULL AND l IS NOT NULL").select("key")
    images = bronze.join(both_shown, "key", "left_semi").where("new_image IS NOT NULL")
    had = images.select("key", value_digest("new_image").alias("l")).distinct().withColumn("is_earlier", F.lit(True))
    return suspects.join(had, ["key", "l"], "left").fillna(False, ["is_earlier"])


def report_of(verdicts: DataFrame) -> Report:
    """The report over the rows of :func:`key_verdicts`."""
    listed = F.sort_array(F.collect_list(F.when(F.col("verdict").isNotNull(), F.col("key"))))
    counts = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _COUNTED]
    found = verdicts.groupBy("verdict").agg(F.count("*").alias("keys"), listed.alias("listed"), *counts).collect()
    by_verdict = {row["verdict"]: tuple(row["listed"]) for row in found}

    def of(verdict: str) -> tuple[str, ...]:
        return by_verdict.get(verdict, ())

    return Report(
        keys=sum(row["keys"] for row in found),
        missing=of("missing"),
        ghost=of("ghost"),
        stale=of("stale"),
        different=of("different"),
        left_out=tuple((key, CHANGED_SINCE) for key in of(CHANGED_SINCE)),
        rows=sum(row["shown"] for row in found),
        from_base=sum(row["from_base"] for row in found),
    )
