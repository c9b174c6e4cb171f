"""OK, LAGGING or GAP: each thing that can be wrong is seen, named, and comes with its command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakebound.adapters.local import MemoryStore
from lakebound.gaps import Gap
from lakebound.layout import GapKey
from lakebound.status import GAP, LAGGING, NOTE, OK, Seen, judge, open_gaps
from tests.events.building import NOW_MS, stream_record
from tests.unit.conftest import Lakebound
from tests.unit.operated import BUCKET, MAPPING, Operated
from tests.unit.test_redrive import a_body, failure

STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/flights/stream/2026-11-01T00:00:00.000"
WELL = Seen(
    now_ms=NOW_MS,
    stack="lake",
    table="flights",
    table_stream=STREAM,
    stream_view="NEW_AND_OLD_IMAGES",
    mapping_stream=STREAM,
    mapping_state="Enabled",
    mapping_result="OK",
    queue_mapping_state="Enabled",
    iterator_age_ms=2_000,
    oldest_message_s=20,
    buffered=3,
    dead=0,
    failure_objects=0,
    oldest_failure_ms=None,
    quarantined=0,
)
HOUR_MS = 3_600_000
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a recorded gap": ({"gaps": (Gap(NOW_MS - HOUR_MS, None, "x"),)}, GAP, "backfill start --mode heal"),
    "stream read too late": ({"iterator_age_ms": 25 * HOUR_MS}, GAP, "backfill start --mode heal"),
    "stream re-created": ({"table_stream": STREAM.replace("11-01", "11-02")}, GAP, "make deploy"),
    "stream switched off": ({"table_stream": None}, GAP, "doctor --before"),
    "behind": ({"iterator_age_ms": 600_000}, LAGGING, "doctor"),
    "stream mapping disabled": ({"mapping_state": "Disabled"}, LAGGING, "update-event-source-mapping"),
    "queue mapping disabled": ({"queue_mapping_state": "Disabling"}, LAGGING, "update-event-source-mapping"),
    "mapping in trouble": ({"mapping_result": "PROBLEM: Function call failed"}, LAGGING, "doctor"),
    "old message": ({"oldest_message_s": 3_600}, LAGGING, "doctor"),
    "dead letters": ({"dead": 4}, LAGGING, "dlq redrive --from buffer"),
    "failure objects": ({"failure_objects": 1}, LAGGING, "dlq redrive --from stream"),
    "keys only": ({"stream_view": "KEYS_ONLY"}, LAGGING, "doctor --before"),
    "quarantine": ({"quarantined": 1}, OK, "dlq list --from quarantine"),
}


def test_a_pipeline_that_is_well_is_ok_and_has_nothing_to_do() -> None:
    assert (judge(WELL).state, judge(WELL).findings) == (OK, ())


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_command(name: str) -> None:
    change, state, command = WRONG[name]
    status = judge(replace(WELL, **change))
    assert status.state == state
    assert len(status.findings) == 1
    assert command in status.findings[0].command


def test_the_worst_decides_and_stands_first() -> None:
    both = judge(replace(WELL, dead=1, quarantined=1, gaps=(Gap(5, None, "x"),)))
    assert [one.level for one in both.findings] == [GAP, LAGGING, NOTE]
    assert (both.state, both.since_ms) == (GAP, 5)


def test_what_is_unknown_is_said_and_takes_no_state() -> None:
    blind = replace(WELL, iterator_age_ms=None, table_stream=None, unknown=("table: no right",))
    assert judge(blind).state == OK
    assert "not looked at: table: no right" in judge(blind).findings[0].what


def test_every_page_that_a_finding_names_exists() -> None:
    titles = Path("docs/OPERATIONS.md").read_text()
    for change, _, _ in WRONG.values():
        for finding in judge(replace(WELL, **change)).findings:
            assert f'<a id="{finding.page.partition("#")[2]}">' in titles, finding.page


def test_only_gaps_that_nobody_healed_are_open() -> None:
    store = MemoryStore()
    for cause, healed in (("mapping_behind", None), ("mapping_disabled", "run-1")):
        gap = Gap(1_000, 2_000, cause, detected_at_ms=3_000, healed_by=healed)
        store.put_if_absent(GapKey("flights", 1_000, cause).format(), gap.encode(), {})
    assert [gap.cause for gap in open_gaps(store, "flights")] == ["mapping_behind"]


def test_failure_objects_in_their_last_day_are_said_to_expire() -> None:
    day = 24 * HOUR_MS
    for retention, age, expires in ((30, 29 * day, False), (30, 29 * day + 1, True), (14, 13 * day + 1, True)):
        seen = replace(WELL, failure_objects=1, oldest_failure_ms=NOW_MS - age, failure_retention_days=retention)
        assert any("expire within a day" in one.what for one in judge(seen).findings) is expires


# ── the verb over real clients ──


def state_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_the_verb_says_ok(lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]) -> None:
    assert lakebound("status", "--json") == 0
    assert state_of(capsys)["state"] == OK


def test_the_verb_sees_what_waits(lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]) -> None:
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=a_body())
    s3 = operated.client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"aws/lambda/{MAPPING}/s/2026/11/24/x", Body=failure([stream_record()]))
    assert lakebound("status", "--json") == 1
    found = state_of(capsys)
    assert found["state"] == LAGGING
    assert (found["seen"]["dead"], found["seen"]["failure_objects"]) == (1, 1)
    assert lakebound("dlq", "redrive", "--from", "stream") == 0
    assert lakebound("dlq", "redrive", "--from", "buffer", "--by", "copy") == 0
    capsys.readouterr()
    assert lakebound("status", "--json") == 0


def test_the_verb_sees_a_stream_that_was_switched_off_and_on(
    lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    operated.stream_arn = operated.stream_arn.replace("/stream/", "/stream/old-")
    assert lakebound("status") == 1
    told = capsys.readouterr().out
    assert told.startswith("GAP")
    assert "docs/OPERATIONS.md#stream-recreated" in told


def test_one_service_that_refuses_hides_nothing_else(
    lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    operated.client("dynamodb").delete_table(TableName="flights")
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody="x")
    assert lakebound("status", "--json") == 1
    found = state_of(capsys)
    assert found["seen"]["dead"] == 1
    assert any("table" in one for one in found["seen"]["unknown"])


def test_the_gap_metric_is_put_when_asked_for(lakebound: Lakebound, operated: Operated) -> None:
    operated.stream_arn = operated.stream_arn.replace("/stream/", "/stream/old-")
    lakebound("status", "--publish")
    found = operated.client("cloudwatch").list_metrics(Namespace="Lakebound", MetricName="Gap")["Metrics"]
    assert [one["Dimensions"] for one in found] == [[{"Name": "table", "Value": "flights"}]]
