"""G14 over the sinks that are no encrypted store, beside logs and exceptions (test_handlers).

What the live path and a backfill leave where the encryption of S3 and SQS does not reach: answers, metrics, message
attributes, keys and metadata of objects, and all that Step Functions keeps of an execution, also of one that fails.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.backfill_world import unavailable
from tests.support.canaries import CANARY, canaried, canaries, canary_records, every_spelling, seen
from tests.support.function_stack import BUCKET, Context, Stack
from tests.support.state_machine import Failed, start


def of_messages(stack: Stack) -> Iterator[str]:
    """Everything of the buffer's messages but their bodies, which SQS encrypts."""
    while True:
        answer = stack.sqs.receive_message(
            QueueUrl=stack.queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        if not answer.get("Messages"):
            return
        for message in answer["Messages"]:
            yield json.dumps({name: value for name, value in message.items() if name != "Body"}, default=str)


def attributes_of(messages: list[str]) -> set[str]:
    """The names of the message attributes, which SQS does not encrypt."""
    return {name for one in messages for name in json.loads(one).get("MessageAttributes", {})}


def of_objects(stack: Stack) -> Iterator[str]:
    """Everything of the bucket's objects but their bodies: keys, user metadata, tags, types."""
    for key in stack.objects():
        head = stack.s3.head_object(Bucket=BUCKET, Key=key)
        tags = stack.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
        yield json.dumps([key, head["Metadata"], head["ContentType"], tags])


def found(sinks: list[str], used: int) -> set[str]:
    whole = "\n".join(sinks)
    names = (f"canary{number:03d}" for number in range(1, used + 1))
    return {name for name in names if any(spelling in whole for spelling in every_spelling(name))}


def test_only_bodies_of_messages_and_objects_hold_a_value(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    names = canaries()
    records = canary_records(names)
    used = int(next(names)[6:]) - 1
    sinks = [json.dumps(stack.ingest(*records[:-1])), json.dumps(stack.ingest(*records))]
    delivery = stack.delivery()
    sinks += [json.dumps(stack.flusher.handler(delivery, Context()))]
    stack.ingest(*records[:-1])
    messages, objects = list(of_messages(stack)), list(of_objects(stack))
    assert messages
    assert {part for one in objects for part in ("/claims/", "/quarantine/", "dt=") if part in one} == {
        "/claims/",
        "/quarantine/",
        "dt=",
    }
    metrics = [line for line in capfd.readouterr().out.splitlines() if '"_aws"' in line]
    assert {name for line in metrics for name in json.loads(line) if name.startswith("Records")} >= {
        "RecordsDelivered",
        "RecordsQuarantined",
        "RecordsWritten",
    }
    sinks += [*messages, *objects, *metrics]
    assert found(sinks, used) == set()
    # A member's compressed bytes in an attribute hold every value, and no canary can be read in them.
    assert attributes_of(messages) == set()

    # Red control: a value in a message attribute, in an object's metadata or in its key is seen, and an attribute whose
    # values are compressed.
    for attribute in (
        {"key": {"DataType": "String", "StringValue": "canary001"}},
        {"data": {"DataType": "Binary", "BinaryValue": gzip.compress(b"canary004")}},
    ):
        stack.sqs.send_message(QueueUrl=stack.queue_url, MessageBody="x", MessageAttributes=attribute)
    stack.s3.put_object(Bucket=BUCKET, Key="ddb/id=canary002", Body=b"", Metadata={"key": "canary003"})
    messages = list(of_messages(stack))
    assert attributes_of(messages) == {"key", "data"}
    assert found([*messages, *of_objects(stack)], used) == {"canary001", "canary002", "canary003"}


def history(made: Any, execution: Any) -> list[str]:
    """What Step Functions keeps: the input of each task, the documents between the states."""
    return [json.dumps(made.calls), *execution.documents]


@pytest.mark.parametrize("mode", ["scan", "export"])
def test_an_execution_that_fails_and_is_redriven_keeps_no_value_in_its_history(mode: str) -> None:
    made = canaried(None)
    refused: list[str] = []

    def outage(key: str) -> None:
        if key.startswith("ddb/") and len(refused) < 6:
            refused.append(key)
            unavailable(key)

    made.bucket.before = outage
    execution = start(made.function, {"mode": mode}, sleep=made.clock.sleep)
    with pytest.raises(Failed) as failed:
        execution.run()
    told = [failed.value.state, failed.value.error, failed.value.cause, str(failed.value)]
    assert "could not put" in told[2]
    told += [json.dumps(execution.run()), *history(made, execution)]
    assert seen(told) == []
    assert execution.documents
    # Red control: the values are in the world that was read.
    assert CANARY in json.dumps(made.table.items)
    assert seen([*told, json.dumps(made.table.items)]) != []
