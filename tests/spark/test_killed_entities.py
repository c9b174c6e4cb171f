"""kill -9 of the job for several tables between the commits of two of them, and proof that a careless job is caught."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

from lakebound_spark.silver.changes_table import pending
from lakebound_spark.silver.live_rows import live_rows
from tests.spark.killed import CARELESS, FILES, JOB, Lake
from tests.spark.shown_rows import Shown, expected, shown
from tests.spark.silver import run_job
from tests.support.independent_writer import TABLE

KINDS = ("users", "rest")
"""The tables in the order in which a micro-batch comes to them."""
HOURLY = ("--merge-every", "1h")

pytestmark = [pytest.mark.soak, pytest.mark.classic("starts Spark in a process of its own")]


def lake_of(folder: Path, seed: int, script: Path = JOB, *, files: int = 2) -> Lake:
    """Keys of two kinds, and a table for each beside `silver`, the name of them all."""
    lake = Lake.of(folder, seed, script, kinds=KINDS, files=files)
    write_rules(lake, "users-*")
    return lake


def write_rules(lake: Lake, users: str) -> None:
    """The configuration in which keys of this pattern are of the table `users`."""
    rules = ({"where": {"id": users}, "columns": {"id": "string", "v": "int"}}, {"where": "rest"})
    tables = {str(lake.folder / kind): rule for kind, rule in zip(KINDS, rules, strict=True)}
    config = yaml.safe_dump({"source_table": TABLE, "tables": tables}, sort_keys=False)
    (lake.folder / "silver.yaml").write_text(config)


def start_again(lake: Lake, *more: str) -> None:
    """The job to its end, in this process and its session."""
    source, checkpoint, silver, config = (
        lake.folder / name for name in ("source", "checkpoint", "silver", "silver.yaml")
    )
    assert run_job(source, checkpoint, silver, config, "--max-files", "1", *more).status == 0


def owned(lake: Lake, users: str = "id=S:users-") -> dict[str, Shown]:
    """What each table should show, by the reference: its own keys and no other. ``users`` begins those of `users`."""
    found = expected(lake.records)
    tables: dict[str, Shown] = {kind: {} for kind in KINDS}
    for key, row in found.items():
        tables["users" if key.startswith(users) else "rest"][key] = row
    assert all(tables.values()), "a table without a key proves nothing"
    return tables


def merged(spark: SparkSession, lake: Lake) -> dict[str, Shown]:
    return {kind: shown(spark.read.format("delta").load(str(lake.folder / kind)).collect()) for kind in KINDS}


def live(spark: SparkSession, lake: Lake) -> dict[str, Shown]:
    return {kind: shown(live_rows(spark, str(lake.folder / kind)).collect()) for kind in KINDS}


def kill_between(lake: Lake, commits: tuple[str, str], operation: str, *more: str) -> None:
    """Kill the job when the second micro-batch is committed to the first of these Delta tables, not to the other."""
    first, other = commits
    killed = lake.run(lambda paths: lake.commits(first, operation) >= 2, *more)
    assert killed is not None, "the job ended before it was killed"
    assert (lake.commits(first, operation), lake.commits(other, operation)) == (2, 1), killed
    assert (killed.offsets, killed.commits) == (2, 1), "Spark has not noted the second micro-batch"


def test_a_job_killed_between_the_merges_of_two_tables_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", 0)
    kill_between(lake, ("users", "rest"), "MERGE")
    assert merged(spark, lake) != owned(lake), "nothing was left to do, so that the next run proves nothing"
    start_again(lake)
    assert merged(spark, lake) == owned(lake)


def test_a_job_killed_between_the_appends_of_two_tables_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    lake = lake_of(tmp_path / "lake", 1)
    kill_between(lake, ("users_changes", "rest_changes"), "WRITE", *HOURLY)
    assert live(spark, lake) != owned(lake), "nothing was left to do, so that the next run proves nothing"
    start_again(lake, *HOURLY)
    assert live(spark, lake) == owned(lake)
    assert not any(merged(spark, lake).values()), "it merged what it should have appended"
    start_again(lake)
    assert {kind: pending(spark, str(lake.folder / kind)).rows for kind in KINDS} == dict.fromkeys(KINDS, 0)
    assert merged(spark, lake) == owned(lake)


def test_a_job_killed_while_keys_move_to_another_table_ends_right(spark: SparkSession, tmp_path: Path) -> None:
    """The first table has lost the keys that are not its own any more, and no other table has them yet."""
    lake = lake_of(tmp_path / "lake", 0)
    assert lake.run() is None
    write_rules(lake, "users-1*")
    (lake.folder / "checkpoint").rename(lake.folder / "checkpoint of the first rules")
    killed = lake.run(lambda paths: lake.commits("users", "DELETE") >= 1, "--rules-changed")
    assert killed is not None, "the job ended before it was killed"
    assert killed.commits == 0, "Spark has noted no micro-batch under the new rules"
    moved = owned(lake, "id=S:users-1")
    assert merged(spark, lake) not in (owned(lake), moved), "nothing had moved, or all had"
    start_again(lake, "--rules-changed")
    assert merged(spark, lake) == moved


def test_a_careless_job_is_caught(spark: SparkSession, tmp_path: Path) -> None:
    whole = lake_of(tmp_path / "whole", 1, CARELESS, files=FILES)
    assert whole.run() is None
    assert merged(spark, whole) == owned(whole), "without a kill it must end right, or it proves nothing"
    lake = lake_of(tmp_path / "killed", 1, CARELESS, files=FILES)
    assert lake.run(lambda paths: lake.numbered("checkpoint/commits/", paths) >= 1) is not None
    start_again(lake)
    wrong, right = merged(spark, lake), owned(lake)
    assert all(wrong[kind] != right[kind] for kind in KINDS), "what it held in memory is lost from each table"
