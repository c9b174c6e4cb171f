"""Spark hides values in which it finds `url` or `token`: silver has to read its own table's properties all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_table import prepare_bronze, source_table_of
from lakebound_spark.platform.tables import encode_property, properties
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target

TABLE = "url-shortener.Access_Tokens"
NAMES = ["image_url", "password", "csrfToken", "access.key", "SECRET", "a'\\url", "·url"]


def test_names_that_spark_hides_are_columns_like_any_other(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "silver")
    columns = dict.fromkeys(NAMES[:-1], "string")
    prepare_target(spark, target, parse_config({"source_table": TABLE, "columns": columns}))
    columns[NAMES[-1]] = "string"
    more = parse_config({"source_table": TABLE, "columns": columns})
    for _ in range(2):
        prepare_target(spark, target, more)
    assert set(columns) <= {name.replace("`", "") for name in spark.read.format("delta").load(target).columns}
    with pytest.raises(Misconfigured, match=f"was made with source_table {TABLE}, the configuration says cars"):
        prepare_target(spark, target, parse_config({"source_table": "cars", "columns": columns}))


def test_bronze_of_such_a_table(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "bronze")
    prepare_bronze(spark, target, TABLE)
    assert source_table_of(spark, target) == TABLE


def test_what_stays_hidden_is_refused_with_the_setting_to_change(spark: SparkSession, tmp_path: Path) -> None:
    """Red control: the property as it stands, without `shown`."""
    target = str(tmp_path / "silver")
    prepare_target(spark, target, parse_config({"source_table": "cars", "columns": {}}))
    spark.sql(f"ALTER TABLE delta.`{target}` SET TBLPROPERTIES ('lakebound.source_table' = '{TABLE}')")
    with pytest.raises(Misconfigured, match=r"hides the property lakebound\.source_table .*spark\.redaction\.regex"):
        properties(spark, target)
    spark.sql(f"ALTER TABLE delta.`{target}` SET TBLPROPERTIES ('lakebound.source_table' = '{encode_property(TABLE)}')")
    assert properties(spark, target)["lakebound.source_table"] == TABLE
