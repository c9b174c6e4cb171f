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

from lakebound.record.envelope import FIELDS
from lakebound_spark.bronze.bronze_table import BRONZE_COLUMNS, bad_lines_of, bronze_rows
from lakebound_spark.bronze.flat_views import attribute_changes, flatten_images
from lakebound_spark.jobs.ingest_bronze import main
from lakebound_spark.reading.schema import BRONZE_RECORD, CORRUPT, RECORD
from lakebound_spark.silver.config import load_any_config, of_table
from lakebound_spark.upkeep.maintenance import UpkeepJob, maintain, sort_by_key
from tests.spark.bad_lines import BAD_LINES
from tests.spark.jobs import Ran, bronze_frame, run_main
from tests.spark.silver import write_config
from tests.support.independent_writer import base, item, stream, write_lines, write_records

DAY_MS = 86_400_000
OLD = item("k", v={"N": "1.50"}, tags={"SS": ["a", "b"]})
RECORDS = [
    stream("k", 1, OLD, time_ms=1000, event_name="INSERT", size_bytes=12),
    stream("k", 2, item("k", v={"N": "1E+2"}), time_ms=DAY_MS, old_image=OLD),
    stream("k", 3, None, time_ms=DAY_MS, old_image=item("k", v={"N": "1E+2"}), ttl_expired=True),
    base("m", 5000, item("m")),
    base("n", 5000, None, origin="sweep"),
]


BRONZE = "flights_bronze"


@dataclass(frozen=True, slots=True)
class Ingested:
    """Two runs of the job into the table BRONZE. ``restored`` was truncated in the first and is whole in the second."""

    source: Path
    config: Path
    bad: set[str]
    restored: str
    runs: list[Ran]

    def rows(self, spark: SparkSession) -> list[dict[str, Any]]:
        return [row.asDict() for row in spark.table(BRONZE).collect()]


