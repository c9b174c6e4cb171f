"""What people do to silver between two micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.spark.silver import Silver
from tests.support.independent_writer import item, stream, write_records


@pytest.mark.soak
def test_a_vacuum_and_a_persons_ddl_between_two_micro_batches_change_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {"id": "string", "v": "int"})
    silver.merge(write_records(tmp_path / "s", [stream("k", 1, item("k", v={"N": "1"})), stream("m", 1, item("m"))]))
    place = f"delta.`{silver.path}`"
    spark.sql(f"ALTER TABLE {place} ADD COLUMN note STRING")
    spark.sql(f"UPDATE {place} SET note = 'mine' WHERE _key = 'id=S:m'")
    spark.conf.set("spark.databricks.delta.retentionDurationCheck.enabled", "false")
    try:
        spark.sql(f"VACUUM {place} RETAIN 0 HOURS")
    finally:
        spark.conf.unset("spark.databricks.delta.retentionDurationCheck.enabled")
    silver.merge(write_records(tmp_path / "s", [stream("k", 2, item("k", v={"N": "2"}))], hour="dt=2013-01-01/HH=06"))
    rows = silver.rows()
    assert (rows["id=S:k"]["v"], rows["id=S:k"]["note"]) == (2, None)
    assert (rows["id=S:m"]["_item"], rows["id=S:m"]["note"]) == ('{"id":{"S":"m"}}', "mine")
