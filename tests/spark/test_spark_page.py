"""What docs/SPARK.md gives to copy works as far as it can run here: command lines parse, the cell runs."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from lakebound_spark.lake.lake_config import SETTINGS_OF_STEPS, parse_lake
from lakebound_spark.platform.session import SETTINGS_OF_35
from lakebound_spark.reading.schema import BRONZE_RECORD
from tests.support.independent_writer import item, stream, write_lines, write_records

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "SPARK.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


(CELL,) = blocks("python")


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
    (text,) = blocks("yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flights.yaml").write_text("source_table: flights\nhistory: scd2\n")
    usual, other = parse_lake(yaml.safe_load(text))
    timings = {step.name: str(step.timing) for step in usual.steps()}
    assert [step.name for step in other.steps()] == list(timings)
    rows = re.findall(r"^\| `(\w+)` \| ((?:every|at) [\w:]+)[^|]*\|[^|]*\| (`.*`) \|$", PAGE, re.MULTILINE)
    assert {name: when for name, when, _ in rows} == timings
    assert {name: tuple(re.findall(r"`(\w+)`", words)) for name, _, words in rows} == SETTINGS_OF_STEPS


def test_the_jars_for_spark_35_are_those_of_its_settings() -> None:
    (jars,) = re.findall(r"--packages (\S+)`", PAGE)
    assert jars in SETTINGS_OF_35.read_text()


def test_every_variable_of_a_deployment_is_one_of_the_bundle() -> None:
    bundle = (ROOT / "spark" / "databricks.yml").read_text()
    given = set(re.findall(r"--var (\w+)=", PAGE))
    assert given == {"source_table", "data", "aside", "metrics_profile", "pause", "pause_single"}
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
