"""kill -9 of the merge job at its numbered side effects, and proof that a careless job is caught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.silver.silver_reader import read_silver
from tests.spark.filtered import joins_told
from tests.spark.killed import CARELESS, FILTERED, Killed, Lake
from tests.spark.silver import run_job

SEEDS = 25

pytestmark = pytest.mark.classic("starts Spark in a process of its own")


def shown(spark: SparkSession, lake: Lake) -> dict[str, Any]:
    rows = list(read_silver(spark, str(lake.folder / "silver")))
    assert len({row.key for row in rows}) == len(rows), "silver has two rows for one key"
    return {row.key: json.loads(row.item) for row in rows if row.item is not None}


@pytest.fixture(scope="module")
def all_paths(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many paths a job makes that nobody kills."""
    whole = Lake.of(tmp_path_factory.mktemp("whole") / "0", 0)
    assert whole.run() is None
    return len(whole.paths())


@pytest.mark.soak
def test_a_job_killed_after_its_first_merge_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    """The sample that each run of the tests takes; the second run is in this process and its session."""
    lake = Lake.of(tmp_path / "lake", 0)
    killed = lake.run(lambda paths: lake.numbered("silver/_delta_log/", paths) >= 2)
    assert killed is not None
    assert killed.where == "after Delta's commit, before Spark's", killed
    source, checkpoint, silver, config = (
        lake.folder / name for name in ("source", "checkpoint", "silver", "silver.yaml")
    )
    assert run_job(source, checkpoint, silver, config, "--max-files", "1").status == 0
    assert shown(spark, lake) == lake.expected(), killed


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_job_killed_at_any_side_effect_ends_right(
    spark: SparkSession, all_paths: int, tmp_path: Path, seed: int
) -> None:
    number = 1 + seed * all_paths // SEEDS
    lake = Lake.of(tmp_path / "lake", seed)
    killed = lake.run(lambda paths: len(paths) >= number)
    assert killed is not None, "the job ended before it was killed"
    print(f"seed {seed}: {killed.where} {killed}")
    assert lake.run() is None
    assert shown(spark, lake) == lake.expected(), killed


@pytest.mark.soak
@pytest.mark.parametrize(
    ("folder", "where"),
    [("checkpoint/offsets/", "before Delta's commit"), ("silver/_delta_log/", "after Delta's commit, before Spark's")],
)
def test_a_job_killed_around_deltas_commit_ends_right(
    spark: SparkSession, tmp_path: Path, folder: str, where: str
) -> None:
    lake = Lake.of(tmp_path / "lake", 0)
    # The second micro-batch is planned, or its MERGE is committed; what comes next takes seconds.
    killed = lake.run(lambda paths: lake.numbered(folder, paths) >= (2 if "offsets" in folder else 3))
    assert killed is not None
    assert killed.where == where, killed
    assert lake.run() is None
    assert shown(spark, lake) == lake.expected(), killed


@pytest.mark.soak
@pytest.mark.parametrize("folder", ["checkpoint/offsets/", "silver/_delta_log/"])
def test_a_job_killed_around_a_commit_with_the_bloom_filter_ends_right(
    spark: SparkSession, tmp_path: Path, folder: str
) -> None:
    """In the third micro-batch, so that the second has told of its filter: the first finds an empty table."""
    lake = Lake.of(tmp_path / "lake", 0, FILTERED)
    killed = lake.run(lambda paths: lake.numbered(folder, paths) >= (3 if "offsets" in folder else 4))
    assert killed is not None
    assert (killed.offsets, killed.commits) == (3, 2), killed
    assert killed.merged == (2 if "offsets" in folder else 3), killed
    told = joins_told(lake.folder / "log")
    assert sum(made for made, _ in told) > 0
    assert all(made == filtered for made, filtered in told)
    assert shown(spark, lake) != lake.expected() or killed.merged == 3, "nothing was left to do"
    assert lake.run() is None
    assert shown(spark, lake) == lake.expected(), killed


@pytest.mark.soak
def test_a_careless_job_is_caught(spark: SparkSession, tmp_path: Path) -> None:
    whole = Lake.of(tmp_path / "whole", 1, CARELESS)
    assert whole.run() is None
    assert shown(spark, whole) == whole.expected(), "without a kill it must end right, or it proves nothing"
    lake = Lake.of(tmp_path / "killed", 1, CARELESS)
    killed = lake.run(lambda paths: lake.numbered("checkpoint/commits/", paths) >= 1)
    assert isinstance(killed, Killed)
    assert lake.run() is None
    assert shown(spark, lake) != lake.expected()
