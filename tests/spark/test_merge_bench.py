"""The merge's benchmark still runs, and both of its sides hold the same rows. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bench import merge
from lakebound_spark.silver.silver_table import prepare_target


@pytest.mark.soak
@pytest.mark.parametrize("columns", [10, 30])
def test_a_round_gives_both_sides_the_same_rows(spark: SparkSession, tmp_path: Path, columns: int) -> None:
    """`measure` compares the two tables itself and raises when they differ."""
    filled = tmp_path / "filled"
    prepare_target(spark, str(filled), merge.config_of(columns))
    merge.fill(spark, str(filled), columns, 300)
    one = merge.MergeCase(columns, rows=300, events=100, keys="uniform")
    merge.measure(spark, filled, tmp_path / "merge", one, rounds=0)
    assert (one.ours, one.bare) == ([], []), "the rounds that warm up are not counted"


@pytest.mark.soak
def test_the_check_of_the_two_tables_can_fail(spark: SparkSession, tmp_path: Path) -> None:
    for name, rows in (("ours", 3), ("bare", 4)):
        prepare_target(spark, str(tmp_path / name), merge.config_of(10))
        merge.fill(spark, str(tmp_path / name), 10, rows)
    with pytest.raises(AssertionError, match="do not hold the same rows"):
        merge.check_equal(spark, str(tmp_path / "ours"), str(tmp_path / "bare"))


def test_the_table_says_what_was_missed() -> None:
    one = merge.MergeCase(10, 1_000, 100, "uniform", bare=[1.0, 2.0], ours=[1.5, 2.6], rewritten=[80, 90])
    assert one.ratios() == (1.3, 1.4, 1.5)
    assert "1.30 – **1.40** – 1.50 | ≤ 1.2 missed | 0.85 |" in one.line()
