"""The job as a person runs it: exit statuses, replays, new checkpoints, crashes, views, stopping."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.silver.silver_reader import SilverRow, read_silver
from tests.spark.silver import Silver, run_job, write_config
from tests.support.independent_writer import item, stream, version, write_records

JOB = Path(__file__).parents[2] / "spark" / "jobs" / "merge_changes.py"
CLEAN = "stale=0 rescued=0 inexact=0 refused=0 bad_files=0"
RECORDS = [stream(f"k{n % 40}", n + 1, item(f"k{n % 40}", v={"N": str(n)}) if n % 7 else None) for n in range(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def merged(spark: SparkSession, folder: Path) -> Silver:
    """Two files in `source` merged into `silver` by the job, one a micro-batch, under the checkpoint `a`."""
    source = folder / "source"
    write_records(source, RECORDS[:120], hour="dt=2013-01-01/HH=05")
    write_records(source, RECORDS[120:], hour="dt=2013-01-01/HH=06")
    config = write_config(folder, ["id: string", "v: int"])
    done = run_job(source, folder / "a", folder / "silver", config, "--max-files", "1")
    assert (done.status, done.last_line, len(done.batches)) == (
        0,
        "stale=0 rescued=0 inexact=0 refused=0 bad_files=0",
        2,
    )
    silver = Silver(spark, str(folder / "silver"), None)  # type: ignore[arg-type]
    assert len(silver.rows()) == 40
    return silver


def test_the_same_files_again_change_nothing(spark: SparkSession, merged: Silver, folder: Path) -> None:
    def again(checkpoint: str, source: str = "source") -> int:
        done = run_job(folder / source, folder / checkpoint, folder / "silver", folder / "silver.yaml")
        assert done.status == 0
        assert all(batch["inserted"] == batch["updated"] == 0 for batch in done.batches)
        return len(done.batches)

    before, rows = merged.version(), merged.rows()
    files = set(spark.read.format("delta").load(merged.path).inputFiles())

    assert again("a") == 0, "the checkpoint knows the files"
    assert again("b") == 1, "a new checkpoint takes them again"
    # A driver killed after Delta's commit and before Spark's: the offsets are there, the commit is not.
    (folder / "a" / "commits" / "1").unlink()
    (folder / "a" / "commits" / ".1.crc").unlink(missing_ok=True)
    assert again("a") == 1, "the micro-batch is replayed"
    # A flusher killed after its put and before its delete: the same messages come again in other groups.
    regrouped = random.Random(1).sample(RECORDS, len(RECORDS))
    write_records(folder / "source", regrouped[:50], hour="dt=2013-01-01/HH=07")
    write_records(folder / "source", regrouped[50:], hour="dt=2013-01-01/HH=08")
    assert again("a") == 1

    assert merged.changes(before) == [], "nothing is added to the change feed"
    assert merged.rows() == rows
    assert set(spark.read.format("delta").load(merged.path).inputFiles()) == files, "no file is rewritten"


@pytest.mark.soak
def test_a_rebuild_from_the_files_equals_the_live_table(merged: Silver, folder: Path) -> None:
    done = run_job(folder / "source", folder / "rebuild", folder / "rebuilt", folder / "silver.yaml")
    assert done.status == 0
    assert Silver(merged.spark, str(folder / "rebuilt"), merged.config).rows() == merged.rows()


def test_silver_is_read_back_for_verify(spark: SparkSession, merged: Silver) -> None:
    rows = {row.key: row for row in read_silver(spark, merged.path)}
    assert len(rows) == 40
    # 196 = 4 * 40 + 36 is divisible by 7, so k36 was removed last; k39 was written last by record 199.
    assert rows["id=S:k39"] == SilverRow(
        "id=S:k39", '{"id":{"S":"k39"},"v":{"N":"199"}}', version(200), "", 1000, False
    )
    assert rows["id=S:k36"] == SilverRow("id=S:k36", None, version(197), "", 1000, True)
    again = list(read_silver(spark, merged.path, keys=["id=S:k39", "id=S:nowhere"]))
    assert again == [rows["id=S:k39"]]


def test_a_checkpoint_serves_one_table_only(merged: Silver, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the second target would miss every file that the first has had, without a word."""
    done = run_job(folder / "source", folder / "a", folder / "second", folder / "silver.yaml")
    assert done.status == 2
    assert "give a new checkpoint" in capsys.readouterr().err


