"""The rows of `<target>_metrics`: one for each result of a run, whichever process writes it."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from lakebound_spark.platform import metrics
from lakebound_spark.platform.metrics import begin_results, prepare_metrics, read_results, record_result
from lakebound_spark.silver.entity_job import EntityMicroBatch

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

    metrics._RECORDED.clear()  # as in another process
    record_result(spark, target, "run", 1, result(0, keys=9))
    record_result(spark, target, "run", 0, result(1, keys=3))
    record_result(spark, target, "another", 0, result(0, keys=1))
    assert (keys_of("run"), keys_of("another")) == ([7, 8, 3], [1])
