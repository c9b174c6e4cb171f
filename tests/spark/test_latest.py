"""latest_per_key: many records, one row per key."""

from __future__ import annotations

import random
from typing import Any

from pyspark.sql import SparkSession

from lakebound_spark.reading.latest import latest_per_key
from lakebound_spark.reading.schema import RECORD
from tests.support.independent_writer import Record, base, stream, version

HIDDEN = ("keys", "stream_ttl")


def table(spark: SparkSession, records: list[Record]) -> dict[str, dict[str, Any]]:
    rows = [
        [str(record[name]["v"]) if name == "new_image" and record[name] else record[name] for name in RECORD.names]
        for record in ({**record, "keys": "{}"} for record in records)
    ]
    found = latest_per_key(spark.createDataFrame(rows, RECORD)).collect()
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: {k: v for k, v in row.asDict().items() if k not in (*HIDDEN, "key")} for row in found}


def test_before_and_after(spark: SparkSession) -> None:
    v7, v1 = {"v": 7}, {"v": 1}
    before = [
        # version 9 was stamped a second before version 7 by another server: time never orders stream records
        stream("k", 7, v7, time_ms=5000),
        stream("k", 9, None, time_ms=4000),
        base("k", 3000, v7),
        base("m", 3000, v1),
        # one label, one run: present beats absent, whichever came first
        base("n", 3000, None, origin="sweep"),
        base("n", 3000, v1),
        base("n", 2999, v7, run="run-9"),
        # 22 digits, then 23: as text without padding the older would be the greater
        stream("o", "9" * 22, v7),
        stream("o", "1" + "0" * 22, v1),
    ]
    after = {
        "id=S:k": {
            "version": version(9),
            "stream_time_ms": 5000,
            "stream_image": None,
            "base": "000000000003000|run-1|1",
            "base_image": "7",
        },
        "id=S:m": {
            "version": "",
            "stream_time_ms": None,
            "stream_image": None,
            "base": "000000000003000|run-1|1",
            "base_image": "1",
        },
        "id=S:n": {
            "version": "",
            "stream_time_ms": None,
            "stream_image": None,
            "base": "000000000003000|run-1|1",
            "base_image": "1",
        },
        "id=S:o": {
            "version": version("1" + "0" * 22),
            "stream_time_ms": 1000,
            "stream_image": "1",
            "base": "",
            "base_image": None,
        },
    }
    assert table(spark, before) == after
    shuffled = before * 3
    random.Random(3).shuffle(shuffled)
    assert table(spark, shuffled) == after
