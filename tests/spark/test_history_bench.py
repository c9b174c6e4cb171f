"""The history's benchmark still runs and ends right. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bench import history
from lakebound_spark.platform.tables import table_sql


@pytest.mark.soak
def test_both_ways_are_taken_and_the_history_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    growing = history.Growing(records=300)
    history.measure(spark, tmp_path, growing, rounds=1, keys=100, touched=20)
    assert (len(growing.on), len(growing.anew)) == (1, 1), "the round that warms up is not counted"
    history_sql = table_sql(str(tmp_path / "history"))
    spark.sql(f"DELETE FROM {history_sql} WHERE is_current AND _key < 'id=S:0000000050'")
    with pytest.raises(AssertionError, match="not what bronze says"):
        history.check_right(spark, str(tmp_path / "history"), str(tmp_path / "bronze"))


def test_factors_are_against_the_shortest_bronze() -> None:
    least = history.Growing(100, on=[1.0, 2.0, 3.0], anew=[4.0])
    assert history.Growing(1_000, on=[3.0], anew=[10.0]).line(least) == "| 1,000 | 3.0 | **1.50** | 10.0 | **2.50** |"
