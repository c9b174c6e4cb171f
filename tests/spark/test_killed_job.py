"""kill -9 of the merge job at its numbered side effects, and proof that a careless job is caught."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.lake import read_silver
from tests.spark.killed import CARELESS, Killed, Lake

SEEDS = 25
pytestmark = pytest.mark.soak


def shown(spark: SparkSession, lake: Lake) -> dict[str, Any]:
    rows = list(read_silver(spark, str(lake.folder / "silver")))
    assert len({row.key for row in rows}) == len(rows), "silver has two rows for one key"
    return {row.key: json.loads(row.item) for row in rows if row.item is not None}


def commits_of(paths: set[str]) -> int:
    return sum("/silver/_delta_log/" in path and path.endswith(".json") and "/." not in path for path in paths)


def test_a_job_killed_at_any_side_effect_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    whole = Lake.of(tmp_path / "whole", 0)
    assert whole.run() is None
    all_paths = len(whole.paths())
    where: Counter[str] = Counter()
    for seed in range(SEEDS):
        lake = Lake.of(tmp_path / str(seed), seed)
        if seed % 5 == 4:
            # Just when a MERGE is committed: Spark's own commit comes after it.
            batch = 2 + seed // 5 % 3
            killed = lake.run(lambda paths, batch=batch: commits_of(paths) >= batch)
        else:
            number = 1 + seed * all_paths // SEEDS
            killed = lake.run(lambda paths, number=number: len(paths) >= number)
        assert killed is not None, f"seed {seed}: the job ended before it was killed"
        where[killed.where] += 1
        print(f"seed {seed}: {killed.where} {killed}")
        assert lake.run() is None
        assert shown(spark, lake) == lake.expected(), f"seed {seed}, killed {killed}"
    print(dict(where))
    assert len(where) == 3, where


def test_a_careless_job_is_caught(spark: SparkSession, tmp_path: Path) -> None:
    whole = Lake.of(tmp_path / "whole", 1, CARELESS)
    assert whole.run() is None
    assert shown(spark, whole) == whole.expected(), "without a kill it must end right, or it proves nothing"
    lake = Lake.of(tmp_path / "killed", 1, CARELESS)
    killed = lake.run(lambda paths: sum("/commits/" in path and path[-1].isdigit() for path in paths) >= 1)
    assert isinstance(killed, Killed)
    assert lake.run() is None
    assert shown(spark, lake) != lake.expected()
