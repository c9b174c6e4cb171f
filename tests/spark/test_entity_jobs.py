"""The jobs and commands around several silver tables: bronze as their source, a pipeline, upkeep, the end of a heal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.errors import Misconfigured
from lakebound.source.gaps import Gap, GapBook
from lakebound.transport.object_keys import RunFolder
from lakebound_spark.silver.changes_table import pending
from lakebound_spark.silver.entity_batch import bring_entities
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.silver.pipeline_sink import SilverSink
from tests.spark.entities import (
    destinations,
    items_of,
    kinds_of_history,
    reader_of,
    rows_of,
    write_tables,
    wrong_keys,
)
from tests.spark.jobs import append_to_bronze, bronze_frame
from tests.spark.silver import run_job
from tests.spark.sweep_run import LABEL, RUN, manifest_of
from tests.support.independent_writer import TABLE, base, item, write_records
from tests.support.operator_stack import BUCKET, Lakebound, Operated

KINDS = ("K0", "K1")
RULES: dict[str, dict[str, Any]] = {"K0": {"where": {"id": "K0-*"}}, "K1": {"where": "rest"}}
RECORDS, OWNERS = kinds_of_history(list(KINDS), 8)

pytestmark = pytest.mark.soak


@pytest.fixture
def bronze(spark: SparkSession, tmp_path: Path) -> DataFrame:
    append_to_bronze(tmp_path / "bronze", bronze_frame(spark, RECORDS), "a")
    return spark.read.format("delta").load(str(tmp_path / "bronze"))


def test_the_sink_of_a_pipeline_brings_bronze_into_all_tables(
    spark: SparkSession, bronze: DataFrame, tmp_path: Path
) -> None:
    config = yaml.safe_load(write_tables(tmp_path, RULES).read_text())
    sink = SilverSink(str(tmp_path / "app"), config, str(tmp_path / "pipeline"))
    sink(bronze, 0)
    assert wrong_keys({name: items_of(rows_of(spark, tmp_path, name)) for name in KINDS}, OWNERS, RECORDS) == set()
    # A full refresh is another update of the pipeline, and brings everything once more.
    replace(sink, run="another update")(bronze, 0)
    metrics = spark.read.format("delta").load(str(tmp_path / "app_metrics")).orderBy("detected_at").collect()
    assert [(row["records"], row["inserted"] + row["updated"]) for row in metrics] == [
        (len(RECORDS), len(OWNERS)),
        (len(RECORDS), 0),
    ]
    # One table less: the other's keys come to none, though the pipeline has passed their records.
    fewer = replace(sink, config=config | {"tables": dict(list(config["tables"].items())[:1])})
    with pytest.raises(Misconfigured, match="give a new checkpoint"):
        fewer(bronze, 0)


def test_tables_from_bronze_show_in_their_live_views_what_waits_and_it_is_published(
    spark: SparkSession, bronze: DataFrame, tmp_path: Path, operated: Operated
) -> None:
    options = ("--reader", "bronze", "--merge-every", "1h", "--publish")
    config = write_tables(tmp_path, RULES)
    done = run_job(tmp_path / "bronze", tmp_path / "checkpoint", tmp_path / "app", config, *options)
    assert done.status == 0
    assert [batch["appended"] for batch in done.batches] == [len(OWNERS)]
    shown = {name: {row["_key"]: row for row in live_rows(spark, str(tmp_path / name)).collect()} for name in KINDS}
    assert wrong_keys({name: items_of(rows) for name, rows in shown.items()}, OWNERS, RECORDS) == set()
    assert not any(rows_of(spark, tmp_path, name) for name in KINDS)
    query = {"Namespace": "Lakebound", "Dimensions": [{"Name": "table", "Value": TABLE}], "Statistics": ["Maximum"]}
    found = operated.client("cloudwatch").get_metric_statistics(
        **query, MetricName="SilverPendingRows", StartTime="2020-01-01", EndTime="2100-01-01", Period=86_400 * 36_500
    )
    waiting = [pending(spark, str(tmp_path / name)).rows for name in KINDS]
    assert min(waiting) > 0
    assert [point["Maximum"] for point in found["Datapoints"]] == [sum(waiting)]


def test_a_heal_is_closed_once_all_tables_have_it(
    spark: SparkSession, tmp_path: Path, operated: Operated, lakebound: Lakebound
) -> None:
    rules = {"g": {"where": {"id": "g*"}}, "others": {"where": "rest"}}
    to, _ = destinations(spark, tmp_path, rules)
    records = [base(key, LABEL, item(key), origin="incremental_export") for key in ("g1", "k1")]
    of_g, of_k = (write_records(tmp_path / "source", [record]) for record in records)
    s3 = operated.client("s3")
    book = GapBook(TABLE, S3Store(BUCKET, s3), S3Documents(BUCKET, s3))
    gap = Gap(LABEL - 300_000, LABEL - 200_000, "mapping_behind", detected_at_ms=LABEL - 100_000)
    book.record(gap)
    manifest = manifest_of([of_g, of_k], mode="incremental_export", heals=((gap.from_ms, gap.cause),))
    key = RunFolder.of(TABLE, RUN).manifest()
    s3.put_object(Bucket=BUCKET, Key=key, Body=manifest.encode())
    places = ("--source", str(tmp_path / "source"), "--target", str(tmp_path / "app"))
    close = ("backfill", "close", "--run", RUN, *places, "--config", str(tmp_path / "app.yaml"))

    bring_entities(spark, reader_of(spark, tmp_path, of_g), to)
    told = lakebound.document(*close, status=1)
    assert told["refused"] == [{"what": "1 keys of the run are not merged", "command": "spark/jobs/merge_changes.py"}]
    bring_entities(spark, reader_of(spark, tmp_path, of_k), to)
    told = lakebound.document(*close)
    assert (len(told["closed"]), told["still_open"]) == (1, [])
