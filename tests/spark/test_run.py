"""One driver a lake: every step of each table, a broken table beside a whole one, kills, restarts, leases."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from pyspark.sql import SparkSession

from lakebound_spark.jobs import merge_changes
from lakebound_spark.jobs import run as run_job
from lakebound_spark.lake import turns
from lakebound_spark.platform import lease as leases
from lakebound_spark.platform.lease import held, leases_on_s3
from lakebound_spark.platform.tables import read_table
from lakebound_spark.silver.live_rows import live_rows
from tests.spark.jobs import Ran, run_main
from tests.spark.lakes import Lake
from tests.support.independent_writer import item, stream, write_records

ROOT = Path(__file__).parents[2]
JOB = ROOT / "spark" / "jobs" / "run.py"


def run(lake: Lake, *more: str) -> Ran:
    return run_main(run_job.main, "--config", lake.yaml, *more)


def ends(ran: Ran) -> list[tuple[str, str, str]]:
    """Each step that ran, with its table's name and how it ended."""
    return [(line["step"], Path(line["table"]).name, line["end"]) for line in ran.batches]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two tables, of which one has no files and never will. The soak has history and upkeep, which take long."""
    lake = Lake.of(tmp_path_factory.mktemp("lake"), "whole", files=1)
    some = {"history": False, "maintain": False, "audit": {"days": 0}}
    lake.write([lake.entry(name, **some) for name in ("broken", "whole")])
    return lake


@pytest.fixture(scope="module")
def first(spark: SparkSession, lake: Lake) -> Ran:
    return run(lake, "--once", "--json")


@pytest.mark.soak
def test_a_broken_table_stops_no_other_and_the_status_tells_it(spark: SparkSession, lake: Lake, first: Ran) -> None:
    steps = ("bronze", "silver", "audit")
    assert [end for end in ends(first) if end[1] == "broken"] == [(step, "broken", "failed") for step in steps]
    # These histories have gaps, in which changes were lost before they were delivered: the audit is to find that.
    whole = ("done", "done", "problem")
    assert [end for end in ends(first) if end[1] == "whole"] == list(zip(steps, ["whole"] * 3, whole, strict=True))
    assert first.status == 2, "a person has to set the source right"
    assert first.sentence.startswith("ran 6 steps of 2 tables, ")
    assert first.sentence.endswith(f"; something is wrong: audit of {lake.target('whole')}")
    assert f"failed at the last try: bronze of {lake.target('broken')}, silver of" in first.sentence
    (told,) = [line["said"] for line in first.batches if (line["step"], line["end"]) == ("silver", "failed")]
    assert told[0].endswith("is not there; give the folder that holds the hour partitions")


@pytest.mark.soak
def test_the_other_table_equals_the_reference(spark: SparkSession, lake: Lake, first: Ran) -> None:
    assert lake.shown(spark, "whole") == lake.expected("whole")
    bronze = read_table(spark, lake.target("whole_bronze"))
    assert bronze.select("version", "snapshot_label_ms", "snapshot_run", "key").distinct().count() == len(
        {(r["version"], r["snapshot_label_ms"], r["snapshot_run"], r["key"]) for r in lake.records["whole"]}
    )


@pytest.mark.soak
def test_a_driver_that_starts_again_repeats_no_daily_step(spark: SparkSession, lake: Lake, first: Ran) -> None:
    again = run(lake, "--once", "--json")
    whole = [(step, end) for step, table, end in ends(again) if table == "whole"]
    assert whole == [("bronze", "done"), ("silver", "done")]
    assert lake.shown(spark, "whole") == lake.expected("whole")


@pytest.mark.soak
def test_a_dry_run_tells_what_is_due_and_writes_nothing(spark: SparkSession, lake: Lake, first: Ran) -> None:
    before = sorted(lake.folder.rglob("*"))
    told = run(lake, "--dry-run")
    assert told.status == 0
    assert sorted(lake.folder.rglob("*")) == before
    # `sentence` is the last line: the audit of the whole table, done a moment ago.
    assert told.sentence.split()[:3] == ["audit", "at", "04:30"]
    assert told.sentence.split()[-3:-1] != ["now", "now"]
    assert told.sentence.endswith(lake.target("whole"))


@pytest.mark.soak
def test_appends_go_on_while_their_merge_fails(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake.of(tmp_path, "a", bronze=False, history=False, maintain=False, silver={"merge_every": "1s"})
    table = f"delta.`{lake.target('a')}`"
    assert run(lake, "--once").status == 0
    spark.sql(f"ALTER TABLE {table} ADD CONSTRAINT nothing_new CHECK (_key <> 'id=S:new')")
    record = stream("new", 1, item("new", v={"N": "1"}))
    write_records(tmp_path / "source" / "a", [record], hour="dt=2013-01-02/HH=00")
    lake.records["a"].append(record)
    for _ in range(2):
        assert run(lake, "--once").status == 1
        assert "could not be merged (DELTA_VIOLATE_CONSTRAINT_WITH_VALUES" in capsys.readouterr().err
        shown = live_rows(spark, lake.target("a")).where("NOT _is_deleted").collect()
        assert {row["_key"]: json.loads(row["_item"]) for row in shown} == lake.expected("a")
        assert "id=S:new" not in lake.shown(spark, "a")
    spark.sql(f"ALTER TABLE {table} DROP CONSTRAINT nothing_new")
    assert run(lake, "--once").status == 0
    assert lake.shown(spark, "a") == lake.expected("a")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "wrong.yaml"], r"run: wrong\.yaml: entry 1 \(a\): unknown setting sliver"),
        (["--config", "nowhere.yaml"], "run: cannot read the configuration nowhere.yaml"),
        (["--config", "wrong.yaml", "--fail-after", "soon"], "soon is no interval; write 30s, 5m, 2h, 1d or 0"),
        (["--config", "wrong.yaml", "--parallel", "0"], "0 is no whole number from 1 on"),
        ([], "--config"),
    ],
)
def test_a_mistake_ends_with_status_2_before_spark_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text("tables: [{target: a, sliver: {}}]")
    monkeypatch.setattr("lakebound_spark.jobs.run.run_job", lambda *_, **__: pytest.fail("it started"))
    try:
        status = run_job.main(arguments)
    except SystemExit as left:
        status = int(str(left.code))
    assert status == 2
    assert says.replace("\\", "") in capsys.readouterr().err


# ── processes of their own ──


@contextmanager
def driver(lake: Lake) -> Iterator[subprocess.Popen[str]]:
    """The driver as a process that goes on, with its lines for machines; with all it started in one group."""
    command = [sys.executable, str(JOB), "--config", str(lake.yaml), "--json"]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))
    with (
        open(lake.folder / "errors", "w") as errors,
        subprocess.Popen(
            command,
            cwd=lake.folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(process: subprocess.Popen[str], step: str, table: str, *, records: int = 0) -> None:
    """Read what the driver prints until it tells that the step of the table is done, with so many records in all."""
    assert process.stdout is not None
    seen = 0
    for text in process.stdout:
        line = json.loads(text)
        if (line["step"], Path(line["table"]).name, line["end"]) == (step, table, "done"):
            seen += line["counts"].get("records", 0)
            if seen >= records:
                return
    pytest.fail(f"the driver ended before {step} of {table} had {records} records")


@pytest.mark.soak
@pytest.mark.classic("starts Spark in a process of its own")
@pytest.mark.parametrize("step", ["bronze", "silver", "history", "maintain", "audit"])
def test_a_driver_killed_between_two_steps_goes_on_where_it_was(spark: SparkSession, tmp_path: Path, step: str) -> None:
    lake = Lake.of(tmp_path, "a", "b")
    with driver(lake) as process:
        wait_for(process, step, "a")
        os.killpg(process.pid, signal.SIGKILL)
    again = run(lake, "--once", "--json")
    assert again.status == 0
    for table in ("a", "b"):
        assert lake.shown(spark, table) == lake.expected(table)
        bronze = read_table(spark, lake.target(f"{table}_bronze"))
        assert bronze.groupBy("_file").count().count() == 2
        current = read_table(spark, lake.target(f"{table}_history")).where("is_current AND _item IS NOT NULL")
        assert {row["_key"] for row in current.select("_key").collect()} == set(lake.expected(table))
    repeated = [one for one, table, _ in ends(again) if table == "a" and one in ("maintain", "audit")]
    assert repeated == {"maintain": ["audit"], "audit": []}.get(step, ["maintain", "audit"])


@pytest.mark.soak
@pytest.mark.classic("starts Spark in a process of its own")
def test_a_driver_goes_on_until_it_is_told_to_stop(tmp_path: Path) -> None:
    often = {"every": "1s"}
    lake = Lake.of(tmp_path, "a", "b", bronze=False, history=False, silver=often, maintain=False)
    with driver(lake) as process:
        wait_for(process, "silver", "a")
        wait_for(process, "silver", "b")
        write_records(tmp_path / "source" / "b", [stream("new", 1, item("new"))], hour="dt=2013-01-02/HH=00")
        wait_for(process, "silver", "b", records=1)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    assert (process.returncode, (tmp_path / "errors").read_text()) == (0, "")
    assert re.fullmatch(r"ran \d+ steps of 2 tables, \d+ s", rest.splitlines()[-1])
    assert not (tmp_path / "spark-warehouse").exists()


@pytest.mark.soak
@pytest.mark.parametrize("parallel", ["1", "2"])
def test_a_long_turn_of_a_real_stream_gives_way_and_every_table_ends_right(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: str
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.0)
    one_by_one = {"max_files": 1}
    lake = Lake.of(tmp_path, "busy", "quiet", files=6, bronze=one_by_one, silver=one_by_one, maintain=False)
    ran = run(lake, "--once", "--json", "--parallel", parallel)
    assert ran.status == 0
    assert any(end == "continues" for _, _, end in ends(ran))
    for table in ("busy", "quiet"):
        assert lake.shown(spark, table) == lake.expected(table)


# ── leases ──

CARS = {"source": "s3a://lake/files", "checkpoints": "s3a://lake/c", "target": "s3a://lake/silver/cars"}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """S3's conditional writes, without S3: only leases come here, for this Spark has no s3a."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="lake")
        yield client


