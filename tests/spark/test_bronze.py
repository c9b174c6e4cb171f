"""Bronze holds every record once a file, whatever comes again; what cannot be read is kept beside it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from lakebound.envelope import FIELDS
from lakebound_spark.bronze import BRONZE_COLUMNS, append_micro_batch, bad_lines_of, bronze_rows, prepare_bronze
from lakebound_spark.errors import Misconfigured
from lakebound_spark.flatten import changed_attributes, flattened, make_views
from lakebound_spark.jobs.ingest_bronze import main
from lakebound_spark.schema import BRONZE_RECORD, CORRUPT, RECORD
from tests.spark.jobs import Ran, run_main
from tests.spark.records import TABLE, Record, base, item, stream, write_bytes, write_lines, write_records
from tests.spark.silver import write_config
from tests.spark.test_files import BAD_BYTES, BAD_LINES

DAY_MS = 86_400_000
OLD = item("k", v={"N": "1.50"}, tags={"SS": ["a", "b"]})
RECORDS = [
    stream("k", 1, OLD, time_ms=1000, event_name="INSERT", size_bytes=12),
    stream("k", 2, item("k", v={"N": "1E+2"}), time_ms=DAY_MS, old_image=OLD),
    stream("k", 3, None, time_ms=DAY_MS, old_image=item("k", v={"N": "1E+2"}), ttl_expired=True),
    base("m", 5000, item("m")),
    base("n", 5000, None, origin="sweep"),
]


@dataclass(frozen=True, slots=True)
class Ingested:
    source: Path
    target: Path
    config: Path
    bad: set[str]
    runs: list[Ran]

    def rows(self, spark: SparkSession) -> list[dict[str, Any]]:
        return [row.asDict() for row in spark.read.format("delta").load(str(self.target)).collect()]


@pytest.fixture(scope="module")
def ingested(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Good files among bad ones, ingested; then from another folder under a new checkpoint, in two micro-batches."""
    root = tmp_path_factory.mktemp("bronze")
    source = root / "ddb" / "flights"
    bad = {
        write_lines(source, BAD_LINES[name][0], count=BAD_LINES[name][1], hour=f"dt=2013-01-02/HH={number:02d}").name
        for number, name in enumerate(("json broken off", "empty object", "version not padded", "fewer than named"))
    }
    bad.add(write_bytes(source, 2000, BAD_BYTES["truncated"]).name)
    write_records(source, RECORDS)
    write_records(source, [stream("x", 1, item("x"), source_table="weather"), stream("y", 1, item("y"))], hour="other")
    config = write_config(root)
    runs = [_run(source, root / "a", root / "bronze", config)]
    shutil.copytree(source, root / "copied")
    runs.append(_run(root / "copied", root / "b", root / "bronze", config, "--max-files", "4"))
    return Ingested(source, root / "bronze", config, bad, runs)


def _run(source: Path, checkpoint: Path, target: Path | str, config: Path, *more: str) -> Ran:
    arguments = ["--source", source, "--checkpoint", checkpoint, "--target", target, "--config", config, *more]
    return run_main(main, *arguments)


def test_every_field_of_every_record_is_there(spark: SparkSession, ingested: Ingested) -> None:
    def text(value: Any) -> Any:
        return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else value

    expected = [{name: text(record[name]) for name, _, _ in FIELDS} for record in [*RECORDS, stream("y", 1, item("y"))]]
    rows = ingested.rows(spark)
    found = [{name: row[name] for name, _, _ in FIELDS} for row in rows]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert [*rows[0]] == list(BRONZE_COLUMNS)
    assert {row["_ingest_date"] for row in rows} == {date(1970, 1, 1), date(1970, 1, 2)}
    assert all(
        (ingested.source / "dt=2013-01-01/HH=05" / row["_file"]).exists() for row in rows if row["key"] != "id=S:y"
    )


def test_files_that_come_again_add_nothing(ingested: Ingested) -> None:
    first, again = ingested.runs
    assert (first.status, again.status) == (0, 0)
    assert (first.batches[0]["records"], first.batches[0]["refused"], first.batches[0]["known"]) == (6, 1, 0)
    assert len(again.batches) == 2, "four files a micro-batch"
    assert sum(batch["records"] for batch in again.batches) == 0
    assert sum(batch["known"] for batch in again.batches) == 2


def test_the_table_has_one_commit_of_records_and_no_more(spark: SparkSession, ingested: Ingested) -> None:
    history = DeltaTable.forPath(spark, str(ingested.target)).history().collect()
    written = [int(row["operationMetrics"].get("numOutputRows", 0)) for row in history if row["operation"] == "MERGE"]
    assert [count for count in written if count] == [6]


def test_bad_files_and_bad_lines_are_kept_and_counted_once(spark: SparkSession, ingested: Ingested) -> None:
    files = spark.read.format("delta").load(f"{ingested.target}_bad_files").collect()
    names = Counter(row["path"].rsplit("/", 1)[1] for row in files if "/copied/" not in row["path"])
    assert names == Counter(ingested.bad)
    lines = [row["line"] for row in spark.read.format("delta").load(f"{ingested.target}_bad_lines").collect()]
    assert len(lines) == len(set(lines))
    kept = " ".join(lines)
    assert '{"schema":1,"key":"id=S:j2","new_' in lines, "broken off: the text as it stands"
    assert "{}" in lines
    assert '"version":"2013|9"' in kept
    first = ingested.runs[0]
    assert f"bad_files={len(ingested.bad)} bad_lines={len(lines)}" in first.last_line


