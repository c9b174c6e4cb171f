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
from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records

_FILTER = "might_contain"


@contextmanager
def no_settings(*_: Any) -> Iterator[None]:
    """A MERGE as it would be without the filter."""
    yield


def plans_of_writes(spark: SparkSession) -> list[str]:
    """The plans by which MERGEs of this session have written rows so far."""
    executions = spark._jsparkSession.sharedState().statusStore().executionsList()
    found = [executions.apply(at) for at in range(executions.size())]
    named = [one for one in found if "Writing modified data" in one.description()]
    return [one.physicalPlanDescription() for one in named if "LeftOuter" in one.physicalPlanDescription()]


@pytest.fixture
def silver(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Silver:
    """A table that counts as large. Holds `a` and `b`; `b` and `c` of later changes wait in `_changes`."""
    silver = Silver.create(spark, tmp_path / "silver", {"id": "string", "v": "int"}, appends=True)
    silver.merge(write_records(tmp_path / "first", [stream(key, 1, item(key, v={"N": "1"})) for key in "ab"]))
    silver.append(write_records(tmp_path / "later", [stream(key, 2, item(key, v={"N": "2"})) for key in "bc"]))
    monkeypatch.setattr(bloom_filter, "_LARGE", 1)
    monkeypatch.setattr(bloom_filter, "_SIZES", {})
    return silver


def test_a_merge_tests_the_rows_of_the_table_by_a_bloom_filter(silver: Silver) -> None:
    before = len(plans_of_writes(silver.spark))

    silver.merge_pending()

    plans = plans_of_writes(silver.spark)[before:]
    assert plans
    assert all(f"{_FILTER}(Subquery" in plan and "xxhash64(_key" in plan for plan in plans)
    assert {key: row["v"] for key, row in silver.rows().items()} == {"id=S:a": 1, "id=S:b": 2, "id=S:c": 2}


def test_a_merge_without_the_settings_is_seen(silver: Silver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom_filter, "allowed", no_settings)
    before = len(plans_of_writes(silver.spark))

    silver.merge_pending()

    plans = plans_of_writes(silver.spark)[before:]
    assert plans
    assert not any(_FILTER in plan for plan in plans)


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
    before = [spark.conf.get(name, None) for name in (JOIN, COPY)]

    def fail() -> None:
        with bloom_filter.allowed(spark, 10, 1000):
            assert [spark.conf.get(name) for name in (JOIN, COPY)] == ["-1", "none"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert [spark.conf.get(name, None) for name in (JOIN, COPY)] == before


def test_a_server_that_refuses_a_setting_gets_none(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bloom_filter, "_COPY_OF_SOURCE", "spark.sql.warehouse.dir")  # which no running session changes
    before = spark.conf.get(JOIN, None)

    restored: list[dict[str, str | None]] = []
    restore = bloom_filter._restore
    monkeypatch.setattr(bloom_filter, "_restore", lambda spark, kept: restored.append(kept) or restore(spark, kept))

    with bloom_filter.allowed(spark, 10, 1000):
        assert spark.conf.get(JOIN, None) == before
    assert [bool(kept) for kept in restored] == [True, False], "what was refused is put back once"
