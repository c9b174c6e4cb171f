"""The history of each item: which image was visible from when to when, as far as the records can tell.

These are the rules for one key. Stream records stand in version order. Each begins at its creation time, but never
before the record in front of it: `valid_from` is the greatest creation time so far, so a server whose clock is behind
moves no change back. No delivery can change this order. A base record (scan, export, re-read, sweep) stands at its
label, in front of stream records of the same moment. The two registers put it there too, so the last stretch shows what
silver shows.

Most base records only repeat the stream. A base record is left out when its image is
- the one visible just before it, or
- the image of a later change, if that change came within READ_MS of the label (a page is read MARGIN after its label,
  and holds what was written in between); for an ABSENT record, whose run may have read on for hours after its label,
  also if the change came within RUN_MS and the old images lead to it without a break from before the label.
What remains is an image that no stream record holds. It begins at its label, and `is_exact` is false.

`is_exact` is also false for a stretch whose end the records contradict: the next change has another old image, or such
a base image follows. A change is missing there, so the stretch ended before `valid_to`. These stretches lie inside a
gap. A gap that lost nothing of a key marks none of the key's stretches. Lost changes that cancelled each other out
before any scan read them leave no trace in the records.

before: a change is lost between versions 8 and 9, and a scan labelled 6000 reads what it made
| key | origin | version | time | label | old_image | new_image |
|-----|--------|---------|------|-------|-----------|-----------|
| k   | stream | L|…07   | 1000 |       |           | {"v":"7"} |
| k   | stream | L|…08   | 900  |       | {"v":"7"} | {"v":"8"} |
| k   | scan   |         |      | 6000  |           | {"v":"x"} |
| k   | stream | L|…09   | 9000 |       | {"v":"x"} | NULL      |

after (milliseconds; a deleted stretch has a NULL `_item`)
| _key | _version   | _item     | valid_from | valid_to | is_current | is_exact |
|------|------------|-----------|------------|----------|------------|----------|
| k    | L|…07      | {"v":"7"} | 1000       | 1000     | false      | true     |
| k    | L|…08      | {"v":"8"} | 1000       | 6000     | false      | false    |
| k    | …6000|r|1  | {"v":"x"} | 6000       | 9000     | false      | false    |
| k    | L|…09      | NULL      | 9000       | NULL     | true       | true     |

`_version` is the stream's version, or the base register's text for a base image. With `_key` it identifies the row. At
each moment, `valid_from <= moment < valid_to` holds for at most one row of a key. Several changes in one second leave
stretches of no length.
"""

from __future__ import annotations

from typing import Final

import orjson
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import BooleanType, StringType, StructField, StructType, TimestampType

from lakebound.errors import Poison
from lakebound.record.attributes import digest_of
from lakebound_spark.reading.latest import base_register

READ_MS: Final = 120_000
"""A page was read at most so long after its label, with the errors of both clocks: twice MARGIN."""

RUN_MS: Final = 7 * 86_400_000
"""A run may read on for so long after its sweep's label. A longer run leaves a stretch that is not exact."""

HISTORY: Final = StructType(
    [
        StructField("_key", StringType(), nullable=False),
        StructField("_version", StringType(), nullable=False),
        StructField("_item", StringType()),
        StructField("valid_from", TimestampType()),
        StructField("valid_to", TimestampType()),
        StructField("is_current", BooleanType()),
        StructField("is_exact", BooleanType()),
    ]
)


def stretches(records: DataFrame) -> DataFrame:
    """HISTORY's rows of these records, which must be all records of their keys (see the rules above).

    Takes bronze's columns `key, origin, event_name, version, approx_creation_time_ms, snapshot_label_ms,
    snapshot_run, ingest_time_ms, new_image, old_image`. Twins, order and other keys change nothing.
    """
    return stretches_of(entries(records))


def stretches_of(entries: DataFrame) -> DataFrame:
    """HISTORY's rows of these `entries`."""
    shown = _drop_repetitions(_place_entries(entries))
    order = Window.partitionBy("key").orderBy(*_ORDER)
    following = shown.select(
        "*",
        F.lead("at_ms").over(order).alias("to_ms"),
        F.lead(F.struct("is_stream", "old", "old_is_known")).over(order).alias("next"),
    )
    contradicted = ~F.col("next.is_stream") | (
        F.col("next.old_is_known") & ~F.col("next.old").eqNullSafe(F.col("image"))
    )
    return following.select(
        F.col("key").alias("_key"),
        F.col("version").alias("_version"),
        F.col("item").alias("_item"),
        F.timestamp_millis("at_ms").alias("valid_from"),
        F.timestamp_millis("to_ms").alias("valid_to"),
        F.col("to_ms").isNull().alias("is_current"),
        (F.col("is_stream") & ~F.coalesce(contradicted, F.lit(False))).alias("is_exact"),
    )


