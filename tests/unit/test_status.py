"""OK, LAGGING, GAP or UNKNOWN: each thing that can be wrong is seen, named, and comes with its command."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lakebound.operate.silver_lag import SilverFacts, WaitingFiles
from lakebound.operate.status import (
    BUFFER,
    DEAD,
    FAILURES,
    GAP,
    GAPS,
    LAG,
    LAGGING,
    NEEDED,
    NEWEST_FILE,
    NOTE,
    OK,
    OLDEST_MESSAGE,
    QUARANTINE,
    QUEUE_MAPPING,
    STREAM_CHECK,
    STREAM_MAPPING,
    TABLE,
    UNKNOWN,
    WITHOUT,
    FunctionFacts,
    assess,
    open_gaps,
)
from lakebound.source.gaps import Gap
from lakebound.transport.object_keys import GapKey, StreamCheckKey
from tests.support.dead_letters import a_body, failure
from tests.support.local_ports import MemoryStore
from tests.support.operator_stack import BUCKET, MAPPING, Lakebound, Operated, refused, remove, take_away
from tests.support.report_figures import STREAM, WELL
from tests.support.stream_records import NOW_MS, stream_record

HOUR_MS = 3_600_000
DRIFT = "aws cloudformation detect-stack-drift --stack-name "
NO_MAPPING: dict[str, None] = {"mapping_state": None, "mapping_stream": None, "mapping_result": None}


def failing(invocations: int, errors: int, throttles: int = 0) -> FunctionFacts:
    return FunctionFacts("flusher", "/lakebound/lake/flusher", invocations, errors, throttles)


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a recorded gap": ({"gaps": (Gap(NOW_MS - HOUR_MS, None, "x"),)}, GAP, "backfill start --mode heal"),
    "stream read too late": ({"iterator_age_ms": 25 * HOUR_MS}, GAP, "backfill start --mode heal"),
    "stream re-created": ({"table_stream": STREAM.replace("11-01", "11-02")}, GAP, "lakebound deploy"),
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
    "no merge job for a day": ({"silver_within_s": 900}, LAGGING, "lakebound-run"),
    "the merge job has stopped": (
        {"silver": SilverFacts(NOW_MS - HOUR_MS, 20), "silver_within_s": 900},
        LAGGING,
        "lakebound-run",
    ),
    "silver is behind": ({"silver": SilverFacts(NOW_MS, 901), "silver_within_s": 900}, LAGGING, ""),
    "a merge is overdue": ({"silver": SilverFacts(NOW_MS, 0, 7, 901), "silver_within_s": 900}, LAGGING, ""),
    "heartbeats stay away": ({"heartbeat_minutes": 5}, LAGGING, "doctor"),
    "the last heartbeat is old": (
        {"heartbeat_minutes": 15, "newest_heartbeat_ms": NOW_MS - 46 * 60_000},
        LAGGING,
        "doctor",
    ),
    "a file waits": ({"waiting": WaitingFiles(0, 1, NOW_MS - 3 * HOUR_MS)}, LAGGING, "lakebound-run"),
    "table gone": ({"missing": ("table",), "table_stream": None, "stream_view": None}, GAP, "doctor --before"),
    "stream mapping gone": ({"missing": ("stream mapping",), **NO_MAPPING}, LAGGING, DRIFT),
    "stream mapping being deleted": ({"mapping_state": "Deleting"}, LAGGING, DRIFT),
    "queue mapping gone": ({"missing": ("queue mapping",), "queue_mapping_state": None}, LAGGING, DRIFT),
    "buffer queue gone": ({"missing": ("buffer queue",), "buffered": 0}, LAGGING, DRIFT),
    "dead-letter queue gone": ({"missing": ("dead-letter queue",)}, LAGGING, DRIFT),
    "bucket gone": ({"missing": ("failure objects", "recorded gaps", "quarantine")}, LAGGING, DRIFT),
    "stream_ingest gone": ({"missing": ("function stream_ingest",)}, LAGGING, DRIFT),
    "flusher gone": ({"missing": ("function flusher",)}, LAGGING, DRIFT),
    "backfill gone": ({"missing": ("function backfill",)}, LAGGING, DRIFT),
    "another part gone": ({"missing": ("newest batch file",)}, LAGGING, "doctor"),
    "every invocation fails": ({"functions": (failing(12, 12),)}, LAGGING, "filter-log-events"),
    "more errors than invocations": ({"functions": (failing(1, 2),)}, LAGGING, "filter-log-events"),
    "half of the invocations fail": ({"functions": (failing(12, 6),)}, LAGGING, "filter-log-events"),
    "some invocations fail": ({"functions": (failing(12, 5),)}, OK, "filter-log-events"),
    "nothing but throttles": ({"functions": (failing(0, 0, 9),)}, LAGGING, "doctor"),
    "some throttles": ({"functions": (failing(4, 0, 9),)}, OK, "doctor"),
    "nobody has looked": ({"looked_ms": None, "delivered_ms": None}, UNKNOWN, "doctor"),
    "nobody looks": ({"looked_ms": NOW_MS - HOUR_MS}, UNKNOWN, "doctor"),
    "the lag may not be read": ({"iterator_age_ms": None, "unknown": (f"{LAG}: no right",)}, UNKNOWN, "doctor"),
    "rest or a broken pipeline": ({"iterator_age_ms": None, "delivered_ms": None}, UNKNOWN, "doctor --smoke"),
    "rest that was proved long ago": (
        {"iterator_age_ms": None, "delivered_ms": NOW_MS - 2 * HOUR_MS},
        UNKNOWN,
        "doctor --smoke",
    ),
}


def test_a_pipeline_that_is_well_is_ok_and_has_nothing_to_do() -> None:
    assert (assess(WELL).state, assess(WELL).findings) == (OK, ())


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_command(name: str) -> None:
    change, state, command = WRONG[name]
    status = assess(replace(WELL, **change))
    assert (status.state, len(status.findings)) == (state, 1)
    assert command in status.findings[0].command
    assert "…" not in status.findings[0].command, "a command is there to be pasted"


@pytest.mark.parametrize(
    "well",
    [
        {"heartbeat_minutes": 0},
        {"heartbeat_minutes": 5, "newest_heartbeat_ms": NOW_MS - 30 * 60_000},
        {"heartbeat_minutes": 15, "newest_heartbeat_ms": NOW_MS - 45 * 60_000},
    ],
)
def test_heartbeats_that_come_or_are_off_say_nothing(well: dict[str, Any]) -> None:
    assert assess(replace(WELL, **well)).findings == ()


def test_the_worst_decides_and_stands_first() -> None:
    both = assess(replace(WELL, dead=1, quarantined=1, gaps=(Gap(5, None, "x"),)))
    assert [one.level for one in both.findings] == [GAP, LAGGING, NOTE]
    assert (both.state, both.since_ms) == (GAP, 5)


def test_a_table_that_rests_is_ok_where_a_look_proves_that_nothing_waits() -> None:
    assert assess(replace(WELL, iterator_age_ms=None)).state == OK


def test_messages_of_no_known_age_are_well_only_where_the_queue_was_empty_or_files_are_written() -> None:
    refused = (f"{OLDEST_MESSAGE}: no right",)
    ageless = replace(WELL, oldest_message_s=None)
    assert assess(ageless).state == OK
    assert assess(replace(ageless, unknown=refused)).state == UNKNOWN
    assert assess(replace(ageless, unknown=refused, newest_file_ms=NOW_MS - 60_000)).state == OK
    assert assess(replace(ageless, unknown=refused, buffered=0)).state == OK


PARTS: dict[str, dict[str, Any]] = {
    TABLE: {"table_stream": None, "stream_view": None},
    STREAM_MAPPING: NO_MAPPING,
    QUEUE_MAPPING: {"queue_mapping_state": None},
    BUFFER: {"buffered": 0},
    DEAD: {},
    FAILURES: {},
    GAPS: {},
    STREAM_CHECK: {"looked_ms": None, "delivered_ms": None},
    LAG: {"iterator_age_ms": None},
    OLDEST_MESSAGE: {"oldest_message_s": None, "newest_file_ms": NOW_MS},
    NEWEST_FILE: {},
    QUARANTINE: {},
    "alarms": {},
    "errors of flusher": {"functions": ()},
    "function flusher": {},
}


@pytest.mark.parametrize("part", PARTS)
def test_what_could_not_be_looked_at_is_said_and_never_ok_where_ok_rests_on_it(part: str) -> None:
    blind = assess(replace(WELL, **PARTS[part], unknown=(f"{part}: These credentials may not read it",)))
    rests = part in NEEDED | {LAG}
    assert blind.state == (UNKNOWN if rests else OK)
    (finding,) = blind.findings
    assert "These credentials may not read it" in finding.what


def test_whatever_is_worse_hides_no_unknown_and_is_not_hidden_by_it() -> None:
    blind = replace(WELL, iterator_age_ms=None, unknown=(f"{LAG}: no right",))
    assert assess(replace(blind, dead=1)).state == LAGGING
    assert assess(replace(blind, gaps=(Gap(5, None, "x"),))).state == GAP
    assert UNKNOWN in {one.level for one in assess(replace(blind, dead=1)).findings}


def test_every_page_that_a_finding_names_exists() -> None:
    titles = Path("docs/OPERATIONS.md").read_text()
    for change, _, _ in WRONG.values():
        for finding in assess(replace(WELL, **change)).findings:
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
        assert any("expire within a day" in one.what for one in assess(seen).findings) is expires


def test_the_verb_says_ok(lakebound: Lakebound, operated: Operated) -> None:
    assert lakebound.document("status")["state"] == OK


def test_the_verb_sees_what_waits(lakebound: Lakebound, operated: Operated) -> None:
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=a_body())
    s3 = operated.client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"aws/lambda/{MAPPING}/s/2026/11/24/x", Body=failure([stream_record()]))
    found = lakebound.document("status", status=1)
    assert (found["state"], found["seen"]["dead"], found["seen"]["failure_objects"]) == (LAGGING, 1, 1)
    assert lakebound("dlq", "redrive", "--from", "stream") == 0
    assert lakebound("dlq", "redrive", "--from", "buffer", "--by", "copy") == 0
    lakebound.printed()
    assert lakebound("status", "--json") == 0


def test_the_verb_sees_a_stream_that_was_switched_off_and_on(lakebound: Lakebound, operated: Operated) -> None:
    operated.stream_arn = operated.stream_arn.replace("/stream/", "/stream/old-")
    told = lakebound.out("status", status=1)
    assert told.startswith("GAP")
    assert "docs/OPERATIONS.md#stream-recreated" in told


def test_one_service_that_refuses_hides_nothing_else(lakebound: Lakebound, operated: Operated) -> None:
    operated.answers["get_event_source_mapping"] = refused("GetEventSourceMapping")
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody="x")
    found = lakebound.document("status", status=1)
    assert (found["state"], found["seen"]["dead"]) == (LAGGING, 1)
    assert any("stream mapping" in one for one in found["seen"]["unknown"])


@pytest.mark.parametrize(
    ("service", "operation", "state"),
    [
        ("cloudwatch", "get_metric_statistics", UNKNOWN),
        ("cloudwatch", "get_metric_data", OK),
        ("cloudwatch", "describe_alarms", OK),
        ("cloudformation", "list_stack_resources", OK),
        ("lambda", "get_event_source_mapping", UNKNOWN),
        ("lambda", "get_function_configuration", OK),
        ("dynamodb", "describe_table", UNKNOWN),
        ("sqs", "get_queue_attributes", UNKNOWN),
        ("s3", "_make_api_call", UNKNOWN),
        ("s3", "get_object", UNKNOWN),
    ],
)
def test_each_right_that_is_missing_is_named_and_ok_never_rests_on_it(
    lakebound: Lakebound, operated: Operated, monkeypatch: pytest.MonkeyPatch, service: str, operation: str, state: str
) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC")
    assert lakebound("status", "--json") == 0
    lakebound.printed()
    take_away(operated, monkeypatch, service, operation)
    status = lakebound("status", "--json")
    found = lakebound.document()
    assert (found["state"], status) == (state, int(state != OK))
    assert found["seen"]["unknown"]


def test_every_invocation_that_fails_is_no_ok(lakebound: Lakebound, operated: Operated) -> None:
    operated.measure("Invocations", 9, function="flusher")
    operated.measure("Errors", 9, function="flusher")
    told = lakebound.out("status", status=1)
    assert "flusher fails: all 9 invocations in five minutes" in told
    assert "docs/OPERATIONS.md#function-errors" in told


def test_without_metrics_and_stream_check_it_is_unknown_and_says_why(lakebound: Lakebound, operated: Operated) -> None:
    operated.outputs["StreamIngestName"] = "another"
    operated.client("s3").delete_object(Bucket=BUCKET, Key=StreamCheckKey("flights").format())
    told = lakebound.out("status", status=1)
    assert told.startswith("UNKNOWN   stack lake, table flights")
    assert "no stream check is recorded" in told
    assert "CloudWatch knows of no delivery in the last 15 minutes" in told


@pytest.mark.parametrize("part", ["table", "buffer", "dead", "bucket", "mapping", "function"])
def test_each_part_that_is_gone_is_a_finding(lakebound: Lakebound, operated: Operated, part: str) -> None:
    remove(operated, part)
    found = lakebound.document("status", status=1)
    assert found["state"] == (GAP if part == "table" else LAGGING)
    assert found["seen"]["missing"]
    assert {one["page"].partition("#")[2] for one in found["findings"]} & {"part-missing", "table-missing"}
    # CloudFormation makes nothing anew that was deleted by hand while the template is unchanged.
    assert not [one for one in found["findings"] if one["command"].startswith("lakebound deploy")]


@pytest.mark.parametrize("role", WITHOUT)
def test_a_function_that_is_gone_is_named_though_the_table_is_idle(
    lakebound: Lakebound, operated: Operated, role: str
) -> None:
    """Nothing waits and no metric is missing: only the question for the function shows it."""
    gone = {"stream_ingest": "StreamIngestName", "flusher": "FlusherName", "backfill": "BackfillName"}[role]
    configuration = operated.answers["get_function_configuration"]
    operated.outputs["BackfillName"] = "backfill"

    def get_function_configuration(FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if FunctionName == operated.outputs[gone]:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "x")
        return configuration(FunctionName=FunctionName)

    assert lakebound("status") == 0
    lakebound.printed()
    operated.answers["get_function_configuration"] = get_function_configuration
    out = lakebound.out("status", status=1)
    assert f"LAGGING  the function {role} is gone: {WITHOUT[role]}" in out
    assert f"run: {DRIFT}lake" in out


def test_the_gap_metric_is_put_when_asked_for(lakebound: Lakebound, operated: Operated) -> None:
    operated.stream_arn = operated.stream_arn.replace("/stream/", "/stream/old-")
    lakebound("status", "--publish")
    found = operated.client("cloudwatch").list_metrics(Namespace="Lakebound", MetricName="Gap")["Metrics"]
    assert [one["Dimensions"] for one in found] == [[{"Name": "table", "Value": "flights"}]]
