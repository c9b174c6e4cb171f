"""A job killed while it makes a table: the next one makes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.tables import create_table
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target
from tests.support.independent_writer import TABLE


@pytest.mark.parametrize("left", [[], [".00000000000000000000.json.0f4c.tmp"]], ids=["empty log", "unfinished commit"])
def test_a_table_whose_making_was_killed_is_made(spark: SparkSession, tmp_path: Path, left: list[str]) -> None:
    log = tmp_path / "silver" / "_delta_log"
    log.mkdir(parents=True)
    for name in left:
        (log / name).write_text("{")
    config = parse_config({"source_table": TABLE, "columns": {"id": "string"}})
    made = prepare_target(spark, str(tmp_path / "silver"), config)
    create_table(spark, str(tmp_path / "silver"), ["a INT"])  # a log with a commit is left alone
    assert prepare_target(spark, str(tmp_path / "silver"), config) == made