def test_another_configuration_is_refused(
    merged: Silver, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for columns, table in ((["id: string"], "flights"), (["id: string", "v: int"], "weather")):
        config = write_config(tmp_path, columns, source_table=table)
        assert run_job(folder / "source", folder / "a", folder / "silver", config).status == 2
        assert "the configuration says" in capsys.readouterr().err


def test_a_missing_source_is_refused_and_an_empty_one_is_fine(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    assert run_job(tmp_path / "nowhere", tmp_path / "c", tmp_path / "silver", config).status == 2
    assert "is not there" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    done = run_job(tmp_path / "empty", tmp_path / "c", tmp_path / "silver", config)
    assert (done.status, done.last_line) == (0, CLEAN)
    assert list(read_silver(spark, str(tmp_path / "silver"))) == []


@pytest.mark.soak
def test_a_table_by_name_has_a_view_without_tombstones(spark: SparkSession, tmp_path: Path) -> None:
    records = [stream("here", 1, item("here", v={"N": "1.5"})), stream("gone", 1, None)]
    write_records(tmp_path / "source", records)
    config = write_config(tmp_path, ["id: string", "v: int"])
    done = run_job(tmp_path / "source", tmp_path / "c", "flights_silver", config)
    assert (done.status, done.last_line) == (0, "stale=0 rescued=0 inexact=1 refused=0 bad_files=0")
    assert {row["id"] for row in spark.table("flights_silver").collect()} == {"here", "gone"}
    assert {row["id"] for row in spark.table("flights_silver_current").collect()} == {"here"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "wrong.yaml"], "unknown setting colums"),
        (["--config", "nowhere.yaml"], "cannot read the configuration"),
        (["--config", "right.yaml", "--trigger", "sometimes"], "use available-now"),
        ([], "--config"),
    ],
)
def test_a_mistake_ends_with_status_2_before_spark_starts(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "wrong.yaml").write_text("source_table: flights\ncolums: {}\n")
    (tmp_path / "right.yaml").write_text("source_table: flights\n")
    paths = [word for name in ("source", "checkpoint", "target") for word in (f"--{name}", str(tmp_path / name))]
    done = subprocess.run(
        [sys.executable, str(JOB), *paths, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.classic("starts a session of its own in the job's process")
@pytest.mark.soak
def test_plain_python_runs_the_job_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """Its own process, its own Spark: files arrive while it runs, and SIGTERM ends it with the totals."""
    source = tmp_path / "source"
    write_records(source, RECORDS[:100])
    config = write_config(tmp_path, ["id: string"])
    command = [sys.executable, str(JOB), "--trigger", "processing-time=200ms", "--config", str(config)]
    command += ["--source", str(source), "--checkpoint", str(tmp_path / "c"), "--target", str(tmp_path / "silver")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        assert json.loads(job.stdout.readline())["records"] == 100
        write_records(source, RECORDS[100:], hour="dt=2013-01-01/HH=06")
        assert json.loads(job.stdout.readline())["records"] == 100
        job.send_signal(signal.SIGTERM)
        rest, errors = job.communicate(timeout=120)
    assert (job.returncode, errors) == (0, "")
    sums, sentence = rest.splitlines()
    assert sums == CLEAN
    # Record n is of key n % 40: the second file has all of the first's keys, and no other.
    told = rf"merged 200 records into {tmp_path}/silver, 2 merges, \d+ s \(40 rows new, 40 changed\)"
    assert re.fullmatch(told, sentence), sentence
    assert not os.path.exists(tmp_path / "spark-warehouse")
