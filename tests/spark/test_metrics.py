"""The rows of `<target>_metrics`: one for each result of a run, whichever process writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.utils import is_remote

from lakebound_spark.platform import metrics
from lakebound_spark.platform.metrics import begin_results, prepare_metrics, read_results, record_result
from lakebound_spark.platform.tables import read_table
from lakebound_spark.silver.entity_job import EntityMicroBatch
from lakebound_spark.silver.freshness import newest_record_ms

COUNTS = (0,) * 11
ODD = "a'b\\c/`d$e"


def result(batch: int, keys: int = 0) -> EntityMicroBatch:
    counts = dict.fromkeys(("records", "stale", "inserted", "updated", "rewritten", "inexact", "rescued"), 0)
    by_table = [{"table": ODD, **counts, "keys": keys, "appended": 0}] if keys else []
    return EntityMicroBatch(batch, *COUNTS, None, 5, 1, None, 0.00001, by_table=by_table)


def test_a_result_is_a_row_once_a_run_also_where_another_process_tries_its_micro_batch_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    target = str(tmp_path / "app")
    prepare_metrics(spark, target, EntityMicroBatch)

    def keys_of(run: str) -> list[int]:
        found = read_results(spark, target, run, EntityMicroBatch, since=0)
        return [sum(counts["keys"] for counts in one.by_table) for one in found]

    begin_results(target, "run")
    record_result(spark, target, "run", 0, result(0, keys=7))
    record_result(spark, target, "run", 1, result(0, keys=8))
    record_result(spark, target, "run", 1, result(0, keys=9))
    assert keys_of("run") == [7, 8], "the second part is there already"
    (first, _) = read_results(spark, target, "run", EntityMicroBatch, since=0)
    assert first == result(0, keys=7)

    for known in (metrics._RECORDED, metrics._RESULTS):  # as in another process
        known.clear()
    record_result(spark, target, "run", 1, result(0, keys=9))
    record_result(spark, target, "run", 0, result(1, keys=3))
    record_result(spark, target, "another", 0, result(0, keys=1))
    assert (keys_of("run"), keys_of("another")) == ([7, 8, 3], [1])


def test_a_result_is_told_by_the_process_that_recorded_it_also_where_its_row_was_there_already(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, real = str(tmp_path / "app"), metrics.append_rows
    prepare_metrics(spark, target, EntityMicroBatch)

    def unanswered(rows: DataFrame, place: str) -> None:
        real(rows, place)
        raise OSError("the store does not answer")

    begin_results(target, "run")
    record_result(spark, target, "run", 0, result(0, keys=7))
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "append_rows", unanswered)
        with pytest.raises(OSError, match="does not answer"):
            record_result(spark, target, "run", 0, result(1, keys=8))
    assert read_results(spark, target, "run", EntityMicroBatch, since=1) == [result(1, keys=8)][: is_remote()]
    record_result(spark, target, "run", 0, result(1, keys=8))
    assert read_results(spark, target, "run", EntityMicroBatch, since=1) == [result(1, keys=8)]
    assert read_table(spark, f"{target}_metrics").count() == 2


def test_the_newest_record_is_found_among_rows_that_came_since_it_was_asked(
    spark: SparkSession, tmp_path: Path
) -> None:
    target, hour = str(tmp_path / "app"), 3_600_000
    prepare_metrics(spark, target, EntityMicroBatch)

    def newest_after(batch: int, newest_ms: int | None, merged_at_ms: int) -> int | None:
        one = replace(result(batch), newest_ingest_ms=newest_ms, merged_at_ms=merged_at_ms)
        record_result(spark, target, "run", 0, one)
        return newest_record_ms(spark, target)

    assert newest_record_ms(spark, target) is None
    assert newest_after(0, None, 5 * hour) is None, "a merge of what waited has no record"
    assert newest_after(1, 7, 6 * hour) == 7
    assert newest_after(2, 9, 5 * hour + 1) == 9, "of a driver whose clock is behind"
    assert newest_after(3, 8, 7 * hour) == 9
    assert newest_after(4, None, 9 * hour) == 9, "no row of the last hour has a record"
