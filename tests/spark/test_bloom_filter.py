"""A MERGE shuffles few rows of a large table: Spark tests them by a Bloom filter of the keys that it brings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.tables import table_detail
from lakebound_spark.silver import bloom_filter
from tests.spark.filtered import filter_tables_of_any_size, is_filtered, newest_statement, plans_of_writes
from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records

pytestmark = pytest.mark.classic("reads Spark's own plans, which a server does not tell")


@contextmanager
def no_settings(*_: Any) -> Iterator[None]:
    """A MERGE as it would be without the filter."""
    yield


@pytest.fixture
def silver(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Silver:
    """A table that counts as large. Holds `a` and `b`; `b` and `c` of later changes wait in `_changes`."""
    silver = Silver.create(spark, tmp_path / "silver", {"id": "string", "v": "int"}, appends=True)
    silver.merge(write_records(tmp_path / "first", [stream(key, 1, item(key, v={"N": "1"})) for key in "ab"]))
    silver.append(write_records(tmp_path / "later", [stream(key, 2, item(key, v={"N": "2"})) for key in "bc"]))
    filter_tables_of_any_size(monkeypatch)
    return silver


def test_a_merge_tests_the_rows_of_the_table_by_a_bloom_filter(silver: Silver) -> None:
    before = newest_statement(silver.spark)

    silver.merge_pending()

    plans = plans_of_writes(silver.spark, before)
    assert plans
    assert all(map(is_filtered, plans))
    assert {key: row["v"] for key, row in silver.rows().items()} == {"id=S:a": 1, "id=S:b": 2, "id=S:c": 2}


def test_a_merge_without_the_settings_is_seen(silver: Silver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom_filter, "allowed", no_settings)
    before = newest_statement(silver.spark)

    silver.merge_pending()

    plans = plans_of_writes(silver.spark, before)
    assert plans
    assert not any(map(is_filtered, plans))


def test_a_small_table_is_merged_without_one(silver: Silver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom_filter, "_LARGE", 64 << 20)

    assert not bloom_filter.pays(silver.spark, silver.path, "id=S:a", "id=S:z")


def test_keys_of_a_few_files_are_merged_without_one(
    silver: Silver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of about one size: the bounds of recent keys leave one of them."""
    silver.merge(write_records(tmp_path / "recent", [stream(key, 1, item(key, v={"N": "1"})) for key in "xy"]))
    size = int(table_detail(silver.spark, silver.path)["sizeInBytes"])
    monkeypatch.setattr(bloom_filter, "_LARGE", size * 3 // 4)
    bloom_filter._SIZES.clear()  # as after ten minutes

    assert bloom_filter.pays(silver.spark, silver.path, "id=S:a", "id=S:z")
    assert not bloom_filter.pays(silver.spark, silver.path, "id=S:w", "id=S:z")


JOIN = "spark.sql.autoBroadcastJoinThreshold"
COPY = "spark.databricks.delta.merge.materializeSource"


def test_the_session_has_its_settings_back_after_a_failure(spark: SparkSession) -> None:
    spark = spark.newSession()
    before = [spark.conf.get(name, None) for name in (JOIN, COPY)]

    def fail() -> None:
        with bloom_filter.allowed(spark, 10, 1000):
            assert [spark.conf.get(name) for name in (JOIN, COPY)] == ["-1", "none"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert [spark.conf.get(name, None) for name in (JOIN, COPY)] == before


def test_the_session_has_its_settings_back_after_the_last_of_two_merges_at_a_time(spark: SparkSession) -> None:
    """As two tables of `run --parallel 2 --merge-every` have it: the first to begin ends first."""
    spark = spark.newSession()
    before = [spark.conf.get(name, None) for name in (JOIN, COPY)]
    first = bloom_filter.allowed(spark, 10, 1000)
    first.__enter__()

    with bloom_filter.allowed(spark, 10, 1000):
        first.__exit__(None, None, None)
        assert [spark.conf.get(name) for name in (JOIN, COPY)] == ["-1", "none"], "the other MERGE still needs them"

    assert [spark.conf.get(name, None) for name in (JOIN, COPY)] == before


def test_a_server_that_refuses_a_setting_gets_none(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom_filter, "_COPY_OF_SOURCE", "spark.sql.warehouse.dir")  # which no running session changes
    before = spark.conf.get(JOIN, None)

    restored: list[dict[str, str | None]] = []
    restore = bloom_filter._restore

    def restore_and_note(session: SparkSession, kept: dict[str, str | None]) -> None:
        restored.append(kept)
        restore(session, kept)

    monkeypatch.setattr(bloom_filter, "_restore", restore_and_note)

    with bloom_filter.allowed(spark, 10, 1000):
        assert spark.conf.get(JOIN, None) == before
    assert [bool(kept) for kept in restored] == [True], "what was refused is put back once"
