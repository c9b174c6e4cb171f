"""The demo's path on the real parts: table, stream, functions, queue, files, merge job, silver."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from delta.tables import DeltaTable
from pyspark.sql import SparkSession

from lakebound.adapters.s3 import S3Store
from lakebound.operate.mirror import copy_missing, plan_mirror
from lakebound.transport.messages import Member
from lakebound.transport.object_keys import DataKey
from lakebound_spark.silver.live_rows import live_rows
from tests.e2e.runs import DemoRun, Interrupted, Lived, processes_of

Merge = Callable[[Path, Path], list[dict[str, Any]]]
LIVED = Lived.of("small")


def told(run: DemoRun, name: str) -> str:
    """A line of the summary."""
    found = re.search(rf"^{name}  +(.*)$", run.out, re.MULTILINE)
    assert found, run.out
    return found[1].strip()


def number(text: str) -> int:
    return int(text.replace(",", ""))


def batch_files(run: DemoRun) -> list[str]:
    """Those of the stream."""
    pages = run.client("s3").get_paginator("list_objects_v2").paginate(Bucket=run.output("BucketName"))
    return [entry["Key"] for page in pages for entry in page.get("Contents", ()) if "/stream-" in entry["Key"]]


def member_of(run: DemoRun, key: str) -> Member:
    """A whole batch file as the one member of a message."""
    answer = run.client("s3").get_object(Bucket=run.output("BucketName"), Key=key)
    named = DataKey.parse("ddb/flights", key)
    assert named is not None
    return Member(
        partition=named.partition,
        format=named.ext,
        count=named.count,
        min_version=answer["Metadata"]["min-version"],
        max_version=answer["Metadata"]["max-version"],
        max_ingest_ms=named.time_ms,
        data=answer["Body"].read(),
    )


def deliver(run: DemoRun, members: list[Member]) -> None:
    """Send a message to the buffer queue and wait until the flusher has deleted it."""
    sqs, queue = run.client("sqs"), run.output("BufferQueueUrl")
    body = f'{{"v":1,"table":"flights","members":[{",".join(member.encode() for member in members)}]}}'
    sqs.send_message(QueueUrl=queue, MessageBody=body)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        answer = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
        if not any(int(answer["Attributes"][name]) for name in names):
            return
        time.sleep(0.2)
    raise AssertionError("the flusher did not take the message")


def version_of(table: DeltaTable) -> int:
    newest = table.history(1).head()
    assert newest is not None
    return int(newest["version"])


def test_ctrl_c_leaves_nothing_running(interrupted: Interrupted) -> None:
    assert all(any(part in words for words in interrupted.running) for part in ("ministack", "merge_changes", "java"))
    assert (interrupted.left, interrupted.status) == ([], 130)
    assert interrupted.out.rstrip().endswith("stopped; nothing is left running")


def test_a_run_after_an_interrupted_one_ends_equal(demo_run: DemoRun) -> None:
    assert demo_run.status == 0, demo_run.out + demo_run.err
    assert "458 keys: 0 missing, 0 ghost, 0 stale, 0 different\n" in demo_run.out


def test_the_report_tells_what_the_run_told(demo_run: DemoRun) -> None:
    page = (demo_run.folder / "report.html").read_text()
    assert str(demo_run.folder / "report.html") in told(demo_run, "report")
    assert "458 keys, equal" in page
    assert "Run demo (scan): " in page
    middle = re.match(r"p50 (\S+) s", told(demo_run, "change to _live"))
    assert middle is not None
    assert f"from a change to silver: half within {middle[1]} s (p50)" in page


def test_the_summary_tells_of_every_record_and_times_each(demo_run: DemoRun) -> None:
    # Every write after the stream began makes one record; one that came twice is told of, and made nothing unequal.
    line = re.fullmatch(
        r"([\d,]+) of the stream(?:, ([\d,]+) of them twice)?, ([\d,]+) of the backfill", told(demo_run, "records")
    )
    assert line is not None
    assert number(line[1]) - number(line[2] or "0") == LIVED.streamed
    read = re.match(r"([\d,]+) records in [\d,]+ files, \d+ s, beside ([\d,]+) writes$", told(demo_run, "backfill"))
    assert read is not None
    assert number(read[1]) == number(line[3]) > 0
    assert number(read[2]) > 0, "nothing was written while the backfill ran"
    assert re.fullmatch(r"p50 \d+\.\d s, p99 \d+\.\d s", told(demo_run, "change to file"))
    assert re.fullmatch(r"p50 \d+\.\d s, p99 \d+\.\d s", told(demo_run, "change to _live"))
    assert told(demo_run, "merge job").endswith("inexact=0 refused=0 bad_files=0")
    assert "not timed" not in demo_run.out
    assert re.search(r"^JetBlue Airways +\d+ ", demo_run.out, re.MULTILINE)  # the query's own answer


def test_a_share_of_the_rows_shows_what_the_backfill_read(demo_run: DemoRun, spark: SparkSession) -> None:
    line = re.search(r"from the backfill alone: ([\d,]+) of ([\d,]+) rows", demo_run.out)
    assert line is not None
    rows = live_rows(spark, str(demo_run.silver)).where("NOT _is_deleted")
    assert number(line[2]) == rows.count() == LIVED.items
    assert number(line[1]) == rows.where("_stream_time_ms IS NULL").count() == rows.where("_version = ''").count() > 0


@pytest.mark.soak
def test_red_control_without_backfill(demo_run: DemoRun, spark: SparkSession, merge: Merge, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(demo_run.files, tmp_path / "files", ignore=shutil.ignore_patterns("scan-*")))
    merge(alone, tmp_path / "streamed")
    streamed = spark.read.format("delta").load(str(tmp_path / "streamed")).where("NOT _is_deleted")
    live = live_rows(spark, str(demo_run.silver)).where("NOT _is_deleted")
    assert live.join(streamed, "_key", "left_anti").count() == live.where("_version = ''").count() > 0


def test_keep_leaves_the_stack_up_and_says_how_to_end_it(demo_run: DemoRun) -> None:
    assert demo_run.client("dynamodb").scan(TableName="flights", Select="COUNT")["Count"] == 458
    assert "demo.run --stop" in demo_run.out
    for name in ("status", "doctor", "trace", "verify", "backfill list", "dlq list", "report", "files mirror"):
        assert re.search(rf"^  \S*lakebound {name} ", demo_run.out, re.MULTILINE), name
    # Version 2 of the AWS CLI alone has `logs tail`.
    assert set(re.findall(r"^  aws (\S+ \S+)", demo_run.out, re.MULTILINE)) == {
        "dynamodb update-item",
        "dynamodb scan",
        "s3 ls",
        "logs filter-log-events",
    }
    assert any("ministack" in words for words in processes_of(demo_run.folder))


def test_the_versions_of_the_stream_begin_with_its_one_label(demo_run: DemoRun, spark: SparkSession) -> None:
    """Else each version would begin with its record's own time, and the demo could not show what decides the order."""
    label = demo_run.client("dynamodb").describe_table(TableName="flights")["Table"]["LatestStreamLabel"]
    told = spark.read.json(str(demo_run.files), recursiveFileLookup=True).where("origin = 'stream'")
    labels = told.selectExpr("split(version, '[|]')[0] AS label").distinct().collect()
    assert [row["label"] for row in labels] == [label]
    seconds = told.select("approx_creation_time_ms").distinct().count()
    assert seconds > 1, "with all records of one second, labels of their own could be one, too"


