"""`lakebound verify` on the demo's own table and Delta: what was spoilt is found, by name."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, lit

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.cli import app
from tests.e2e.runs import DemoRun

KEY = "flight_date=N:20130208|flight_id=S:US2114#LGA"
OTHER = "flight_date=N:20130208|flight_id=S:US2161#LGA"
GHOST = "flight_date=N:20130208|flight_id=S:XX1#JFK"

Verify = Callable[..., tuple[int, dict[str, object]]]


@pytest.fixture
def verify(
    demo_run: DemoRun, spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Verify:
    """Runs the command against the stack, in the session that runs already; its exit status and its JSON."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", demo_run.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def call(target: Path, *more: str) -> tuple[int, dict[str, object]]:
        arguments = ["verify", "--table", "flights", "--target", str(target), "--lag", "0.5", "--limit", "20"]
        monkeypatch.setattr(sys, "argv", ["lakebound", *arguments, "--json", *more])
        with pytest.raises(SystemExit) as left:
            app.main()
        said = capsys.readouterr()
        assert said.out, said.err
        return int(left.value.code or 0), json.loads(said.out)

    return call


def item_of(spark: SparkSession, silver: Path, key: str) -> dict[str, object]:
    row = spark.read.format("delta").load(str(silver)).where(col("_key") == key).head()
    assert row is not None
    item: dict[str, object] = json.loads(row["_item"])
    return item


def put(spark: SparkSession, silver: Path, key: str, item: dict[str, object]) -> None:
    DeltaTable.forPath(spark, str(silver)).update(col("_key") == key, {"_item": lit(json.dumps(item))})


def an_earlier_item(files: Path) -> tuple[str, dict[str, object]]:
    """A key of which the stream told twice and whose item is still there, and what it held first."""
    told: dict[str, dict[str, dict[str, object] | None]] = {}
    for path in sorted(files.rglob("stream-*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            record = json.loads(line)
            told.setdefault(record["key"], {})[record["version"]] = record["new_image"]
    for key, images in sorted(told.items()):
        first, last = images[min(images)], images[max(images)]
        if len(images) > 1 and first is not None and last is not None and first != last:
            return key, first
    raise AssertionError("no key was changed twice")


def test_an_untouched_table_is_equal(verify: Verify, demo_run: DemoRun) -> None:
    status, report = verify(demo_run.silver)
    assert (status, report["equal"], report["keys"], report["read_again"]) == (0, True, 458, 0)


def test_spark_gives_the_same_report(verify: Verify, demo_run: DemoRun) -> None:
    assert verify(demo_run.silver, "--engine", "spark") == verify(demo_run.silver)


@pytest.mark.soak
def test_an_edited_row_is_found(verify: Verify, spark: SparkSession, silver: Path) -> None:
    put(spark, silver, KEY, item_of(spark, silver, KEY) | {"distance": {"N": "185"}})
    status, report = verify(silver)
    assert (status, report["different"]) == (1, [KEY])
    assert [report[name] for name in ("missing", "ghost", "stale", "left_out")] == [[], [], [], []]


@pytest.mark.soak
def test_a_row_spelt_otherwise_is_no_difference(verify: Verify, spark: SparkSession, silver: Path) -> None:
    item = item_of(spark, silver, KEY)
    put(spark, silver, KEY, dict(reversed((item | {"distance": {"N": "1.840E2"}}).items())))
    assert verify(silver)[0] == 0


@pytest.mark.soak
def test_a_dropped_row_is_found(verify: Verify, spark: SparkSession, silver: Path) -> None:
    DeltaTable.forPath(spark, str(silver)).delete(col("_key").isin(KEY, OTHER))
    # `_changes` keeps what the last MERGE merged until the next one, and `_live` would show the rows from there.
    status, report = verify(silver, "--merged")
    assert (status, report["missing"], report["keys"]) == (1, [KEY, OTHER], 458)


@pytest.mark.soak
def test_a_ghost_is_found(verify: Verify, spark: SparkSession, silver: Path) -> None:
    rows = spark.read.format("delta").load(str(silver)).where(col("_key") == KEY)
    rows.withColumn("_key", lit(GHOST)).write.format("delta").mode("append").save(str(silver))
    status, report = verify(silver)
    assert (status, report["ghost"], report["keys"]) == (1, [GHOST], 459)


@pytest.mark.soak
def test_a_stale_row_is_found_with_files(verify: Verify, spark: SparkSession, silver: Path, demo_run: DemoRun) -> None:
    key, earlier = an_earlier_item(demo_run.files)
    assert earlier != item_of(spark, silver, key)
    put(spark, silver, key, earlier)
    status, report = verify(silver, "--files", str(demo_run.files))
    assert (status, report["stale"], report["different"]) == (1, [key], [])


def test_a_target_that_is_no_silver_table_is_a_usage_error(
    verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lakebound", "verify", "--table", "flights", "--target", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("lakebound: There is no Delta table at ")


def test_segments_read_the_whole_table_once(demo_run: DemoRun) -> None:
    source = DynamoDBTable("flights", demo_run.client("dynamodb"), SystemClock(), segments=7)
    ids = [item["flight_id"]["S"] for item in source.scan()]
    assert len(ids) == len(set(ids)) == 458
