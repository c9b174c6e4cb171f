"""`lakebound dlq` over real clients on moto."""

import json
from typing import Any

import pytest

from tests.support.dead_letters import a_body, failure
from tests.support.operator_stack import BUCKET, MAPPING, Lakebound, Operated, waiting
from tests.support.stream_records import stream_record

CANARY = "canary-9d1c"


def put_failure(operated: Operated, *records: object) -> str:
    key = f"aws/lambda/{MAPPING}/shardId-1/2026/11/24/x"
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=failure(records))
    return key


def test_dead_letters_are_listed_then_redriven_by_copy(lakebound: Lakebound, operated: Operated) -> None:
    for number in range(3):
        operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=a_body(number))
    assert lakebound.document("dlq", "list", "--from", "buffer", status=1)["waiting"] == 3
    assert lakebound.document("dlq", "redrive", "--from", "buffer", "--dry-run")["redriven"] == 3
    assert waiting(operated, operated.buffer_url) == 0


def test_copies_without_a_move_task(lakebound: Lakebound, operated: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=a_body(number))
    result = lakebound.document("dlq", "redrive", "--from", "buffer", "--by", "copy")
    assert (result["way"], result["redriven"], result["done"]) == ("copy", 3, True)
    assert (waiting(operated, operated.dead_url), waiting(operated, operated.buffer_url)) == (0, 3)
    assert lakebound("dlq", "list", "--from", "buffer") == 0


def test_failure_objects_are_listed_shown_and_redriven_once(lakebound: Lakebound, operated: Operated) -> None:
    key = put_failure(operated, stream_record(1), stream_record(2))
    (row,) = lakebound.document("dlq", "list", "--from", "stream", status=1)["rows"]
    assert (row["id"], row["records"], row["why"]) == (key, 2, "RetryAttemptsExhausted")
    assert lakebound.document("dlq", "show", key, "--from", "stream")["shard"] == "shardId-00000001-abc"
    assert lakebound.document("dlq", "redrive", "--from", "stream")["records"] == 2
    assert waiting(operated, operated.buffer_url) == 1
    assert lakebound.document("dlq", "redrive", "--from", "stream")["already"] == 1
    assert waiting(operated, operated.buffer_url) == 1
    assert lakebound("dlq", "list", "--from", "stream") == 0


def test_poison_is_kept_listed_by_reason_and_shown_without_a_value(lakebound: Lakebound, operated: Operated) -> None:
    put_failure(operated, stream_record(1, keys={"id": {"N": "1E400"}}, attributes={"secret": {"S": CANARY}}))
    assert "1 stays: number" in lakebound.out("dlq", "redrive", "--from", "stream", status=1)
    listed = lakebound.out("dlq", "list", "--from", "quarantine", "--json", status=1)
    (row,) = json.loads(listed)["rows"]
    shown = lakebound.out("dlq", "show", row["id"], "--from", "quarantine")
    assert "number" in shown
    assert CANARY not in listed + shown
    assert CANARY in lakebound.out("dlq", "show", row["id"], "--from", "quarantine", "--payload")
    assert list(lakebound.document("dlq", "redrive", "--from", "quarantine", status=1)["kept"].values()) == ["number"]


def test_a_stack_that_is_not_there_is_a_sentence(lakebound: Lakebound, operated: Operated) -> None:
    assert lakebound("dlq", "list", "--from", "stream", "--stack", "nowhere") == 2
    assert lakebound.err().startswith("lakebound: There is no stack nowhere at ")


def test_no_stack_says_how_to_name_one(lakebound: Lakebound, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("LAKEBOUND_STACK", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.chdir(tmp_path)
    assert "Give --stack NAME, or set LAKEBOUND_STACK" in lakebound.err("dlq", "list", "--from", "stream")
