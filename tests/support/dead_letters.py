"""Dead letters and failure objects as SQS and Lambda leave them, and a pipeline in memory that they can go back to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

import orjson

from lakebound.live.ingest import IngestRules
from lakebound.operate.redrive import IngestPipeline
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport import messages
from lakebound.transport.object_keys import partitioner
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.stream_records import ARN, NOW_MS, TABLE, sequence, stream_record

MAPPING = "11111111-2222-3333-4444-555555555555"


class World:
    """A table's pipeline with local twins."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS)
        self.store = MemoryStore(self.clock)
        self.buffer = MemoryQueue(self.clock)
        self.dead = MemoryQueue(self.clock)
        rules = IngestRules(TABLE, partitioner("dt=%Y-%m-%d/HH=%H"), by_event_time=False, message_bytes=262_144)
        self.ingest = IngestPipeline(rules, StreamDecoder(TABLE), self.buffer, self.store, self.clock)

    def fail(self, name: str, records: Sequence[object], **changes: Any) -> str:
        """A failure object as Lambda writes one."""
        key = f"aws/lambda/{MAPPING}/shardId-00000001-abc/2026/11/24/{name}"
        self.store.put_if_absent(key, failure(records, **changes), {})
        return key

    def buffered(self) -> list[dict[str, Any]]:
        """Every record in the buffer queue."""
        return [record for body in bodies(self.buffer) for record in records_in(body)]

    def poison(self, *records: object) -> None:
        """Deliver them, so that they end in quarantine."""
        before = len(self.store.objects)
        self.ingest.carry(records)
        assert len(self.store.objects) == before + len(records)
        self.buffer.messages.clear()


def failure(records: Sequence[object], **changes: Any) -> bytes:
    document = {
        "requestContext": {
            "requestId": "316aa6d0",
            "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:ingest",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 101,
        },
        "version": "1.0",
        "timestamp": "2026-11-24T00:13:49.717Z",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-00000001-abc",
            "startSequenceNumber": sequence(0),
            "endSequenceNumber": sequence(len(records)),
            "batchSize": len(records),
            "streamArn": ARN,
        },
        "payload": json.dumps({"Records": records}),
    }
    return orjson.dumps(document | changes)


def bodies(queue: MemoryQueue) -> list[str]:
    return [waiting.body for waiting in queue.messages]


def records_in(body: str) -> list[dict[str, Any]]:
    members = messages.decode(TABLE, body)
    assert isinstance(members, list)
    return [orjson.loads(line) for member in members for line in gzip.decompress(member.data).splitlines()]


def a_body(number: int = 0) -> str:
    world = World()
    world.ingest.carry([stream_record(number)])
    return bodies(world.buffer)[0]