def lease_names(client: Any) -> list[str]:
    """What the bucket holds, but for heartbeats as long as there are leases."""
    there = [one["Key"] for one in client.list_objects_v2(Bucket="lake").get("Contents", [])]
    return [name for name in there if "/leases/drivers/" not in name] or there


def another_job(client: Any, place: str) -> Any:
    """A job that holds the lease of this table meanwhile."""
    (group,) = leases_on_s3({"": [place]}, "another job on a, process 1", client).values()
    return held(group, threading.Event(), lambda table: None)


@pytest.mark.parametrize("table", ["cars", "cars_bronze", "cars_history", "cars_bronze_audits"])
def test_a_driver_beside_another_job_is_refused(
    spark: SparkSession, tmp_path: Path, s3: Any, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    lake = Lake(tmp_path, {})
    lake.write([lake.entry("cars", **CARS)])
    place = f"s3a://lake/silver/{table}"
    with another_job(s3, place):
        assert run(lake, "--once").status == 2
    assert f"another driver commits to {place}: another job on a, process 1, since" in capsys.readouterr().err
    assert lease_names(s3) == []


@pytest.mark.parametrize("second", ["run", "merge_changes"])
def test_while_a_driver_runs_a_second_one_and_a_single_job_are_refused(
    spark: SparkSession,
    tmp_path: Path,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    second: str,
) -> None:
    lake = Lake(tmp_path, {})
    lake.write([lake.entry("cars", **CARS)])
    (tmp_path / "cars.yaml").write_text("source_table: flights")
    there: list[list[str]] = []

    def meanwhile(*_: object, **__: object) -> int:
        there.append(lease_names(s3))
        if second == "run":
            return run_job.main(["--config", str(lake.yaml), "--once"])
        return merge_changes.main(
            [*(f"--{key.removesuffix('s')}={place}" for key, place in CARS.items()), f"--config={tmp_path}/cars.yaml"]
        )

    monkeypatch.setattr(run_job, "run_lake", meanwhile)
    assert run_job.main(["--config", str(lake.yaml), "--once"]) == 2
    assert "another driver commits to s3a://lake/silver/cars: run on" in capsys.readouterr().err
    tables = ("cars", "cars_bronze", "cars_bronze_audits", "cars_history")
    assert there == [[f"silver/_lakebound/leases/{table}.json" for table in tables]], "all held, and by the first alone"
    assert lease_names(s3) == []


def test_of_a_fleet_the_table_that_another_job_holds_is_left_out_and_the_others_run(
    spark: SparkSession, tmp_path: Path, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(tmp_path, {})
    shared = {key: place.replace("cars", "{table}") for key, place in CARS.items()}
    shared["checkpoints"] += "/{table}"
    config = {"source_table": "{table}"}
    lake.yaml.write_text(
        yaml.safe_dump({"lakes": [{**shared, "config": config, "bronze": False, "tables": ["cars", "vans"]}]})
    )
    seen: list[tuple[list[str], list[str], list[str]]] = []

    def see(spark: object, tables: Any, stop: object, *, left_out: Any, **_: object) -> int:
        seen.append(([one.target for one in tables], [one.table for one in left_out], lease_names(s3)))
        return 0

    monkeypatch.setattr(run_job, "run_lake", see)
    place = CARS["target"]
    with another_job(s3, place):
        assert run_job.main(["--config", str(lake.yaml), "--once"]) == 0
    vans = place.replace("cars", "vans")
    held_then = [f"silver/_lakebound/leases/{table}.json" for table in ("cars", "vans", "vans_history")]
    assert seen == [([vans], [place], held_then)]
    assert lease_names(s3) == []
