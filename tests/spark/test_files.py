"""A file with a doubt is left out whole and named; its neighbours are merged; an outage is not a bad file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, SparkSession

from lakebound_spark.reading import one_pass
from lakebound_spark.reading.files import (
    COUNT,
    DAMAGED,
    DIGEST,
    MISSING,
    NOT_WHOLE,
    BadFile,
    CheckedRecords,
    checked_records,
    compare_with_name,
    damage_reason,
    prove_files,
)
from lakebound_spark.reading.one_pass import read_once
from lakebound_spark.reading.schema import RECORD
from lakebound_spark.reading.source import DataFile, parse_data_file
from tests.spark.bad_lines import BAD_LINES, one
from tests.spark.silver import JobRun, Silver, data_files_at, run_job, write_config
from tests.support.independent_writer import (
    TABLE,
    base,
    file_name,
    item,
    line,
    stream,
    write_bytes,
    write_lines,
    write_records,
)

MANY = [line(stream(f"many-{n}", n + 1, item(f"many-{n}", t={"S": "x" * 50}))) for n in range(2000)]
WHOLE_GZIP = gzip.compress("".join(MANY).encode())


FLIPPED = bytearray(WHOLE_GZIP)
FLIPPED[len(FLIPPED) // 2] ^= 4
WRONG_CRC = bytearray(WHOLE_GZIP)
WRONG_CRC[-6] ^= 1

BAD_BYTES: dict[str, bytes] = {
    "truncated": WHOLE_GZIP[: len(WHOLE_GZIP) // 2],
    "one bit flipped": bytes(FLIPPED),
    "checksum differs": bytes(WRONG_CRC),
    "garbage behind the gzip": WHOLE_GZIP + b"garbage",
    "no gzip at all": b"neither gzip nor JSON",
}


@dataclass(frozen=True, slots=True)
class Folder:
    source: Path
    target: Path
    config: Path
    bad: dict[str, str]
    run: JobRun


@pytest.fixture(scope="module")
def folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Good files among bad ones, merged."""
    root = tmp_path_factory.mktemp("files")
    source = root / "ddb" / "flights"
    bad: dict[str, str] = {}
    for number, (name, (lines, count, reason)) in enumerate(BAD_LINES.items()):
        bad[str(write_lines(source, lines, count=count, hour=f"dt=2013-01-02/HH={number:02d}"))] = reason
        assert name
    for number, content in enumerate(BAD_BYTES.values()):
        bad[str(write_bytes(source, 2000, content, hour=f"dt=2013-01-03/HH={number:02d}"))] = DAMAGED
    bad[str(write_bytes(source, 1, gzip.compress(b""), hour="dt=2013-01-04/HH=00"))] = COUNT
    write_records(source, [stream("victim", 1, item("victim")), stream("good", 1, item("good"))])
    foreign = [stream("strange", 1, item("strange"), source_table="weather"), stream("mixed", 1, item("mixed"))]
    write_records(source, foreign, hour="dt=2013-01-01/HH=06")
    # Below the prefix a person may choose other folders, and names that a path pattern would take apart.
    write_records(source, [stream("odd-folder", 1, item("odd-folder"))], hour="we[i]{r}d/é%41 x")
    write_lines(source, MANY, hour="ingest_dt=2013-01-01/hour=07")
    write_bytes(source, 0, b"", hour="dt=2013-01-01/HH=08")  # a count of 0 is no batch file's name
    (source / "dt=2013-01-01" / "notes.ndjson.gz").write_bytes(gzip.compress(one("notes").encode()))
    (source / "dt=2013-01-01" / "_SUCCESS").write_text("")
    config = write_config(root)
    run = run_job(source, root / "checkpoint", root / "silver", config)
    return Folder(source, root / "silver", config, bad, run)


def test_only_whole_files_reach_silver(spark: SparkSession, folder: Folder) -> None:
    keys = set(Silver(spark, str(folder.target), None).rows())  # type: ignore[arg-type]
    expected = {"victim", "good", "mixed", "odd-folder"} | {f"many-{n}" for n in range(2000)}
    assert keys == {f"id=S:{key}" for key in expected}


def test_no_bad_line_touched_the_victim(spark: SparkSession, folder: Folder) -> None:
    row = Silver(spark, str(folder.target), None).rows()["id=S:victim"]  # type: ignore[arg-type]
    assert row["_item"] == '{"id":{"S":"victim"}}'
    assert row["_version"].endswith("|" + "1".zfill(40))


def test_every_bad_file_is_named_once_with_its_reason(spark: SparkSession, folder: Folder) -> None:
    noted = spark.read.format("delta").load(f"{folder.target}_bad_files").collect()
    assert {row["path"].removeprefix("file:"): row["reason"] for row in noted} == folder.bad
    assert len(noted) == len(folder.bad)
    assert all(row["detected_at"] is not None for row in noted)


