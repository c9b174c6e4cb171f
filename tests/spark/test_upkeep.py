"""A table that lives on: columns added, fed from bronze, maintained while it is merged into."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakebound.errors import Misconfigured
from lakebound.record.attributes import canonical_key, parse_key
from lakebound_spark.jobs.maintain import main as maintain_main
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.platform.spark_compat import is_conflict
from lakebound_spark.reading.schema import BRONZE_RECORD
from lakebound_spark.reading.source import DataFile, split_by_bytes
from lakebound_spark.silver import micro_batch as bringing
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.key_sql import keys_sql
from lakebound_spark.silver.silver_table import prepare_target
from tests.spark.silver import Silver, run_job, write_config
from tests.support.independent_writer import TABLE, Record, item, stream, write_records

COLUMNS = {"id": "string", "v": "int"}
LIFE: list[list[Record]] = [
    [stream(f"k{n}", n + 1, item(f"k{n}", v={"N": f"{n}.5"}, t={"S": "x"})) for n in range(20)],
    [stream(f"k{n}", n + 101, item(f"k{n}", v={"N": "7"}) if n % 2 else None) for n in range(20)],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upkeep")


@pytest.fixture(scope="module")
def bronze(spark: SparkSession, folder: Path) -> Path:
    """Two commits of records, with a foreign one and one that is none; bronze has its `_file` beside the fields."""
    schema = StructType([*BRONZE_RECORD.fields, StructField("_file", StringType())])
    odd = [stream("strange", 1, item("strange"), source_table="weather"), stream("forged", 1, None, version="1|9")]
    for number, records in enumerate([[*LIFE[0], *odd], LIFE[1]]):
        rows = [
            [
                json.dumps(record[n]) if n in ("keys", "new_image") and record[n] else record[n]
                for n in BRONZE_RECORD.names
            ]
            for record in records
        ]
        frame = spark.createDataFrame([(*row, f"f{number}") for row in rows], schema)
        frame.coalesce(1).write.format("delta").mode("append").save(str(folder / "bronze"))
    return folder / "bronze"


@pytest.fixture(scope="module")
def silver(spark: SparkSession, folder: Path, bronze: Path) -> Silver:
    """Fed from bronze, one of its files a micro-batch."""
    config = write_config(folder, ["id: string", "v: int"])
    done = run_job(bronze, folder / "a", folder / "silver", config, "--reader", "bronze", "--max-files", "1")
    assert (done.status, done.last_line) == (0, "stale=0 rescued=0 inexact=20 refused=2 bad_files=0")
    assert [(b["files"], b["records"], b["refused"], b["inserted"], b["updated"]) for b in done.batches] == [
        (0, 20, 2, 20, 0),
        (0, 20, 0, 0, 20),
    ]
    metrics = spark.read.format("delta").load(f"{folder}/silver_metrics").orderBy("batch")
    assert [row.asDict() for row in metrics.drop("detected_at", "run", "part").collect()] == done.batches
    assert set(metrics.columns) == {*(one.name for one in fields(MicroBatch)), "detected_at", "run", "part"}
    assert {row["part"] for row in metrics.collect()} == {0}
    return Silver(
        spark, str(folder / "silver"), parse_config({"source_table": TABLE, "columns": {"id": "string", "v": "int"}})
    )


@pytest.mark.soak
def test_silver_from_bronze_is_silver_from_files(silver: Silver, folder: Path) -> None:
    for number, records in enumerate(LIFE):
        write_records(folder / "files", records, hour=f"h={number}")
    before = silver.version()
    config = folder / "silver.yaml"
    # One byte a MERGE: the micro-batch of two files becomes two MERGEs, neither of which changes anything.
    done = run_job(folder / "files", folder / "b", folder / "silver", config, "--max-bytes", "1")
    assert [(b["files"], b["inserted"], b["updated"]) for b in done.batches] == [(1, 0, 0), (1, 0, 0)]
    assert silver.version() == before


def test_a_source_that_is_no_bronze_is_refused(
    silver: Silver, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, says in ((silver.path, "is no bronze table: its schema"), (folder / "nowhere", "is no Delta table")):
        done = run_job(Path(source), folder / "c", folder / "silver", folder / "silver.yaml", "--reader", "bronze")
        assert done.status == 2
        assert says in capsys.readouterr().err


@pytest.mark.soak
def test_a_column_more_is_filled_for_the_rows_that_are_there(silver: Silver) -> None:
    spark = silver.spark
    columns = {
        "id": "string",
        "v": "int",
        "exact v": {"type": "decimal(10,2)", "path": "v"},
        "key": {"type": "string", "path": "id"},
    }
    config = parse_config({"source_table": TABLE, "columns": columns})
    with pytest.MonkeyPatch.context() as patch:  # killed after the columns came and before they were filled
        patch.setattr("lakebound_spark.silver.silver_table._fill_columns", _killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_target(spark, silver.path, config)
    prepare_target(spark, silver.path, config)
    rows = silver.rows()
    assert (rows["id=S:k1"]["exact v"], rows["id=S:k1"]["key"], rows["id=S:k1"]["v"]) == (Decimal(7), "k1", 7)
    assert (rows["id=S:k2"]["exact v"], rows["id=S:k2"]["key"]) == (None, "k2"), "a tombstone's key attribute"
    before = silver.version()
    prepare_target(spark, silver.path, config)
    assert silver.version() == before, "only once"

    spark.sql(f"ALTER TABLE delta.`{silver.path}` ADD COLUMNS (mine STRING)")
    refused: list[tuple[dict[str, Any], str]] = [
        ({**columns, "mine": "string"}, "already that this job did not make"),
        ({**columns, "v": "bigint"}, "the configuration says"),
        ({"id": "string"}, "the configuration says"),
    ]
    for changed, says in refused:
        with pytest.raises(Misconfigured, match=says):
            prepare_target(spark, silver.path, parse_config({"source_table": TABLE, "columns": changed}))


def test_keys_are_read_back_in_sql_as_in_python(spark: SparkSession) -> None:
    attributes = [
        {"id": {"S": "k1"}},
        {"a|b=c\\": {"S": "x|y\\|"}, "n": {"N": "-1.5"}},
        {'q"': {"S": '"\n\\\\é😀\u0000'}},
        {"b": {"B": "AP8="}, "é": {"S": "=S:|"}},
    ]
    keys = [canonical_key(one) for one in attributes]
    frame = spark.createDataFrame([(key,) for key in keys], "key STRING").coalesce(1)
    read = [json.loads(row[0]) for row in frame.select(F.expr(keys_sql("key"))).collect()]
    assert read == [parse_key(key) for key in keys] == attributes


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.soak
def test_an_optimize_in_the_middle_of_a_merge(silver: Silver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta refuses the MERGE, which has read files that OPTIMIZE replaced; the second attempt goes through."""
    spark, merge_rows = silver.spark, bringing.merge_rows
    started, go = tmp_path / "started", tmp_path / "go"

    def held(key):  # type: ignore[no-untyped-def]  # hints would make Spark guess another kind of function
        started.touch()
        while not go.exists():
            time.sleep(0.02)
        return key

    attempts: list[str] = []

    def attempt(spark: SparkSession, target: str, rows: DataFrame, *more: Any, **named: Any) -> Any:
        attempts.append("begun")
        slow = rows.coalesce(1).withColumn("key", F.udf(held, StringType())("key"))
        try:
            return merge_rows(spark, target, slow, *more, **named)
        except Exception as error:
            attempts.append("refused" if is_conflict(error) else repr(error))
            raise

    def optimize() -> None:
        while not started.exists():
            time.sleep(0.02)
        try:
            spark.sql(f"OPTIMIZE delta.`{silver.path}`")
        finally:
            go.touch()

    monkeypatch.setattr(bringing, "merge_rows", attempt)
    beside = threading.Thread(target=optimize)
    beside.start()
    done = silver.merge(
        write_records(tmp_path, [stream("k1", 301, item("k1", v={"N": "9"})), stream("new", 1, item("new"))])
    )
    beside.join()
    assert attempts == ["begun", "refused", "begun"]
    assert (done.inserted, done.updated) == (1, 1)
    assert silver.rows()["id=S:k1"]["v"] == 9


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The job's lines for machines; the last one is a sentence."""
    *lines, sentence = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"(would look at|maintained) \d+ tables of \S+: .*, \d+ s", sentence)
    return [json.loads(line) for line in lines]


