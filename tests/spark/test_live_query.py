"""The query of `_live` over a few rows: which register of which table shows, and whatever silver is called."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.reading.schema import LABEL_DIGITS
from lakebound_spark.silver.live_rows import live_query

SILVER = "_key STRING, _version STRING, _stream_time_ms BIGINT, _base STRING, _item STRING"
CHANGES = (
    "key STRING, register STRING, version STRING, stream_time_ms BIGINT, item STRING, ttl_expired BOOLEAN, "
    "rescued STRING"
)
OLD, MIDDLE, NEW = (f"{label:0{LABEL_DIGITS}}|r|1" for label in (2000, 3000, 4000))

ROWS: Final = {
    # What silver holds, what waits, and what shows.
    "older base": (("", None, MIDDLE, "silver"), [("base", OLD, None, "change")], ("", None, MIDDLE, "silver")),
    "equal base": (("", None, MIDDLE, "silver"), [("base", MIDDLE, None, "change")], ("", None, MIDDLE, "silver")),
    "newer base": (("", None, MIDDLE, "silver"), [("base", NEW, None, "change")], ("", None, NEW, "change")),
    "older stream": (
        ("L|09", 5000, "", "silver"),
        [("stream", "L|08", 6000, "change")],
        ("L|09", 6000, "", "silver"),
    ),
    "newer stream": (
        ("L|09", 5000, "", "silver"),
        [("stream", "L|10", 4000, "change")],
        ("L|10", 5000, "", "change"),
    ),
    "a stream that the base hides": (
        ("", None, MIDDLE, "silver"),
        [("stream", "L|09", 2000, "change")],
        ("L|09", 2000, MIDDLE, "silver"),
    ),
    "a base that the stream hides": (
        ("L|09", 5000, "", "silver"),
        [("base", MIDDLE, None, "change")],
        ("L|09", 5000, MIDDLE, "silver"),
    ),
    "no change": (("L|09", 5000, MIDDLE, "silver"), [], ("L|09", 5000, MIDDLE, "silver")),
    "a new key": (
        None,
        [("stream", "L|09", 5000, "stream"), ("base", MIDDLE, None, "base")],
        ("L|09", 5000, MIDDLE, "stream"),
    ),
}


def shown(spark: SparkSession, name: str) -> dict[str, tuple[Any, ...]]:
    silver = [(key, *there) for key, (there, _, _) in ROWS.items() if there]
    changes = [(key, *change, False, None) for key, (_, waiting, _) in ROWS.items() for change in waiting]
    names = [column.split()[0] for column in SILVER.split(", ")]
    spark.createDataFrame(silver, SILVER).createOrReplaceTempView(name)
    spark.createDataFrame(changes, CHANGES).createOrReplaceTempView(f"{name}_changes")
    try:
        found = spark.sql(live_query(names, [], [], name, f"{name}_changes")).collect()
    finally:
        # The session is that of other tests, whose tables may be called so.
        for view in (name, f"{name}_changes"):
            spark.catalog.dropTempView(view)
    assert len({row["_key"] for row in found}) == len(found), "a key has two rows"
    return {row["_key"]: tuple(row)[1:] for row in found}


@pytest.mark.parametrize("name", ["pending", "compared"])  # words that the query uses itself
def test_the_greater_change_shows_where_its_register_is_the_visible_one(spark: SparkSession, name: str) -> None:
    assert shown(spark, name) == {key: expected for key, (_, _, expected) in ROWS.items()}