_ORDER: Final = ("at_ms", "is_stream", "version")


def value_digest(image: str) -> Column:
    """A text that two images share exactly when DynamoDB holds the items equal, of the column ``image``."""
    # Made at the call: a function made while this module is loaded, before the session, belongs to a classic one, and a
    # job that SPARK_REMOTE sends to a server fails with it.
    return F.udf(_value_digest, returnType=StringType(), useArrow=False)(image)


def _value_digest(image: str | None) -> str | None:
    if image is None:
        return None
    try:
        return digest_of(orjson.loads(image)).hex()
    except (orjson.JSONDecodeError, Poison):
        return "!" + image  # not an item, so equal to the same text only


def entries(records: DataFrame) -> DataFrame:
    """One row per stream version and per base tuple (label, run, present), which is then its `version`.

    Two images under one version should not exist. If they do, the one that was ingested first counts, in any order of
    arrival. Every later step groups by the key, so the records move between machines only here.
    """
    is_stream = F.col("origin") == "stream"
    once = (
        records.repartition("key")
        .select(
            "key",
            is_stream.alias("is_stream"),
            F.when(is_stream, F.col("version")).otherwise(base_register()).alias("version"),
            F.when(is_stream, F.col("approx_creation_time_ms")).otherwise(F.col("snapshot_label_ms")).alias("time_ms"),
            F.struct("ingest_time_ms", "new_image", "old_image", "event_name").alias("first"),
        )
        .groupBy("key", "is_stream", "version")
        .agg(F.max("time_ms").alias("time_ms"), F.min("first").alias("first"))
    )
    return once.select(
        "key",
        "is_stream",
        "version",
        "time_ms",
        F.col("first.new_image").alias("item"),
        value_digest("first.new_image").alias("image"),
        value_digest("first.old_image").alias("old"),
        # A stream of new images only does not tell the old one, but an INSERT says that there was none.
        (F.col("first.old_image").isNotNull() | (F.col("first.event_name") == "INSERT")).alias("old_is_known"),
    )


def _place_entries(entries: DataFrame) -> DataFrame:
    """Add `at_ms`, the moment at which an entry begins, and `chain`.

    Stream entries share a chain as long as each old image equals the image before. A base entry has the chain of the
    stream entry in front of it, or NULL. The numbers grow with the version.
    """
    versions = Window.partitionBy("key", "is_stream").orderBy("version")
    follows = F.col("old_is_known") & F.col("old").eqNullSafe(F.lag("image").over(versions))
    breaks = F.when(F.lag("version").over(versions).isNull() | ~follows, 1).otherwise(0)
    at = F.when(F.col("is_stream"), F.max("time_ms").over(versions)).otherwise(F.col("time_ms"))
    begun = entries.select("*", at.alias("at_ms"), F.when(F.col("is_stream"), breaks).alias("breaks"))
    until_here = Window.partitionBy("key").orderBy(*_ORDER).rowsBetween(Window.unboundedPreceding, 0)
    return begun.withColumn("chain", F.sum("breaks").over(until_here))


def _drop_repetitions(placed: DataFrame) -> DataFrame:
    """Leave out the base entries that repeat the stream, those that a later change explains first."""
    later = Window.partitionBy("key", "image").orderBy(*_ORDER).rowsBetween(1, Window.unboundedFollowing)
    marked = placed.select(
        "*",
        F.min(F.when(F.col("is_stream"), F.col("at_ms"))).over(later).alias("explained_ms"),
        F.min(F.when(F.col("is_stream"), F.col("chain"))).over(later).alias("explaining_chain"),
    )
    within_run = F.col("item").isNull() & (F.col("explained_ms") <= F.col("at_ms") + RUN_MS)
    after_label = F.col("explained_ms") <= F.col("at_ms") + READ_MS
    is_explained = after_label | (within_run & (F.col("explaining_chain") == F.col("chain")))
    unexplained = marked.where(F.col("is_stream") | ~F.coalesce(is_explained, F.lit(False)))
    order = Window.partitionBy("key").orderBy(*_ORDER)
    return unexplained.withColumn("before", F.lag("image").over(order)).where(
        F.col("is_stream") | ~F.col("image").eqNullSafe(F.col("before"))
    )