def test_the_maintenance_job(silver: Silver, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--target", silver.path, "--config", str(folder / "silver.yaml")]
    version, rows = silver.version(), silver.rows()
    assert maintain_main([*arguments, "--dry-run"]) == 0
    would = lines_of(capsys)
    assert [one["table"].removeprefix(silver.path) for one in would] == ["", "_metrics"]
    assert silver.version() == version
    assert maintain_main(arguments) == 0
    done = lines_of(capsys)
    assert done[1]["compacted"] == would[1]["compacted"] > done[1]["written"] == 1
    assert silver.rows() == rows
    foreign = write_config(folder, source_table="weather")
    assert maintain_main(["--target", silver.path, "--config", str(foreign)]) == 2
    assert "was made with source_table flights" in capsys.readouterr().err
    assert maintain_main(["--target", str(folder / "bronze"), "--config", str(foreign)]) == 2
    assert "neither merge_changes nor ingest_bronze made" in capsys.readouterr().err


def files(*lengths: int) -> Iterator[DataFile]:
    return (DataFile(f"f{n}", f"f{n}", 1, "ndjson.gz", length) for n, length in enumerate(lengths))


def test_runs_of_files_are_bounded_by_bytes() -> None:
    runs = [[file.length for file in run] for run in split_by_bytes(list(files(4, 6, 5, 20, 1)), 10)]
    assert runs == [[4, 6], [5], [20], [1]], "a file is never cut"
    assert list(split_by_bytes([], 10)) == []
