"""Changes of several appends come down to one row a key, whatever order they came in."""

from __future__ import annotations

from itertools import permutations

from pyspark.sql import Row, SparkSession

from lakebound_spark.silver.pending_merge import rows_of_changes

CHANGES = (
    "key STRING, register STRING, version STRING, stream_time_ms BIGINT, item STRING, ttl_expired BOOLEAN, "
    "rescued STRING, columns STRUCT<v: INT>, append STRING"
)
OLDER = ("k", "stream", "L|07", 5000, '{"v":{"N":"7"}}', False, '{"x":{"S":"7"}}', (7,), "1")
NEWER = ("k", "stream", "L|09", 4000, None, True, None, (None,), "2")
OLDER_BASE = ("k", "base", "2000|r|1", None, '{"v":{"N":"2"}}', False, None, (2,), "2")
NEWER_BASE = ("k", "base", "3000|r|1", None, '{"v":{"N":"3"}}', False, '{"x":{"S":"3"}}', (3,), "1")
OTHER_KEY = ("m", "base", "3000|r|0", None, None, False, None, (None,), "1")


def test_each_register_has_its_greatest_change_and_the_key_its_latest_time(spark: SparkSession) -> None:
    k = Row(
        key="k",
        version="L|09",
        stream_time_ms=5000,
        base="3000|r|1",
        stream_ttl=True,
        stream_image=None,
        stream_rescued=None,
        stream_columns=Row(c0=None),
        base_image='{"v":{"N":"3"}}',
        base_rescued='{"x":{"S":"3"}}',
        base_columns=Row(c0=3),
    )
    m = Row(
        key="m",
        version="",
        stream_time_ms=None,
        base="3000|r|0",
        stream_ttl=False,
        stream_image=None,
        stream_rescued=None,
        stream_columns=Row(c0=None),
        base_image=None,
        base_rescued=None,
        base_columns=Row(c0=None),
    )
    for came in list(permutations([OLDER, NEWER, OLDER_BASE, NEWER_BASE, OTHER_KEY]))[::40]:
        rows = rows_of_changes(spark.createDataFrame(came, CHANGES).coalesce(1), ["v"])
        assert sorted(rows.collect(), key=lambda row: row.key) == [k, m], came