def test_nothing_went_to_quarantine_or_to_the_dead_letters(demo_run: DemoRun) -> None:
    prefix = demo_run.output("AsidePrefix")
    aside = demo_run.client("s3").list_objects_v2(Bucket=demo_run.output("BucketName"), Prefix=prefix)
    # Beside what the backfill keeps of itself and the looks at the stream.
    folders = {entry["Key"].removeprefix(prefix).partition("/")[0] for entry in aside["Contents"]}
    assert {"backfills", "manifests"} <= folders <= {"backfills", "manifests", "gaps"}
    dead = demo_run.client("sqs").get_queue_attributes(
        QueueUrl=demo_run.output("DeadLetterQueueUrl"), AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert dead["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_silver_has_typed_columns_and_the_whole_item(demo_run: DemoRun, spark: SparkSession) -> None:
    row = (
        live_rows(spark, str(demo_run.silver)).where("_key = 'flight_date=N:20130208|flight_id=S:US2114#LGA'")
    ).head()
    assert row is not None
    item = json.loads(row["_item"])
    assert (row["flight_id"], row["flight_date"], row["status"]) == ("US2114#LGA", 20130208, "arrived")
    assert str(row["dep_delay"]) == item["dep_delay"]["N"]
    assert row["weather.temp"] == Decimal(item["weather"]["M"]["temp"]["N"])
    assert set(item["codes"]["SS"]) == {"US", "BOS", "LGA"}
    assert item["landed_at"]["B"]
    assert item["tailnum"].keys() <= {"S", "NULL"}


def test_cancelled_flights_are_tombstones_with_their_keys(demo_run: DemoRun, spark: SparkSession) -> None:
    gone = live_rows(spark, str(demo_run.silver)).where("_is_deleted")
    assert gone.count() == LIVED.tombstones > 0
    assert (
        gone.where("flight_id IS NULL OR flight_date IS NULL OR _item IS NOT NULL OR carrier IS NOT NULL").count() == 0
    )


def test_a_flusher_killed_between_put_and_delete_changes_nothing(demo_run: DemoRun) -> None:
    # The message comes again, and with it the content that is in its file already: the same key, the same bytes.
    before = batch_files(demo_run)
    deliver(demo_run, [member_of(demo_run, before[0])])
    assert batch_files(demo_run) == before


@pytest.mark.soak
def test_records_in_two_files_change_nothing_in_silver(
    demo_run: DemoRun, spark: SparkSession, silver: Path, merge: Merge, tmp_path: Path
) -> None:
    # After a crash the same messages may be grouped otherwise: the same records, in one more file.
    before = batch_files(demo_run)
    deliver(demo_run, [member_of(demo_run, before[0]), member_of(demo_run, before[-1])])
    (added,) = set(batch_files(demo_run)) - set(before)
    files = tmp_path / "files"
    store = S3Store(demo_run.output("BucketName"), demo_run.client("s3"))
    copy_missing(store, plan_mirror(store, "ddb/flights", files), files, copied=lambda stored: None)
    for path in files.rglob("*.gz"):
        if not added.endswith(path.name):
            path.unlink()
    table = DeltaTable.forPath(spark, str(silver))
    rows = table.toDF().count()
    (batch,) = merge(files, silver)
    assert (batch["files"], batch["inserted"], batch["updated"]) == (1, 0, 0)
    assert table.toDF().count() == rows


@pytest.mark.soak
def test_merging_every_file_again_under_a_new_checkpoint_adds_nothing_to_the_change_feed(
    demo_run: DemoRun, spark: SparkSession, silver: Path, merge: Merge
) -> None:
    table = DeltaTable.forPath(spark, str(silver))
    before = version_of(table)
    batches = merge(demo_run.files, silver)
    assert sum(batch["records"] for batch in batches) >= LIVED.streamed
    assert sum(batch["inserted"] + batch["updated"] for batch in batches) == 0
    if version_of(table) > before:
        changes = spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", before + 1)
        assert changes.load(str(silver)).count() == 0


@pytest.mark.soak
def test_rebuilt_silver_equals_live_one(demo_run: DemoRun, spark: SparkSession, merge: Merge, tmp_path: Path) -> None:
    shuffled = tmp_path / "files"
    shutil.copytree(demo_run.files, shuffled)
    merge(shuffled, tmp_path / "rebuilt")
    columns = ("_key", "_is_deleted", "_version", "_stream_time_ms", "_base", "_item")
    live = live_rows(spark, str(demo_run.silver)).select(*columns)
    rebuilt = spark.read.format("delta").load(str(tmp_path / "rebuilt")).select(*columns)
    assert live.exceptAll(rebuilt).count() == 0
    assert rebuilt.count() == live.count() == LIVED.items + LIVED.tombstones
