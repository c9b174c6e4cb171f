"""What docs/SPARK.md and DATABRICKS.md give to copy works as far as it can run here: lines parse, cells run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession

from lakebound_spark.jobs import ingest_bronze
from lakebound_spark.lake.fleet_config import parse_fleet
from lakebound_spark.lake.lake_config import SETTINGS_OF_STEPS
from lakebound_spark.platform.session import SETTINGS_OF_35
from lakebound_spark.reading.schema import BRONZE_RECORD
from tests.spark.jobs import run_main
from tests.spark.silver import write_config
from tests.support.independent_writer import base, item, stream, write_lines, write_records
from tests.support.registers import visible_items

ROOT = Path(__file__).parents[2]


PAGE, DATABRICKS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("SPARK", "DATABRICKS"))


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


CELL, SINK, AUTO_CDC = blocks("python", DATABRICKS)


def parse(script: str, arguments: list[str]) -> Any:
    """The arguments as the job itself takes them; SystemExit for one that it does not."""
    assert (ROOT / "spark" / "jobs" / Path(script).name).exists()
    return import_module(f"lakebound_spark.jobs.{Path(script).stem}")._parser().parse_args(arguments)


@pytest.mark.parametrize(
    "line", [line for block in blocks("sh") for line in block.splitlines() if "spark-submit" in line]
)
def test_a_line_for_open_spark_is_taken(line: str) -> None:
    words = shlex.split(line)
    assert (ROOT / words[words.index("--properties-file") + 1]).exists()
    script = next(position for position, word in enumerate(words) if word.endswith(".py"))
    assert parse(words[script], words[script + 1 :]).config in ("lake.yaml", "flights.yaml")


def test_the_line_for_emr_serverless_is_taken() -> None:
    (line,) = [line for block in blocks("sh") for line in block.splitlines() if "emr-serverless" in line]
    words = shlex.split(line)
    driver = json.loads(words[words.index("--job-driver") + 1])["sparkSubmit"]
    assert set(driver) == {"entryPoint", "entryPointArguments", "sparkSubmitParameters"}
    options = parse(driver["entryPoint"], driver["entryPointArguments"])
    assert options.once
    assert f"s3://CODE/{options.config}" in driver["sparkSubmitParameters"]


def test_the_lake_of_the_page_is_taken_and_its_table_of_steps_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, fleet = blocks("yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flights.yaml").write_text("source_table: flights\nhistory: scd2\n")
    usual, other = parse_fleet(yaml.safe_load(text)).tables
    timings = {step.name: str(step.timing) for step in usual.steps()}
    assert [step.name for step in other.steps()] == list(timings)
    rows = re.findall(r"^\| `(\w+)` \| ((?:every|at) [\w:]+)[^|]*\|[^|]*\| (`.*`) \|$", PAGE, re.MULTILINE)
    assert {name: when for name, when, _ in rows} == timings
    (tmp_path / "flights.yaml").write_text("source_table: flights\n")  # bronze is off there, so it has no history
    many = parse_fleet(yaml.safe_load(fleet))
    assert ([Path(table.target).name for table in many.tables], many.left_out) == (
        ["cars", "vans", "flights", "orders", "invoices"],
        (),
    )
    assert {name: tuple(re.findall(r"`(\w+)`", words)) for name, _, words in rows} == SETTINGS_OF_STEPS


def test_the_jars_for_spark_35_are_those_of_its_settings() -> None:
    (jars,) = re.findall(r"--packages (\S+)`", PAGE)
    assert jars in SETTINGS_OF_35.read_text()


def test_every_variable_of_a_deployment_is_one_of_the_bundle() -> None:
    bundle = (ROOT / "spark" / "databricks.yml").read_text()
    given = set(re.findall(r"--var (\w+)=", DATABRICKS))
    assert given == {"source_table", "data", "aside", "table", "pause", "pause_single"}
    assert all(re.search(rf"^  {name}:\n    description", bundle, re.MULTILINE) for name in given)


def test_the_cell_runs_but_for_auto_loader(spark: SparkSession, tmp_path: Path) -> None:
    """Auto Loader exists on Databricks only: here the same cell reads with Spark's own JSON source."""
    write_records(tmp_path / "files", [stream("k", 1, item("k", v={"N": "1.50"})), stream("k", 2, None)])
    write_lines(tmp_path / "files", ['{"schema":1,"key":\n'], hour="dt=2013-01-01/HH=06")
    cell = CELL.replace('.format("cloudFiles")', '.format("json")')
    cell = cell.replace('    .option("cloudFiles.format", "json")\n', "")
    assert "cloudFiles" not in cell
    for name, value in (("SOURCE", tmp_path / "files"), ("CHECKPOINT", tmp_path / "c"), ("TABLE", "cell_raw")):
        cell, changed = re.subn(rf'^{name} = ".*"$', f'{name} = "{value}"', cell, flags=re.MULTILINE)
        assert changed == 1
    names: dict[str, Any] = {"spark": spark}
    exec(compile(cell, "the cell", "exec"), names)
    table = spark.table("cell_raw")
    assert spark.createDataFrame([], names["RECORD"]).schema.fields[:-1] == BRONZE_RECORD.fields
    rows = {row["version"]: row for row in table.collect()}
    assert len(rows) == 3
    assert rows[stream("k", 1, None)["version"]]["new_image"] == '{"id":{"S":"k"},"v":{"N":"1.50"}}'
    assert rows[None]["_corrupt"] == '{"schema":1,"key":'


def test_red_control_a_wrong_argument_is_refused() -> None:
    with pytest.raises(SystemExit):
        parse("merge_changes.py", ["--source", "a", "--wrong", "b"])


# ── pipelines ──