def test_the_job_ends_well_and_says_what_it_left_out(folder: Folder) -> None:
    said = f"stale=0 rescued=0 inexact=0 refused=1 bad_files={len(folder.bad)}"
    assert (folder.run.status, folder.run.last_line) == (0, said)
    (batch,) = folder.run.batches
    assert (batch["records"], batch["keys"], batch["inserted"]) == (2004, 2004, 2004)
    assert batch["files"] == len(folder.bad) + 4


@pytest.mark.soak
def test_bad_files_that_come_again_are_noted_once(spark: SparkSession, folder: Folder, tmp_path: Path) -> None:
    """Under a new checkpoint, no more files a micro-batch than asked for."""
    again = run_job(folder.source, tmp_path / "checkpoint", folder.target, folder.config, "--max-files", "15")
    assert (again.status, again.last_line) == (0, folder.run.last_line)
    assert len(again.batches) == 2
    assert all(batch["files"] <= 15 and batch["inserted"] == batch["updated"] == 0 for batch in again.batches)
    test_every_bad_file_is_named_once_with_its_reason(spark, folder)


@pytest.mark.soak
def test_a_file_that_vanished_is_noted_and_the_rest_is_merged(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    gone = write_records(tmp_path, [stream("gone", 1, item("gone"))], hour="a")
    stays = write_records(tmp_path, [stream("stays", 1, item("stays"))], hour="b")
    gone.unlink()
    done = silver.merge(gone, stays)
    assert (done.bad_files, done.records) == (1, 1)
    assert set(silver.rows()) == {"id=S:stays"}
    (noted,) = spark.read.format("delta").load(f"{silver.path}_bad_files").collect()
    assert noted["reason"] == MISSING


@pytest.mark.soak
@pytest.mark.parametrize("ext", ["parquet", "avro"])
def test_parquet_and_avro_are_the_same_records(spark: SparkSession, tmp_path: Path, ext: str) -> None:
    records = [stream("k", 1, item("k", n={"N": "1.50"})), stream("k", 2, None), base("m", 5000, item("m"))]
    text = [
        {**r, "keys": json.dumps(r["keys"]), "new_image": r["new_image"] and json.dumps(r["new_image"])}
        for r in records
    ]
    frame = spark.createDataFrame([[row[name] for name in RECORD.names] for row in text], RECORD)
    frame.coalesce(1).write.format(ext).save(str(tmp_path / "written"))
    content = next((tmp_path / "written").glob(f"*.{ext}")).read_bytes()
    silver = Silver.create(spark, tmp_path / "silver", {})
    whole = write_bytes(tmp_path, 3, content, ext=ext)
    cut = write_bytes(tmp_path, 3, content[:-40], ext=ext)
    short = write_bytes(tmp_path, 4, content, ext=ext)
    assert silver.merge(whole, cut, short).bad_files == 2
    rows = silver.rows()
    assert {key: row["_is_deleted"] for key, row in rows.items()} == {"id=S:k": True, "id=S:m": False}
    noted = spark.read.format("delta").load(f"{silver.path}_bad_files").collect()
    assert {row["path"].removeprefix("file:"): row["reason"] for row in noted} == {str(cut): DAMAGED, str(short): COUNT}


@pytest.mark.parametrize("how", ["cut", "edited", "renamed", "copied"])
def test_a_file_of_other_bytes_is_left_out_though_its_count_fits(spark: SparkSession, tmp_path: Path, how: str) -> None:
    """Each of them holds one whole record, as its name says: only the digest tells."""
    silver = Silver.create(spark, tmp_path / "silver", {})
    file, other = (write_records(tmp_path, [stream(name, 1, item(name))]) for name in ("a", "b"))
    body = file.read_bytes()
    match how:
        case "cut":  # an empty member is missing behind the record
            file = write_bytes(tmp_path, 1, body + gzip.compress(b""))
            file.write_bytes(body)
        case "edited":
            file.write_bytes(gzip.compress(gzip.decompress(body).replace(b'"S":"a"', b'"S":"c"')))
        case "renamed":
            file = file.rename(file.with_name(file_name(1, b"another")))
        case "copied":
            file.write_bytes(other.read_bytes())
    done = silver.merge(file, other)
    assert (done.files, done.bad_files, done.records) == (2, 1, 1)
    assert {key: row["_item"] for key, row in silver.rows().items()} == {"id=S:b": '{"id":{"S":"b"}}'}
    (noted,) = spark.read.format("delta").load(f"{silver.path}_bad_files").collect()
    assert (noted["path"], noted["reason"], noted["records_named"]) == (f"file:{file}", DIGEST, 1)


def test_records_of_whole_files_are_used_once(spark: SparkSession, tmp_path: Path) -> None:
    """And again where a writer's fault shows up: after files were left out, or where a name tells another origin."""
    live, other = (write_records(tmp_path, [stream(key, 1, item(key))]) for key in ("a", "b"))
    read = write_records(tmp_path, [base("c", 99_000, item("c"))])
    twice = one("d").rstrip() + "\n" + one("e")
    more, fewer = (write_lines(tmp_path, [text], count=count) for text, count in ((twice, 1), (one("f"), 2)))
    cases = {
        (live, other): [({"a", "b"}, {"stream"})],
        (live, read): [({"a", "c"}, {"stream"}), ({"a", "c"}, {"stream", "base"})],
        (live, more, fewer): [({"a", "d", "e", "f"}, {"stream"}), ({"a"}, {"stream"})],
    }
    for files, expected in cases.items():
        uses: list[tuple[set[str], set[str]]] = []

        def use(records: DataFrame, registers: Collection[str], uses: list[Any] = uses) -> DataFrame:
            uses.append(({row["key"].removeprefix("id=S:") for row in records.collect()}, set(registers)))
            return records

        found, held = read_once(spark, data_files_at(files), TABLE, use)
        assert (uses, held is None) == (expected, False)
        counted = checked_records(spark, data_files_at(files), TABLE)
        assert replace(found, records=None) == replace(counted, records=None)


def test_counts_that_do_not_arrive_are_counted_again(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a busy server of Spark Connect."""

    class Unheard(Observation):
        @property
        def get(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(one_pass, "Observation", Unheard)
    files = data_files_at([write_records(tmp_path, [stream("a", 1, item("a"))])])
    found, held = read_once(spark, files, TABLE, lambda records, registers: records)
    assert (found.count, found.registers, held is None) == (1, ("stream",), False)


def test_a_file_that_vanishes_after_its_digest_was_proven_is_left_out(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = (write_records(tmp_path, [stream(key, 1, item(key))]) for key in ("gone", "stays"))

    def prove_and_lose(spark: SparkSession, files: Sequence[DataFile]) -> tuple[list[DataFile], list[BadFile]]:
        proven = prove_files(spark, files)
        gone.unlink()
        return proven

    monkeypatch.setattr(one_pass, "prove_files", prove_and_lose)
    found, held = read_once(spark, data_files_at([gone, stays]), TABLE, lambda records, registers: records)
    assert (found.bad_files, found.count) == ((BadFile(f"file:{gone}", MISSING, 1),), 1)
    assert held is not None
    assert [row["key"] for row in held.collect()] == ["id=S:stays"]


def test_the_registers_that_whole_files_feed_are_counted(spark: SparkSession, tmp_path: Path) -> None:
    """A register that seems to have no record gets no clause in the MERGE."""
    live = write_records(tmp_path, [stream("a", 1, item("a")), stream("other", 1, item("o")) | {"source_table": "x"}])
    read = write_records(tmp_path, [base("b", 99_000, item("b")), base("c", 99_000, None)])
    broken = write_lines(tmp_path, [line(base("d", 99_000, item("d"))), "{}\n"])
    for files, expected in (([live, broken], ("stream",)), ([read], ("base",)), ([live, read], ("stream", "base"))):
        assert checked_records(spark, data_files_at(files), TABLE).registers == expected


def test_no_record_feeds_no_register() -> None:
    assert CheckedRecords(None, 0, 0, (), None, None).registers == ()


def test_an_outage_is_no_bad_file() -> None:
    outages = ["SlowDown: please reduce your request rate", "Connection reset", "java.lang.OutOfMemoryError"]
    assert [damage_reason(PySparkException(words)) for words in outages] == [None, None, None]
    assert damage_reason(PySparkException("Caused by: java.io.EOFException: Unexpected end of input stream")) == DAMAGED


def test_the_count_in_the_name_decides() -> None:
    file = DataFile("p", "u", 3, "ndjson.gz")
    assert compare_with_name(file, 3, 3) is None
    assert [
        getattr(compare_with_name(file, *counts), "reason", None) for counts in ((2, 2), (4, 4), (3, 2), (0, 0))
    ] == [COUNT, COUNT, NOT_WHOLE, COUNT]


@pytest.mark.parametrize(
    "name",
    [
        "notes.ndjson.gz",
        "_SUCCESS",
        ".stream-20130101T050000000Z-1-0123456789abcdef0123456789abcdef.ndjson.gz.part",
        "stream-20130101T050000000Z-1-0123456789abcdef0123456789abcdef.json",
        "stream-20130101T050000000Z-x-0123456789abcdef0123456789abcdef.ndjson.gz",
    ],
)
def test_other_names_are_not_data(name: str) -> None:
    assert parse_data_file(f"file:/p/{name}", "") is None
    assert parse_data_file(f"file:/p/{file_name(7, b'', time_ms=1_357_000_000_123)}", "").count == 7  # type: ignore[union-attr]
    assert TABLE