def test_a_file_left_out_goes_in_whole_once_its_true_bytes_are_there(spark: SparkSession, tmp_path: Path) -> None:
    """A mirror that stopped half-way leaves a short file under the true name; the next one brings the rest."""
    target = str(tmp_path / "bronze")
    prepare_bronze(spark, target, TABLE)
    file = write_records(tmp_path, RECORDS)
    whole = file.read_bytes()
    for content, expected in ((whole[:-20], 0), (whole, 5)):
        file.write_bytes(content)
        listing = spark.createDataFrame([(f"file:{file}", f"file:{file}")], "path STRING, url STRING")
        done = append_micro_batch(listing, 0, target, TABLE)
        assert done is not None
        assert done.records == expected
    assert spark.read.format("delta").load(target).count() == 5


def test_a_table_of_another_source_is_refused(
    ingested: Ingested, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weather = write_config(tmp_path, source_table="weather")
    assert _run(ingested.source, tmp_path / "c", ingested.target, weather).status == 2
    assert "holds the records of flights" in capsys.readouterr().err
    assert _run(tmp_path / "nowhere", tmp_path / "c", ingested.target, ingested.config).status == 2
    assert "is not there" in capsys.readouterr().err
    assert _run(ingested.source, tmp_path / "c", ingested.target, ingested.config, "--views").status == 2
    assert "is a path" in capsys.readouterr().err


def test_rows_before_and_after(spark: SparkSession) -> None:
    def record(key: str, ingest_ms: int, file: str) -> dict[str, Any]:
        return dict.fromkeys(BRONZE_RECORD.names) | {"key": key, "ingest_time_ms": ingest_ms, "_file": file}

    schema = ", ".join([*(f"{f.name} {f.dataType.simpleString()}" for f in BRONZE_RECORD), "_file STRING"])
    before = spark.createDataFrame(
        [record("k", DAY_MS, "file:/a/f1"), record("l", DAY_MS - 1, "file:/a/f1"), record("m", 5, "file:/b/c/f2")],
        schema,
    )
    after = bronze_rows(before, {"f2"}).select("key", "ingest_time_ms", "_file", "_ingest_date").collect()
    assert [tuple(row) for row in after] == [
        ("k", DAY_MS, "f1", date(1970, 1, 2)),
        ("l", DAY_MS - 1, "f1", date(1970, 1, 1)),
    ]
    not_whole = before.where("key <> 'm'").selectExpr(
        "*", f"CASE WHEN key = 'k' THEN '{{\"schema\":1,\"k' END AS {CORRUPT}"
    )
    assert [tuple(row) for row in bad_lines_of(not_whole).collect()] == [
        ("f1", '{"schema":1,"k'),
        ("f1", f'{{"key":"l","ingest_time_ms":{DAY_MS - 1}}}'),
    ]


def test_images_as_plain_columns(spark: SparkSession) -> None:
    awkward = {
        "id": {"S": "k"},
        "v": {"N": "1.50"},
        "V": {"S": "x'y"},
        "_key": {"BOOL": True},
        "a`b.c\\": {"NULL": True},
    }
    records = _frame(spark, [stream("k", 1, awkward), stream("k", 2, None)])
    flat = flattened(records, [*awkward, "l"])
    assert flat.columns[7:] == ["id", "v", "V_2", "_key_2", "a`b.c\\", "l"]
    (upsert, delete) = flat.orderBy("_version").collect()
    assert tuple(upsert)[7:] == ("k", "1.50", "x'y", "true", None, None)
    assert tuple(delete)[7:] == ("k", None, None, None, None, None)
    assert (delete["_key"], delete["_is_deleted"], delete["_event_name"]) == ("id=S:k", True, "REMOVE")


def test_one_row_for_each_attribute_that_changed(spark: SparkSession) -> None:
    rows = changed_attributes(_frame(spark, RECORDS[:3])).orderBy("_version", "attribute").collect()
    assert [(row["attribute"], row["old"], row["new"]) for row in rows] == [
        ("id", None, "k"),
        ("tags", None, '{"SS":["a","b"]}'),
        ("v", None, "1.50"),
        ("tags", '{"SS":["a","b"]}', None),
        ("v", "1.50", "1E+2"),
        ("id", "k", None),
        ("v", "1E+2", None),
    ]


def test_the_views_say_what_the_functions_say(spark: SparkSession, tmp_path: Path) -> None:
    write_records(tmp_path / "source", RECORDS)
    config = write_config(tmp_path)
    assert _run(tmp_path / "source", tmp_path / "c", "flights_bronze", config, "--views").status == 0
    records = spark.table("flights_bronze")
    flat, changes = spark.table("flights_bronze_flat"), spark.table("flights_bronze_changes")
    assert sorted(flat.columns[7:]) == ["id", "tags", "v"]
    assert sorted(flat.collect(), key=str) == sorted(flattened(records, flat.columns[7:]).collect(), key=str)
    assert sorted(changes.collect(), key=str) == sorted(changed_attributes(records).collect(), key=str)
    with pytest.raises(Misconfigured, match="is a path"):
        make_views(spark, "/a/path")


def test_the_merge_reads_fewer_fields_of_the_same_record() -> None:
    assert [field for field in BRONZE_RECORD if field.name in RECORD.names] == RECORD.fields
    assert set(BRONZE_RECORD.names) - set(RECORD.names) == {"event_id", "old_image", "sequence_number", "size_bytes"}


def _frame(spark: SparkSession, records: list[Record]) -> Any:
    text = [
        [json.dumps(r[n], separators=(",", ":")) if isinstance(r[n], dict) else r[n] for n in BRONZE_RECORD.names]
        for r in records
    ]
    return spark.createDataFrame(text, BRONZE_RECORD)
