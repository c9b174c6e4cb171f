"""`columns: auto` while changes wait: columns appear and widen, and `_live` shows what a merge at once would show."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform import spark_compat
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.silver.auto_columns import add_columns
from lakebound_spark.silver.columns import DeclaredColumn
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.live_rows import live_sql
from lakebound_spark.silver.preparation import prepare_silver
from lakebound_spark.silver.types import Scalar
from tests.spark.silver import Silver
from tests.support.independent_writer import TABLE, Record, base, item, stream, write_records

MICRO_BATCHES: Sequence[Sequence[Record]] = (
    (stream("a", 1, item("a", v={"N": "1"})), stream("gone", 1, item("gone", v={"N": "1"}))),
    # `w` appears, and `v` has a value that its column does not take.
    (stream("b", 1, item("b", v={"S": "two"}, w={"S": "x"})), base("d", 5, item("d", v={"N": "4"}))),
    # `v` widens, and one more name appears in a record of the other register.
    (stream("c", 1, item("c", v={"N": "2.5"})), base("e", 5, item("e", u={"BOOL": True})), stream("gone", 2, None)),
)


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: row.asDict() for key, row in found.items()}


@pytest.mark.soak
def test_columns_that_appear_and_widen_while_changes_wait(spark: SparkSession, tmp_path: Path) -> None:
    at_once = Silver.create(spark, tmp_path / "at_once", "auto")
    later = Silver.create(spark, tmp_path / "later", "auto", appends=True)
    for number, records in enumerate(MICRO_BATCHES):
        file = write_records(tmp_path / "source", records, hour=f"HH={number:02d}")
        at_once.merge(file)
        later.append(file)
        if number == 0:
            later.merge_pending()
        assert rows(later.live_rows()) == rows(at_once.rows())
    assert set(later.rows()) == {"id=S:a", "id=S:gone"}
    live = later.live_rows()
    assert (live["id=S:b"]["w"], live["id=S:b"]["_rescued"]) == ("x", '{"v":{"S":"two"}}')
    if spark_compat.CAN_WIDEN:
        assert (live["id=S:a"]["v"], live["id=S:c"]["v"]) == (Decimal(1), Decimal("2.5"))
    later.merge_pending()
    assert rows(later.rows()) == rows(later.live_rows()) == rows(at_once.rows())


@pytest.mark.soak
def test_a_column_that_another_driver_has_just_given_silver(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", "auto", appends=True)
    silver.append(write_records(tmp_path / "1", MICRO_BATCHES[0]))
    # The other driver is between silver and `_changes`.
    add_columns(spark, silver.path, [DeclaredColumn("w", ("w",), Scalar("string"))])
    silver.append(write_records(tmp_path / "2", MICRO_BATCHES[1]))
    assert silver.live_rows()["id=S:b"]["w"] == "x"
    silver.merge_pending()
    assert silver.rows()["id=S:b"]["w"] == "x"


@pytest.mark.soak
def test_a_driver_without_a_column_that_another_one_has_declared_writes_no_more(
    spark: SparkSession, tmp_path: Path
) -> None:
    older = Silver.create(spark, tmp_path / "silver", {"v": "int"}, appends=True)
    newer = Silver(spark, older.path, parse_config({"source_table": TABLE, "columns": {"v": "int", "id": "string"}}))
    prepare_silver(spark, newer.path, newer.config, "", newer.merge_pending, Refusals(), appends=True)
    newer.append(write_records(tmp_path / "1", [stream("a", 1, item("a", v={"N": "1"}))]))
    view = live_sql(spark, newer.path)
    assert "columns.`id`" in view, "`_live` compares keys by the column"
    late = write_records(tmp_path / "2", [stream("a", 2, item("a", v={"N": "2"}))])
    for write in (older.append, older.merge):
        with pytest.raises(Misconfigured, match=r"has columns that this run's configuration lacks \(id\)"):
            write(late)
    newer.append(late)
    assert [(row["id"], row["v"]) for row in spark.sql(view).collect()] == [("a", 2)]
