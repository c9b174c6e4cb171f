"""Audits over bronze that expose a wrong assumption: the chain of old images, times, versions with two images.

DynamoDB writes no stream record for a write that changes nothing. So in version order each record's old image is the
new image of the record before it. A break means that a record was lost or that the order is wrong. The audit needs a
stream with old images. A record without one counts as unchecked, never as right.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import LongType, StructField, StructType

from lakebound.counts import count_text
from lakebound_spark.history.stretches import entries, value_digest
from lakebound_spark.platform.tables import append_rows, columns_sql, companion_table, create_table, read_table

REGRESSION_ALARM_MS: Final = 30_000
"""Half of MARGIN. A creation time that steps back further, in version order, comes near to what MARGIN allows."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. `links` counts pairs of neighbouring versions of one key.

    ``chain_breaks`` counts the pairs that contradict each other, ``unchecked`` those without an old image. A record
    more than REGRESSION_ALARM_MS older than one of a smaller version is one of ``time_regressions``. ``conflicts``
    counts versions that came with two images. ``examples`` names some faults: key, version, what is wrong.
    """

    keys: int
    records: int
    links: int
    chain_breaks: int
    unchecked: int
    time_regressions: int
    greatest_regression_ms: int
    conflicts: int
    examples: tuple[tuple[str, str, str], ...]

    @property
    def is_clean(self) -> bool:
        """Whether the audit found no fault."""
        return not (self.chain_breaks or self.time_regressions or self.conflicts)

    def sentence(self, bronze: str, seconds: float) -> str:
        """What the audit found, for a person."""
        verdict = "nothing is wrong" if self.is_clean else "something is wrong, see docs/OPERATIONS.md, chain breaks"
        looked = f"{count_text(self.records, 'record')} of {count_text(self.keys, 'key')} in {bronze}"
        return f"audited {looked}, {seconds:.0f} s: {verdict}"

    def __str__(self) -> str:
        return f"chain_breaks={self.chain_breaks} time_regressions={self.time_regressions} conflicts={self.conflicts}"


COUNTS: Final = StructType([StructField(one.name, LongType()) for one in fields(Audit) if one.name != "examples"])


def links(records: DataFrame) -> DataFrame:
    """One row per version of a key, with its link to the version before it.

    before
    | key | version | time | old_image | new_image |
    |-----|---------|------|-----------|-----------|
    | k   | 1       | 5000 |           | {"v":"1"} |
    | k   | 2       | 4000 | {"v":"1"} | {"v":"2"} |
    | k   | 4       | 9000 | {"v":"3"} |           |

    after
    | key | version | is_link | is_broken | is_unchecked | back_ms |
    |-----|---------|---------|-----------|--------------|---------|
    | k   | 1       | false   | false     | false        | 0       |
    | k   | 2       | true    | false     | false        | 1000    |
    | k   | 4       | true    | true      | false        | 0       |
    """
    order = Window.partitionBy("key").orderBy("version")
    before = order.rowsBetween(Window.unboundedPreceding, -1)
    is_link = F.lag("version").over(order).isNotNull()
    meets = F.col("old").eqNullSafe(F.lag("image").over(order))
    return (
        entries(records.where("origin = 'stream'"))
        .select(
            "key",
            "version",
            is_link.alias("is_link"),
            (is_link & F.col("old_is_known") & ~meets).alias("is_broken"),
            (is_link & ~F.col("old_is_known")).alias("is_unchecked"),
            F.greatest(F.max("time_ms").over(before) - F.col("time_ms"), F.lit(0)).alias("back_ms"),
        )
        .fillna(0, ["back_ms"])
    )


def conflicts(records: DataFrame) -> DataFrame:
    """The versions (`key`, `version`) that came with two images of different values."""
    texts = records.where("origin = 'stream'").select(
        "key", "version", F.coalesce("new_image", F.lit("")).alias("text")
    )
    several = texts.groupBy("key", "version").agg(F.collect_set("text").alias("texts")).where(F.size("texts") > 1)
    values = several.select("key", "version", F.explode("texts").alias("text")).withColumn(
        "value", value_digest("text")
    )
    return values.groupBy("key", "version").agg(F.countDistinct("value").alias("n")).where("n > 1").drop("n")


def audit(records: DataFrame, *, examples: int = 20) -> Audit:
    """Audit records of bronze, which must be all records of their keys."""
    joined, twins = links(records), conflicts(records)
    is_late = F.col("back_ms") > REGRESSION_ALARM_MS
    counts = joined.agg(
        F.countDistinct("key").alias("keys"),
        F.count("*").alias("records"),
        F.count_if("is_link").alias("links"),
        F.count_if("is_broken").alias("chain_breaks"),
        F.count_if("is_unchecked").alias("unchecked"),
        F.count_if(is_late).alias("time_regressions"),
        F.coalesce(F.max("back_ms"), F.lit(0)).alias("greatest_regression_ms"),
    ).head()
    assert counts is not None
    found = Audit(**counts.asDict(), conflicts=twins.count(), examples=())
    if found.is_clean:
        return found
    what = F.when(F.col("is_broken"), "chain broken").otherwise("time went back")
    wrong = joined.where(F.col("is_broken") | is_late).select("key", "version", what.alias("what"))
    wrong = wrong.unionByName(twins.withColumn("what", F.lit("two images")))
    named = wrong.orderBy("key", "version", "what").limit(examples).collect()
    return replace(found, examples=tuple((row[0], row[1], row[2]) for row in named))


def record_audit(spark: SparkSession, bronze: str, found: Audit) -> None:
    """Add the counts of an audit to `<bronze>_audits`, as one row with the time."""
    place = companion_table(bronze, "_audits")
    create_table(spark, place, ["audited_at TIMESTAMP", *columns_sql(COUNTS)])
    row = spark.createDataFrame([tuple(getattr(found, name) for name in COUNTS.names)], COUNTS)
    append_rows(row.withColumn("audited_at", F.current_timestamp()), place)


def records_to_audit(spark: SparkSession, bronze: str, days: int) -> DataFrame:
    """All records of bronze; with ``days`` above 0, all records of the keys that were ingested in that many days."""
    records = read_table(spark, bronze)
    if days <= 0:
        return records
    recent = records.where(F.col("_ingest_date") >= F.date_sub(F.current_date(), days)).select("key").distinct()
    return records.join(recent, "key", "left_semi")
