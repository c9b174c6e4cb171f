"""The functions as Lambda runs them: imported with an environment, called with an event, on moto."""

from __future__ import annotations

import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from lakebound.errors import Misconfigured
from tests.support.canaries import canaries, canary_records, every_spelling
from tests.support.function_stack import BUCKET, Context, Stack
from tests.support.stream_records import sequence, stream_record


def test_a_change_goes_from_the_stream_to_a_file(stack: Stack) -> None:
    image = {"id": {"S": "k0"}, "price": {"N": "81.50"}, "tags": {"SS": ["a", "b"]}}
    assert stack.ingest(stream_record(0, new=image)) == {"batchItemFailures": []}
    assert stack.flusher.handler(stack.delivery(), Context()) == {"batchItemFailures": []}
    (record,) = stack.lake()
    assert (record["new_image"], record["sequence_number"]) == (image, sequence(0))


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"Records": None}], ids=str)
def test_an_empty_delivery_is_answered(stack: Stack, event: dict[str, Any]) -> None:
    assert stack.stream_ingest.handler(event, Context()) == {"batchItemFailures": []}
    assert stack.flusher.handler(event, Context()) == {"batchItemFailures": []}
    assert stack.objects() == {}


def test_without_its_queue_ingest_returns_the_first_record(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.sqs.delete_queue(QueueUrl=stack.queue_url)
    monkeypatch.setattr(stack.stream_ingest.CLOCK, "sleep", lambda seconds: None, raising=False)
    assert stack.ingest(stream_record(3), stream_record(4)) == {"batchItemFailures": [{"itemIdentifier": sequence(3)}]}


def test_without_its_bucket_the_flusher_says_what_is_missing(stack: Stack) -> None:
    stack.ingest(stream_record(0))
    stack.s3.delete_bucket(Bucket=BUCKET)
    with pytest.raises(Misconfigured, match=r"The bucket lake does not exist\. Check its name .*S3_BUCKET"):
        stack.flusher.handler(stack.delivery(), Context())


def test_the_flusher_names_each_message_that_is_not_durable(stack: Stack) -> None:
    stack.ingest(stream_record(0))
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody="hello")
    delivery = stack.delivery()
    foreign = next(record["messageId"] for record in delivery["Records"] if record["body"] == "hello")
    assert stack.flusher.handler(delivery, Context()) == {"batchItemFailures": [{"itemIdentifier": foreign}]}
    assert [record["sequence_number"] for record in stack.lake()] == [sequence(0)]


@pytest.mark.parametrize(
    ("function", "missing"),
    [
        (function, name)
        for function in ("stream_ingest", "flusher")
        for name in ("TABLE_NAME", "S3_BUCKET", "QUEUE_URL")
    ],
)
def test_a_missing_setting_fails_at_start_with_its_name(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, function: str, missing: str
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(Misconfigured, match=f"{missing} is not set. Set it to the"):
        load(function)


def test_one_metrics_line_says_how_much(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"n": {"S": "\ud800"}}
    without = stream_record(2, name="REMOVE", attributes=bad)
    stack.ingest(stream_record(0), stream_record(1, attributes=bad), without)
    stack.flusher.handler(stack.delivery(), Context())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    measured: dict[str, Any] = {}
    for line in lines:
        if "_aws" in line:
            measured |= line
    expected = {
        "RecordsDelivered": 3,
        "RecordsSent": 2,
        "MessagesSent": 1,
        "RecordsQuarantined": 1,
        "OldImagesRefused": 1,
        "DeliveriesCutShort": 0,
        "MessagesWritten": 1,
        "RecordsWritten": 2,
        "FilesWritten": 1,
        "MessagesRefused": 0,
        "PutsFailed": 0,
    }
    assert {name: sum(measured[name]) for name in expected} == expected


# G14: no value of an item leaves the encrypted stores.


def test_no_value_of_an_item_is_ever_told(
    stack: Stack, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="lakebound")
    names = canaries()
    records = canary_records(names)
    used = int(next(names)[6:]) - 1
    assert used > 40
    told: list[str] = []
    stack.ingest(*records)
    stack.ingest(*records)
    delivery = stack.delivery()
    for number, record in enumerate(delivery["Records"][:2]):
        document = json.loads(record["body"])
        document["members" if number else "claim"] = [
            {"data": "canary001", "partition": "canary002", "count": "canary003"}
        ]
        delivery["Records"].append(record | {"messageId": f"forged-{number}", "body": json.dumps(document)})
    stack.flusher.handler(delivery, Context())
    assert stack.lake() != [], "the values did go to the lake"
    # Every way to fail that says something: an exception's text is what Lambda writes to the log.
    for bucket_object in stack.objects():
        stack.s3.delete_object(Bucket=BUCKET, Key=bucket_object)
    stack.s3.delete_bucket(Bucket=BUCKET)
    for call in (
        lambda: stack.ingest(*records),
        lambda: stack.ingest(records[-1]),
        lambda: stack.flusher.handler(delivery, Context()),
    ):
        with pytest.raises(Exception) as failed:  # noqa: PT011
            call()
        error: BaseException | None = failed.value
        while error is not None:
            told.append(repr(error))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    stack.sqs.delete_queue(QueueUrl=stack.queue_url)
    monkeypatch.setattr(stack.stream_ingest.CLOCK, "sleep", lambda seconds: None, raising=False)
    stack.ingest(stream_record(20, keys={"id": {"S": "canary001"}}))
    captured = capfd.readouterr()
    told += [captured.out, captured.err, caplog.text]
    everything = "\n".join(told)
    assert "records went to quarantine" in everything
    assert "messages not written" in everything
    assert "delivery cut short" in everything
    for number in range(1, used + 1):
        for spelling in every_spelling(f"canary{number:03d}"):
            assert spelling not in everything


def test_the_canaries_would_be_seen() -> None:
    """The red control: what is looked for is what a value looks like when somebody logs it."""
    (record, *_) = canary_records(canaries())
    shown = json.dumps(record)
    assert any(spelling in shown for spelling in every_spelling("canary001"))
    assert every_spelling("canary007")[1] in b64encode(b"canary007 and more").decode()
    for pad in range(3):
        assert every_spelling("canary007")[1 + pad] in b64encode(b"x" * (pad + 3) + b"canary007!").decode()
    assert b64decode(b64encode(b"canary007")) == b"canary007"
    assert "functions_stream_ingest" not in sys.modules
