"""The functions as Lambda runs them: imported with an environment, called with an event, on moto."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import boto3
import pytest
from moto import mock_aws

from lakebound.errors import Misconfigured
from lakebound.transport.object_keys import DataKey
from tests.support.stream_records import TABLE, sequence, stream_record
from tests.support.use_case_world import PREFIX, noise

FUNCTIONS: Final = Path(__file__).resolve().parents[2] / "functions"
REGION: Final = "eu-west-1"
BUCKET: Final = "lake"
_names = count(1)


class Context:
    """What Lambda passes beside the event."""

    function_name = "stream_ingest"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:stream_ingest"
    aws_request_id = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Stack:
    """A bucket, a buffer queue and both functions."""

    def __init__(self, load: Callable[[str], ModuleType], queue_url: str) -> None:
        self._load = load
        self.queue_url = queue_url
        self.s3 = boto3.client("s3")
        self.sqs = boto3.client("sqs")
        self.stream_ingest = load("stream_ingest")
        self.flusher = load("flusher")

    def ingest(self, *records: object) -> dict[str, Any]:
        answer: dict[str, Any] = self.stream_ingest.handler({"Records": list(records)}, Context())
        return answer

    def delivery(self) -> dict[str, Any]:
        """What the queue mapping would hand over: all that is visible."""
        records: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return {"Records": records}
            records += [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "messageAttributes": {},
                    "eventSource": "aws:sqs",
                }
                for message in answer["Messages"]
            ]

    def objects(self) -> dict[str, bytes]:
        listing = self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {one["Key"]: self.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listing}

    def lake(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for key, body in self.objects().items()
            if DataKey.parse(PREFIX, key)
            for line in gzip.decompress(body).splitlines()
        ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "TABLE_NAME": TABLE,
        "S3_BUCKET": BUCKET,
        "QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/123456789012/buffer",
        "MESSAGE_BYTES": "65536",
        "MAX_SECONDS": "0",
        "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield values


@pytest.fixture
def load(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    def load_function(name: str) -> ModuleType:
        # Powertools keeps one logger per service for the life of the process; each test wants its own standard output.
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"{name}-{next(_names)}")
        spec = importlib.util.spec_from_file_location(f"functions_{name}", FUNCTIONS / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_function


@pytest.fixture
def stack(load: Callable[[str], ModuleType], environment: dict[str, str]) -> Stack:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    boto3.client("sqs").create_queue(QueueName="buffer", Attributes={"VisibilityTimeout": "660"})
    return Stack(load, environment["QUEUE_URL"])


def test_a_change_goes_from_the_stream_to_a_file(stack: Stack) -> None:
    image = {"id": {"S": "k0"}, "price": {"N": "81.50"}, "tags": {"SS": ["a", "b"]}}
    assert stack.ingest(stream_record(0, new=image)) == {"batchItemFailures": []}
    assert stack.flusher.handler(stack.delivery(), Context()) == {"batchItemFailures": []}
    (record,) = stack.lake()
    assert record["new_image"] == image
    assert record["sequence_number"] == sequence(0)


@pytest.mark.parametrize("event", [{}, {"Records": []}, {"Records": None}], ids=str)
def test_an_empty_delivery_is_answered(stack: Stack, event: dict[str, Any]) -> None:
    assert stack.stream_ingest.handler(event, Context()) == {"batchItemFailures": []}
    assert stack.flusher.handler(event, Context()) == {"batchItemFailures": []}
    assert stack.objects() == {}


def test_without_its_queue_stream_ingest_returns_the_first_record(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.sqs.delete_queue(QueueUrl=stack.queue_url)
    monkeypatch.setattr(stack.stream_ingest.CLOCK, "sleep", lambda seconds: None, raising=False)
    answer = stack.ingest(stream_record(3), stream_record(4))
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence(3)}]}


def test_without_its_bucket_the_flusher_says_what_is_missing(stack: Stack) -> None:
    stack.ingest(stream_record(0))
    stack.s3.delete_bucket(Bucket=BUCKET)
    with pytest.raises(Misconfigured, match=r"The bucket lake does not exist\. Check S3_BUCKET and the region"):
        stack.flusher.handler(stack.delivery(), Context())


def test_the_flusher_names_each_message_that_is_not_durable(stack: Stack) -> None:
    stack.ingest(stream_record(0))
    stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody="hello")
    delivery = stack.delivery()
    foreign = next(record["messageId"] for record in delivery["Records"] if record["body"] == "hello")
    answer = stack.flusher.handler(delivery, Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": foreign}]}
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


def canaries() -> Iterator[str]:
    for number in count(1):
        yield f"canary{number:03d}"


def canary_records(names: Iterator[str]) -> list[dict[str, Any]]:
    """Values of every type and key, in records that are carried, quarantined for every reason, and too large."""

    def text() -> dict[str, str]:
        return {"S": next(names)}

    def binary() -> dict[str, str]:
        return {"B": b64encode(next(names).encode()).decode()}

    def image() -> dict[str, Any]:
        return {
            "string": text(),
            "binary": binary(),
            "strings": {"SS": [next(names), next(names)]},
            "binaries": {"BS": [binary()["B"], binary()["B"]]},
            "list": {"L": [text(), {"M": {"inner": text(), next(names): {"NULL": True}}}]},
            next(names): {"BOOL": True},
        }

    def poisoned(value: object) -> dict[str, Any]:
        return image() | {"poison": value}

    poison = [
        {"N": next(names)},
        {"S": f"{next(names)}\ud800"},
        {"B": next(names)},
        {"SS": [next(names), ""]},
        {"NS": [next(names)]},
        {next(names): "x"},
        {"BOOL": next(names)},
        {"NULL": next(names)},
        {"L": next(names)},
        {"M": [next(names)]},
        next(names),
    ]
    records = [
        stream_record(number, keys={"id": text()}, attributes=poisoned(value)) for number, value in enumerate(poison)
    ]
    records += [
        stream_record(20, keys={"id": text(), "sort": binary()}, attributes=image()),
        stream_record(21, name="MODIFY", keys={"id": text()}, new={"id": text()} | image()),
        stream_record(22, keys={"id": {"BOOL": next(names)}}),
        stream_record(23, keys={"id": text()}) | {"eventName": next(names)},
        stream_record(24, keys={"id": text()}, created=next(names)),
        stream_record(25, keys={"id": text()}, attributes=image() | {"large": {"S": next(names) + noise(300_000, 1)}}),
        stream_record(26, keys={"id": text()}, eventSourceARN="arn:aws:dynamodb:eu-west-1:123456789012:table/cars"),
    ]
    unnumbered = stream_record(27, keys={"id": text()}, attributes=image())
    unnumbered["dynamodb"]["SequenceNumber"] = next(names)
    return [*records, unnumbered]


def every_spelling(canary: str) -> list[str]:
    """The canary itself, and within base64 at each of the three alignments."""
    spellings = [canary]
    for pad in range(3):
        encoded = b64encode(b"\0" * pad + canary.encode()).decode()
        spellings.append(encoded[4 if pad else 0 : 4 * ((pad + len(canary)) // 3)])
    return spellings


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