class Pipelines(ModuleType):
    """Stands for Databricks' `pyspark.pipelines`, of which open Spark lacks these: keeps what a block declares."""

    def __init__(self) -> None:
        super().__init__("pyspark.pipelines")
        self.sinks: dict[str, Any] = {}
        self.flows: dict[str, Any] = {}
        self.views: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}

    def foreach_batch_sink(self, name: str) -> Callable[[Any], Any]:
        return lambda function: self.sinks.setdefault(name, function)

    def append_flow(self, target: str) -> Callable[[Any], Any]:
        return lambda function: self.flows.setdefault(target, function)

    def temporary_view(self, name: str) -> Callable[[Any], Any]:
        return lambda function: self.views.setdefault(name, function)

    def create_streaming_table(self, name: str) -> None:
        self.changes[name] = None

    def create_auto_cdc_flow(self, target: str, **flow: Any) -> None:
        assert target in self.changes
        self.changes[target] = flow


def declared(block: str, monkeypatch: pytest.MonkeyPatch, **names: Any) -> Pipelines:
    pipelines = Pipelines()
    monkeypatch.setattr("pyspark.pipelines", pipelines, raising=False)
    monkeypatch.setitem(sys.modules, "pyspark.pipelines", pipelines)
    exec(compile(block, "docs/DATABRICKS.md", "exec"), names)
    return pipelines


RECORDS = [
    stream("a", 1, item("a", v={"N": "1"})),
    stream("a", 2, item("a", v={"N": "2"})),
    stream("b", 1, item("b")),
    stream("b", 3, None),
    base("old", 5, item("old", v={"N": "5"})),
    # Read by the backfill after the stream record, whose change it has and more.
    stream("late", 1, item("late", v={"N": "1"}), time_ms=1),
    base("late", 5, item("late", v={"N": "9"})),
]


@pytest.fixture
def bronze(spark: SparkSession, tmp_path: Path) -> str:
    write_records(tmp_path / "files", RECORDS, hour="dt=2013-01-01/HH=00")
    arguments = ["--source", tmp_path / "files", "--checkpoint", tmp_path / "c" / "bronze"]
    config = write_config(tmp_path, ["id: string", "v: int"])
    ran = run_main(ingest_bronze.main, *arguments, "--target", tmp_path / "bronze", "--config", config)
    assert ran.status == 0
    return str(tmp_path / "bronze")


@pytest.mark.classic("Databricks' decorators stand in this process")
def test_the_sink_of_a_pipeline_makes_the_silver_of_the_job(
    spark: SparkSession, bronze: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = SINK.replace('.table("main.lakebound.flights_bronze")', f'.format("delta").load("{bronze}")')
    block = block.replace("main.lakebound.flights", str(tmp_path / "silver"))
    block = block.replace("/Volumes/main/lakebound/config/flights.yaml", str(tmp_path / "silver.yaml"))
    block = block.replace("/Volumes/main/lakebound/checkpoints/flights/pipeline", str(tmp_path / "c" / "pipeline"))
    assert "main.lakebound" not in block
    for update in ("first", "full refresh"):
        pipelines = declared(block, monkeypatch, spark=spark)
        ((target, flow),) = pipelines.flows.items()
        writer = flow().writeStream.foreachBatch(pipelines.sinks[target]).trigger(availableNow=True)
        writer.option("checkpointLocation", str(tmp_path / update)).start().awaitTermination()
        rows = spark.read.format("delta").load(str(tmp_path / "silver")).where("NOT _is_deleted").collect()
        assert {row["_key"]: json.loads(row["_item"]) for row in rows} == visible_items(RECORDS)
    brought = spark.read.format("delta").load(str(tmp_path / "silver_metrics")).orderBy("detected_at").collect()
    assert [row["inserted"] for row in brought] == [len({record["key"] for record in RECORDS}), 0]


def folded(flow: dict[str, Any], records: DataFrame) -> dict[str, Any]:
    """What AUTO CDC shows, as Databricks describes it: the row of the greatest sequence, which a delete takes away.

    It ends a micro-batch that has a row without a sequence with AUTOCDC_MICROBATCH_VALIDATION.NULL_SEQUENCE.
    """
    assert {*flow["keys"], flow["sequence_by"], *flow["except_column_list"]} <= set(records.columns)
    shown: dict[str, Any] = {}
    for row in records.orderBy(flow["sequence_by"]).collect():
        if row[flow["sequence_by"]] is None:
            raise ValueError("NULL_SEQUENCE")
        shown[row["key"]] = None if row[flow["apply_as_deletes"]] else json.loads(row["new_image"])
    return shown


def test_auto_cdc_differs_where_the_page_says(
    spark: SparkSession, bronze: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = AUTO_CDC.replace('.table("main.lakebound.flights_bronze")', f'.format("delta").load("{bronze}")')
    assert "main.lakebound" not in block
    pipelines = declared(block, monkeypatch, spark=spark)
    ((_, flow),) = pipelines.changes.items()
    assert flow["stored_as_scd_type"] == 1
    # The view is a streaming query: what it delivers is written once, so that the rule can read it.
    delivered = str(tmp_path / "delivered")
    stream_of_view = pipelines.views[flow["source"]]().writeStream.format("delta").trigger(availableNow=True)
    stream_of_view.option("checkpointLocation", str(tmp_path / "view")).start(delivered).awaitTermination()
    shown = folded(flow, spark.read.format("delta").load(delivered))
    with pytest.raises(ValueError, match="NULL_SEQUENCE"):
        folded(flow, spark.read.format("delta").load(bronze))
    right = visible_items(RECORDS)
    wrong = {key for key in right.keys() | shown.keys() if shown.get(key) != right.get(key)}
    assert wrong == {"id=S:old", "id=S:late"}
