"""Both functions as Lambda runs them, over a bucket and a buffer queue on moto."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import boto3

from lakebound.transport.object_keys import DataKey
from tests.support.use_case_world import PREFIX

REGION: Final = "eu-west-1"
BUCKET: Final = "lake"


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
