"""Silver that stands still is seen: by what the merge job published, and by the files that it has not taken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakebound.operate.silver_lag import MOST_HOURS, SilverFacts, StaleMark, WaitingFiles, waiting_files
from lakebound.operate.status import GAPS, LAGGING, OK, PipelineFacts, assess
from lakebound.source.gaps import Gap
from lakebound.transport.object_keys import DataKey, partitioner
from tests.support.local_ports import ManualClock, MemoryStore
from tests.support.operator_stack import BUCKET, Lakebound, Operated
from tests.support.report_figures import WELL
from tests.support.stream_records import NOW_MS

HOUR_MS = 3_600_000
PREFIX = "ddb/flights"
HOURS = partitioner("dt=%Y-%m-%d/HH=%H")
QUARTER_OF_AN_HOUR = replace(WELL, silver_within_s=900)


@pytest.mark.parametrize(
    "facts",
    [
        WELL,
        replace(WELL, silver=SilverFacts(NOW_MS - HOUR_MS, 3_600)),  # once an hour
        replace(QUARTER_OF_AN_HOUR, silver=SilverFacts(NOW_MS - 900_000, 900, 5, 900)),
        replace(QUARTER_OF_AN_HOUR, waiting=WaitingFiles(0, 0, None)),
        replace(QUARTER_OF_AN_HOUR, waiting=WaitingFiles(0, 9, NOW_MS - 900_000), silver=SilverFacts(NOW_MS, 0)),
    ],
)
def test_silver_that_is_in_time_is_ok(facts: PipelineFacts) -> None:
    assert assess(replace(facts, silver=facts.silver or SilverFacts(NOW_MS, 0))).findings == ()


def test_whoever_lets_no_job_publish_is_told_nothing() -> None:
    assert assess(WELL).findings == ()


def test_how_long_silver_stands_still_is_said_with_since_when() -> None:
    since = NOW_MS - 2 * HOUR_MS
    status = assess(replace(QUARTER_OF_AN_HOUR, silver=SilverFacts(since, 20), waiting=WaitingFiles(0, 3, since)))
    assert (status.state, status.since_ms) == (LAGGING, since)
    assert [one.what for one in status.findings] == [
        "no merge job has published for 120 minutes: silver stands still",
        "3 batch files wait that no run of the merge job has taken, the oldest 120 minutes old",
    ]


def put(store: MemoryStore, clock: ManualClock, ms: int, digest: str) -> None:
    clock.ms = ms
    key = DataKey(HOURS(ms, False), "stream", ms, 1, digest * 32, "ndjson.gz").format(PREFIX)
    assert store.put_if_absent(key, b"", {})


def test_files_wait_from_the_first_that_was_written_after_those_taken() -> None:
    clock = ManualClock()
    store, until = MemoryStore(clock), clock.ms
    for after_ms, digest in ((-HOUR_MS, "a"), (0, "b"), (1, "c"), (HOUR_MS, "d"), (2 * HOUR_MS, "e")):
        put(store, clock, until + after_ms, digest)
    store.put_if_absent(f"{PREFIX}/{HOURS(clock.ms, False)}/notes.txt", b"", {})
    assert waiting_files(store, PREFIX, HOURS, until, clock.ms) == WaitingFiles(until, 3, until + 1)
    assert waiting_files(store, PREFIX, HOURS, clock.ms, clock.ms) == WaitingFiles(clock.ms, 0, None)


def test_silver_that_stands_still_for_long_costs_no_listing_of_everything() -> None:
    clock = ManualClock()
    store, until = MemoryStore(clock), clock.ms
    listed: list[str] = []

    class Counted(MemoryStore):
        def list(self, prefix: str) -> Any:
            listed.append(prefix)
            return store.list(prefix)

    put(store, clock, until + HOUR_MS, "a")
    late = until + 10 * MOST_HOURS * HOUR_MS
    put(store, clock, late, "b")
    assert waiting_files(Counted(clock), PREFIX, HOURS, until, late) == WaitingFiles(until, 1, late)
    assert len(listed) == MOST_HOURS + 1


def publish(operated: Operated, minutes_ago: float, **values: float) -> None:
    at = datetime.fromtimestamp(datetime.now(UTC).timestamp() - minutes_ago * 60, UTC)
    data = [
        {"MetricName": name, "Dimensions": [{"Name": "table", "Value": "flights"}], "Timestamp": at, "Value": value}
        for name, value in values.items()
    ]
    operated.client("cloudwatch").put_metric_data(Namespace="Lakebound", MetricData=data)


def test_the_verb_sees_that_the_merge_job_has_stopped(lakebound: Lakebound, operated: Operated) -> None:
    assert "not watched" in lakebound.out("status")
    publish(operated, 3, SilverLagSeconds=70.0, SilverPendingRows=1_234, SilverMergeOverdueSeconds=0)
    publish(operated, 1, SilverLagSeconds=0.0, SilverPendingRows=1_200, SilverMergeOverdueSeconds=0)
    said = lakebound.out("status")
    assert "70 s behind the files, as published " in said
    assert "1,200 rows wait in _changes for a merge" in said


def test_the_verb_takes_its_limit_from_the_stack(lakebound: Lakebound, operated: Operated) -> None:
    publish(operated, 40, SilverLagSeconds=5.0)
    assert lakebound("status") == 0, "an hourly job"
    lakebound.printed()
    operated.parameters["SilverLagMinutes"] = "30"
    (finding,) = lakebound.document("status", status=1)["findings"]
    assert finding["what"] in ("no merge job has published for 39 minutes: silver stands still",
                               "no merge job has published for 40 minutes: silver stands still")  # fmt: skip
    assert finding["page"] == "docs/OPERATIONS.md#merge-missing"


def test_the_verb_counts_the_files_that_no_run_has_taken(
    lakebound: Lakebound, operated: Operated, tmp_path: Path
) -> None:
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    key = DataKey(HOURS(now_ms, False), "stream", now_ms, 1, "a" * 32, "ndjson.gz").format(PREFIX)
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"")
    target = str(tmp_path / "silver")

    def taken(until_ms: int | None, **more: Any) -> None:
        row = {"batch": pa.array([0], pa.int64()), "files_until_ms": pa.array([until_ms], pa.int64()), **more}
        write_deltalake(f"{target}_metrics", pa.table(row), mode="overwrite", schema_mode="overwrite")

    taken(now_ms - 7_000_000)
    status = lakebound.document("status", "--target", target)
    assert (status["state"], status["seen"]["waiting"]["count"]) == (OK, 1)
    taken(now_ms + 60_000)
    assert "files for silver   none; all written until " in lakebound.out("status", "--target", target)


STALE = datetime(2026, 11, 1, 12, tzinfo=UTC)


def note_mark(target: str, since: datetime | None) -> None:
    at = pa.timestamp("us", "UTC")
    row = {
        "_stale_since": pa.array([since], at),
        "stale_because": pa.array([since and "records_stale"], pa.string()),
        "looked_at": pa.array([datetime.now(UTC)], at),
    }
    write_deltalake(f"{target}_status", pa.table(row), mode="overwrite", schema_mode="overwrite")


def test_the_verb_tells_the_mark_that_the_merge_job_noted(
    lakebound: Lakebound, operated: Operated, tmp_path: Path
) -> None:
    target = str(tmp_path / "silver")
    write_deltalake(f"{target}_metrics", pa.table({"files_until_ms": pa.array([NOW_MS + 60_000], pa.int64())}))
    assert "stale mark" not in lakebound.out("status", "--target", target)
    note_mark(target, None)
    assert "stale mark         none, as noted 20" in lakebound.out("status", "--target", target)
    note_mark(target, STALE)
    lakebound.printed()
    status = lakebound.document("status", "--target", target, status=1)
    assert [(one["page"], one["since"]) for one in status["findings"]] == [
        ("docs/OPERATIONS.md#stale-mark", "2026-11-01T12:00:00Z")
    ]


@pytest.mark.parametrize("stale", ["users", "orders"])
def test_the_verb_tells_the_mark_of_any_of_several_tables(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, stale: str
) -> None:
    target, users, orders = (str(tmp_path / name) for name in ("app", "users", "orders"))
    brought = pa.array([[{"table": users, "records": 1}], [{"table": orders, "records": 1}], []])
    until = pa.array([NOW_MS + 60_000] * 3, pa.int64())
    write_deltalake(f"{target}_metrics", pa.table({"files_until_ms": until, "by_table": brought}))
    assert "stale mark" not in lakebound.out("status", "--target", target)
    for one in (users, orders):
        note_mark(one, None)
    assert "stale mark         none, as noted 20" in lakebound.out("status", "--target", target)
    note_mark(str(tmp_path / stale), STALE)
    lakebound.printed()
    (finding,) = lakebound.document("status", "--target", target, status=1)["findings"]
    assert (finding["page"], finding["since"]) == ("docs/OPERATIONS.md#stale-mark", "2026-11-01T12:00:00Z")
    said = lakebound.err("status", "--target", users)
    assert f"no Delta table at {users}_metrics" in said
    assert "Give --target as the merge job has it: of several tables from one source, the name for all" in said


OPEN = Gap(NOW_MS - HOUR_MS, None, "mapping_disabled", NOW_MS)


@pytest.mark.parametrize(
    ("gaps", "since_ms", "found"),
    [
        ((), None, []),
        ((OPEN,), OPEN.from_ms, []),
        ((), OPEN.from_ms, ["silver still marks changes as missing"]),
        ((OPEN,), None, ["silver does not tell its readers of the gap"]),
    ],
)
def test_a_mark_that_differs_from_the_recorded_gaps_is_a_finding(
    gaps: tuple[Gap, ...], since_ms: int | None, found: list[str]
) -> None:
    facts = replace(WELL, silver=SilverFacts(NOW_MS, 0), gaps=gaps, mark=StaleMark(since_ms, "causes", NOW_MS))
    pages = [one for one in assess(facts).findings if one.page.endswith("#stale-mark")]
    assert [one.level for one in pages] == [LAGGING] * len(found)
    assert all(one.what.startswith(what) for one, what in zip(pages, found, strict=True))
    unread = replace(facts, unknown=(f"{GAPS}: no right",))
    assert not [one for one in assess(unread).findings if one.page.endswith("#stale-mark")]


def test_a_table_that_does_not_tell_it_is_refused(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    target = tmp_path / "silver"
    assert "There is no Delta table at" in lakebound.err("status", "--target", str(target))
    old = pa.table({"batch": pa.array([0], pa.int64())})
    write_deltalake(f"{target}_metrics", old)
    assert "its merge job is of an older version, or reads bronze" in lakebound.err("status", "--target", str(target))
    fresh = old.append_column("files_until_ms", pa.array([None], pa.int64()))
    write_deltalake(f"{target}_metrics", fresh, mode="overwrite", schema_mode="overwrite")
    assert "its merge job is of an older version, or reads bronze" in lakebound.err("status", "--target", str(target))
