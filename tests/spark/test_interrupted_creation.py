"""A job killed while it makes a table: the next one makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform import tables
from lakebound_spark.platform.tables import create_table
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target
from tests.support.independent_writer import TABLE


def fill(log: Path, left: list[str]) -> None:
    """A `_delta_log` with files and, where a name ends with a slash, folders."""
    log.mkdir(parents=True)
    for name in left:
        (log / name).mkdir(parents=True) if name.endswith("/") else (log / name).write_text("{")


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        ([], False),
        (["_staged_commits/", ".00000000000000000000.crc"], False),
        (["_staged_commits/", "_staged_commits/00000000000000000001.0f4c.json"], True),
        (["_staged_commits/", "00000000000000000000.json"], True),
        (["_last_checkpoint"], True),
    ],
)
def test_a_log_is_removed_only_where_it_holds_no_commit(tmp_path: Path, left: list[str], kept: bool) -> None:
    log = tmp_path / "silver" / "_delta_log"
    fill(log, left)
    tables._remove_empty_delta_log(log.parent)
    assert log.exists() == kept
    assert not kept or len(list(log.rglob("*"))) == len(left)


@pytest.mark.parametrize(
    "left",
    [
        [],
        [".00000000000000000000.json.0f4c.tmp"],
        pytest.param(["_staged_commits/", ".00000000000000000000.json.0f4c.tmp"], marks=pytest.mark.soak),
    ],
    ids=["empty log", "unfinished commit", "folder of Delta 4"],
)
def test_a_table_whose_making_was_killed_is_made(spark: SparkSession, tmp_path: Path, left: list[str]) -> None:
    log = tmp_path / "silver" / "_delta_log"
    fill(log, left)
    config = parse_config({"source_table": TABLE, "columns": {"id": "string"}})
    made = prepare_target(spark, str(tmp_path / "silver"), config)
    create_table(spark, str(tmp_path / "silver"), ["a INT"])  # a log with a commit is left alone
    assert prepare_target(spark, str(tmp_path / "silver"), config) == made
