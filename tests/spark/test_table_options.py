"""`comment` and `properties` of the YAML, on real Delta: set, changed later, and refused where they would do harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.tables import properties, table_detail
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.silver.table_options import TableOptions, apply_options
from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records

UNIFORM = {
    "delta.universalFormat.enabledFormats": "iceberg",
    "delta.enableIcebergCompatV2": True,
    "delta.columnMapping.mode": "name",
    "delta.enableDeletionVectors": False,
}


def options(**settings: Any) -> TableOptions:
    return parse_config({"source_table": "flights", **settings}).options


def test_values_become_text() -> None:
    found = options(
        comment="Every car", properties={"team": "cars", "tier": 2, "delta.checkpoint.writeStatsAsJson": True}
    )
    expected = {"team": "cars", "tier": "2", "delta.checkpoint.writeStatsAsJson": "true"}
    assert found == TableOptions("Every car", expected)
    assert options() == TableOptions()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"properties": {"lakebound.stale_since": "x"}}, "lakebound.stale_since is one of the job's own"),
        ({"properties": {"Lakebound.x": "x"}}, "Lakebound.x is one of the job's own"),
        ({"properties": {"comment": "x"}}, "comment belongs to Spark; use the setting `comment`"),
        ({"properties": {"location": "x"}}, "location belongs to Spark; take it out"),
        ({"properties": {"delta.enableChangeDataFeed": False}}, "can only be true: readers of the change feed"),
        ({"properties": {"delta.appendOnly": "true"}}, "can only be false: the job updates rows"),
        ({"properties": {"delta.columnMapping.mode": "id"}}, "can only be name"),
        ({"properties": {"a": 1.5}}, "a needs a text, a whole number, true or false"),
        ({"properties": {1: "x"}}, "1 is no name"),
        ({"properties": ["a"]}, "properties must be a mapping"),
        ({"comment": 3}, "comment must be a text"),
    ],
)
def test_what_would_harm_the_table_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason):
        options(**settings)


@pytest.mark.soak
def test_they_are_set_when_the_table_is_made_and_when_they_change(spark: SparkSession, tmp_path: Path) -> None:
    asked = {"comment": "It's a car", "properties": {"team": "cars", "delta.logRetentionDuration": "interval 60 days"}}
    silver = Silver.create(spark, tmp_path / "silver", {"v": "int"}, **asked)
    there = properties(spark, silver.path)
    assert (there["team"], there["delta.logRetentionDuration"]) == ("cars", "interval 60 days")
    assert table_detail(spark, silver.path)["description"] == "It's a car"
    version = silver.version()
    prepare_target(spark, silver.path, silver.config)
    assert silver.version() == version, "nothing is written where nothing changed"
    other = parse_config({"source_table": "flights", "columns": {"v": "int"}, "properties": {"team": "trips"}})
    prepare_target(spark, silver.path, other)
    assert properties(spark, silver.path)["team"] == "trips"
    assert table_detail(spark, silver.path)["description"] == "It's a car", "what is no longer asked for stays"
    silver.merge(write_records(tmp_path / "files", [stream("k", 1, item("k", v={"N": "1"}))]))
    assert silver.rows()["id=S:k"]["v"] == 1


@pytest.mark.parametrize("asked", [{"delta.nosuch": "1"}, {"delta.logRetentionDuration": "soon"}])
def test_a_property_that_delta_does_not_take_is_named(
    spark: SparkSession, tmp_path: Path, asked: dict[str, str]
) -> None:
    with pytest.raises(Misconfigured, match="cannot create the target"):
        Silver.create(spark, tmp_path / "new", {"v": "int"}, properties=asked)
    there = Silver.create(spark, tmp_path / "there", {"v": "int"})
    with pytest.raises(Misconfigured, match=f"does not take the properties {next(iter(asked))} of the configuration"):
        apply_options(spark, there.path, TableOptions(properties=asked), Refusals())


@pytest.mark.soak
def test_a_table_for_iceberg_readers_is_made_and_merged(spark: SparkSession, tmp_path: Path) -> None:
    """As far as open Delta goes: the table bears the features, and without Databricks or delta-iceberg no metadata."""
    silver = Silver.create(spark, tmp_path / "silver", {"v": "int", "a b": "string"}, properties=UNIFORM)
    silver.merge(
        write_records(tmp_path / "files", [stream("k", 1, item("k", v={"N": "1"})), stream("l", 1, item("l"))])
    )
    silver.merge(write_records(tmp_path / "files", [stream("k", 2, None)], hour="2"))
    assert {key: row["_is_deleted"] for key, row in silver.rows().items()} == {"id=S:k": True, "id=S:l": False}
    assert "icebergCompatV2" in table_detail(spark, silver.path)["tableFeatures"]
    assert not (tmp_path / "silver" / "metadata").exists()


def test_iceberg_with_deletion_vectors_is_refused_with_deltas_condition(spark: SparkSession, tmp_path: Path) -> None:
    wrong = {name: value for name, value in UNIFORM.items() if name != "delta.enableDeletionVectors"}
    with pytest.raises(Misconfigured, match="DELETION_VECTORS_SHOULD_BE_DISABLED"):
        Silver.create(spark, tmp_path / "silver", {"v": "int"}, properties=wrong)
