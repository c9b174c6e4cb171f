"""Repairs of docs/OPERATIONS.md#unequal on real Spark: a column's wrong type, a table restored to an older version."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.incidents.__main__ import SPARK_ROWS
from tests.incidents.oncall import sections, stands_on
from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records


@pytest.mark.soak
def test_a_wrong_type_is_counted_and_a_rebuild_with_the_right_one_has_every_value(
    spark: SparkSession, tmp_path: Path
) -> None:
    (row,) = SPARK_ROWS
    held = {"a": "7", "b": "12.5", "c": "3.25"}
    files = write_records(tmp_path, [stream(key, 1, item(key, v={"N": value})) for key, value in held.items()])
    wrong = Silver.create(spark, tmp_path / "wrong", {"v": "int"})
    assert wrong.merge(files).inexact == 2, "what the incident is seen by"
    assert "inexact" in row.alarm
    assert "inexact" in sections()[row.page]
    broken = wrong.rows()
    assert [broken[f"id=S:{key}"]["v"] for key in held] == [7, None, None]
    assert [json.loads(broken[f"id=S:{key}"]["_item"])["v"]["N"] for key in held] == list(held.values()), "nothing lost"

    # As the page says: the right type in the YAML, a new target, every file again.
    assert all(stands_on(command, row.page) for command in row.commands)
    right = Silver.create(spark, tmp_path / "right", {"v": "decimal(10,2)"})
    assert right.merge(files).inexact == 0
    assert {key: right.rows()[f"id=S:{key}"]["v"] for key in held} == {
        key: Decimal(value) for key, value in held.items()
    }


@pytest.mark.soak
def test_a_table_restored_to_an_older_version_is_equal_again_after_every_file_is_merged_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    before = write_records(tmp_path, [stream("a", 1, item("a", v={"N": "1"})), stream("b", 2, item("b"))])
    after = write_records(tmp_path, [stream("a", 3, item("a", v={"N": "3"})), stream("b", 4, None)])
    silver = Silver.create(spark, tmp_path / "silver", {"v": "int"})
    silver.merge(before)
    older = silver.version()
    silver.merge(after)
    whole = silver.rows()
    spark.sql(f"RESTORE TABLE delta.`{silver.path}` TO VERSION AS OF {older}")
    assert silver.rows() != whole, "the restore is seen"
    silver.merge(before)
    assert silver.rows() != whole, "red control: files from before the restored version bring nothing back"
    silver.merge(before, after)
    assert silver.rows() == whole
