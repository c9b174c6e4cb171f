"""stream_ingest as anybody would write it: plain JSON by TypeDeserializer, one record a message, batches of ten."""

from __future__ import annotations

import base64
import json
import os
from decimal import Decimal
from typing import Any

import boto3
from boto3.dynamodb.types import Binary, TypeDeserializer


class Deserializer(TypeDeserializer):
    """boto3's, for events: Lambda hands over binary as base64 text."""

    def _deserialize_b(self, value: str) -> Binary:
        return Binary(base64.b64decode(value))


deserializer = Deserializer()
sqs: Any = boto3.client("sqs", region_name=os.environ.get("AWS_REGION", "us-east-1"))
QUEUE_URL = os.environ.get("QUEUE_URL", "")


def plain(value: Any) -> Any:
    """What json.dumps does not know."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, set):
        return sorted(value, key=str)
    if isinstance(value, Binary):
        return base64.b64encode(bytes(value)).decode()  # type: ignore[call-overload]
    raise TypeError(type(value).__name__)


def image(typed: dict[str, Any] | None) -> dict[str, Any] | None:
    """An image as plain values."""
    return None if typed is None else {name: deserializer.deserialize(value) for name, value in typed.items()}


def body(record: dict[str, Any]) -> str:
    """One message."""
    change = record["dynamodb"]
    return json.dumps(
        {
            "event_id": record["eventID"],
            "event_name": record["eventName"],
            "sequence_number": change["SequenceNumber"],
            "created": change["ApproximateCreationDateTime"],
            "keys": image(change["Keys"]),
            "new_image": image(change.get("NewImage")),
            "old_image": image(change.get("OldImage")),
        },
        default=plain,
    )


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Send every record; a failed entry fails the delivery."""
    bodies = [body(record) for record in event["Records"]]
    for start in range(0, len(bodies), 10):
        # SQS takes 1 MiB a batch: large records go alone.
        batch = bodies[start : start + 10]
        groups = [batch] if sum(map(len, batch)) < 1_000_000 else [[one] for one in batch]
        for group in groups:
            answer = sqs.send_message_batch(
                QueueUrl=QUEUE_URL,
                Entries=[{"Id": str(place), "MessageBody": text} for place, text in enumerate(group)],
            )
            if answer.get("Failed"):
                raise RuntimeError("messages were refused")
    return {"batchItemFailures": []}