@pytest.fixture(scope="module")
def ingested(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    """Good files among bad ones; then all of them from another folder under a new checkpoint."""
    root = tmp_path_factory.mktemp("bronze")
    source = root / "ddb" / "flights"
    cases = [BAD_LINES[name][0] for name in ("json broken off", "empty object", "version not padded")]
    lines = [line for case in cases for line in case]
    fewer, count, _ = BAD_LINES["fewer than named"]
    bad = {write_lines(source, lines, hour="bad").name, write_lines(source, fewer, count=count, hour="fewer").name}
    # A mirror that stopped half-way leaves a short file under the true name; the next one brings the rest.
    late = write_records(source, [stream(f"late-{n}", n + 1, item(f"late-{n}")) for n in range(400)], hour="late")
    whole = late.read_bytes()
    late.write_bytes(whole[: len(whole) // 2])
    write_records(source, RECORDS)
    write_records(source, [stream("x", 1, item("x"), source_table="weather"), stream("y", 1, item("y"))], hour="other")
    config = write_config(root)
    runs = [_run(source, root / "a", BRONZE, config)]
    shutil.copytree(source, root / "copied")
    (root / "copied" / "late" / late.name).write_bytes(whole)
    runs.append(_run(root / "copied", root / "b", BRONZE, config, "--views"))
    return Ingested(source, config, bad, late.name, runs)


def _run(source: Path, checkpoint: Path, target: Path | str, config: Path, *more: str) -> Ran:
    arguments = ["--source", source, "--checkpoint", checkpoint, "--target", target, "--config", config, *more]
    return run_main(main, *arguments)


def test_every_field_of_every_record_is_there(spark: SparkSession, ingested: Ingested) -> None:
    def text(value: Any) -> Any:
        return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else value

    expected = [{name: text(record[name]) for name, _, _ in FIELDS} for record in [*RECORDS, stream("y", 1, item("y"))]]
    rows = [row for row in ingested.rows(spark) if row["_file"] != ingested.restored]
    found = [{name: row[name] for name, _, _ in FIELDS} for row in rows]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert [*rows[0]] == list(BRONZE_COLUMNS)
    assert {row["_ingest_date"] for row in rows} == {date(1970, 1, 1), date(1970, 1, 2)}
    files = {path.name for path in ingested.source.rglob("*.gz")}
    assert {row["_file"] for row in rows} == files - ingested.bad - {ingested.restored}


def test_files_that_come_again_add_nothing_and_a_restored_one_goes_in_whole(
    spark: SparkSession, ingested: Ingested
) -> None:
    first, again = ingested.runs
    assert (first.status, again.status) == (0, 0)
    assert (first.batches[0]["records"], first.batches[0]["refused"], first.batches[0]["known"]) == (6, 1, 0)
    assert (again.batches[0]["records"], again.batches[0]["known"]) == (400, 2)
    restored = [row["key"] for row in ingested.rows(spark) if row["_file"] == ingested.restored]
    assert sorted(restored) == sorted(f"id=S:late-{n}" for n in range(400))


def test_bad_files_and_bad_lines_are_kept_and_counted_once(spark: SparkSession, ingested: Ingested) -> None:
    files = spark.table(f"{BRONZE}_bad_files").collect()
    names = Counter(row["path"].rsplit("/", 1)[1] for row in files if "/copied/" not in row["path"])
    assert names == Counter({*ingested.bad, ingested.restored})
    lines = [row["line"] for row in spark.table(f"{BRONZE}_bad_lines").collect()]
    assert len(lines) == len(set(lines)) == 3
    assert '{"schema":1,"key":"id=S:j2","new_' in lines, "broken off: the text as it stands"
    assert "{}" in lines
    assert '"version":"2013|9"' in " ".join(lines)
    assert f"bad_files={len(ingested.bad) + 1} bad_lines=3" in ingested.runs[0].last_line


@pytest.mark.soak
def test_maintenance_takes_bronze_and_sorts_the_day_that_has_ended(spark: SparkSession, ingested: Ingested) -> None:
    before = ingested.rows(spark)
    job = UpkeepJob(BRONZE, of_table(load_any_config(str(ingested.config)), str(ingested.config), BRONZE), dry_run=True)
    assert next(maintain(spark, job, 0)).table == BRONZE
    sort_by_key(spark, BRONZE, 2 * DAY_MS + 1)
    (commit,) = DeltaTable.forName(spark, BRONZE).history(1).collect()
    assert commit["operationParameters"]["zOrderBy"] == '["key"]'
    assert "1970-01-02" in commit["operationParameters"]["predicate"]
    assert sorted(ingested.rows(spark), key=str) == sorted(before, key=str)


def test_a_table_of_another_source_is_refused(
    ingested: Ingested, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weather = write_config(tmp_path, source_table="weather")
    assert _run(ingested.source, tmp_path / "c", BRONZE, weather).status == 2
    assert "holds the records of flights" in capsys.readouterr().err
    assert _run(tmp_path / "nowhere", tmp_path / "c", BRONZE, ingested.config).status == 2
    assert "is not there" in capsys.readouterr().err


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
    records = bronze_frame(spark, [stream("k", 1, awkward), stream("k", 2, None)])
    flat = flatten_images(records, [*awkward, "l"])
    assert flat.columns[7:] == ["id", "v", "V_2", "_key_2", "a`b.c\\", "l"]
    (upsert, delete) = flat.orderBy("_version").collect()
    assert tuple(upsert)[7:] == ("k", "1.50", "x'y", "true", None, None)
    assert tuple(delete)[7:] == ("k", None, None, None, None, None)
    assert (delete["_key"], delete["_is_deleted"], delete["_event_name"]) == ("id=S:k", True, "REMOVE")


def test_one_row_for_each_attribute_that_changed(spark: SparkSession) -> None:
    rows = attribute_changes(bronze_frame(spark, RECORDS[:3])).orderBy("_version", "attribute").collect()
    assert [(row["attribute"], row["old"], row["new"]) for row in rows] == [
        ("id", None, "k"),
        ("tags", None, '{"SS":["a","b"]}'),
        ("v", None, "1.50"),
        ("tags", '{"SS":["a","b"]}', None),
        ("v", "1.50", "1E+2"),
        ("id", "k", None),
        ("v", "1E+2", None),
    ]


def test_the_views_say_what_the_functions_say(spark: SparkSession, ingested: Ingested) -> None:
    records = spark.table(BRONZE)
    flat, changes = spark.table(f"{BRONZE}_flat"), spark.table(f"{BRONZE}_changes")
    assert sorted(flat.columns[7:]) == ["id", "tags", "v"]
    assert sorted(flat.collect(), key=str) == sorted(flatten_images(records, flat.columns[7:]).collect(), key=str)
    assert sorted(changes.collect(), key=str) == sorted(attribute_changes(records).collect(), key=str)


def test_the_merge_reads_fewer_fields_of_the_same_record() -> None:
    assert [field for field in BRONZE_RECORD if field.name in RECORD.names] == RECORD.fields
    assert set(BRONZE_RECORD.names) - set(RECORD.names) == {"event_id", "old_image", "sequence_number", "size_bytes"}
