"""The heartbeat's table in memory, the records of its stream, and the stack that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakebound.live.flush import FlushResult, FlushRules, flush
from lakebound.live.heartbeat import beat
from lakebound.live.ingest import IngestRules, ingest
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import partitioner
from tests.support.local_ports import ManualClock
from tests.support.stream_records import TABLE, stream_record
from tests.support.use_case_world import PREFIX, World

BEATS = "lakebound-heartbeat-51af3dc0"
ARN = f"arn:aws:dynamodb:eu-west-1:123456789012:table/{BEATS}/stream/2026-11-01T08:00:00.000"


class TableWithStream:
    """Port HeartbeatItems over a dictionary, with the stream records that DynamoDB would make."""

    def __init__(self, clock: ManualClock, seconds_a_call: float = 0) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.records: list[dict[str, Any]] = []
        self._clock = clock
        self._pause = seconds_a_call

    def put(self, item: dict[str, Any]) -> None:
        old = self.items.get(item["id"]["S"])
        self.items[item["id"]["S"]] = item
        if item != old:
            self._tell("MODIFY" if old else "INSERT", {"id": item["id"]}, new=item, old=old)

    def remove(self, key: dict[str, Any]) -> None:
        old = self.items.pop(key["id"]["S"], None)
        if old is not None:
            self._tell("REMOVE", key, old=old)

    def _tell(self, name: str, keys: dict[str, Any], **images: Any) -> None:
        created = self._clock.now_ms() // 1000
        record = stream_record(len(self.records), name=name, keys=keys, created=created, eventSourceARN=ARN, **images)
        self.records.append(record)
        self._clock.sleep(self._pause)


def carried(world: World, records: Sequence[dict[str, Any]], file_format: str = "ndjson.gz") -> None:
    """As the stack carries it: stream_ingest's code for another table, into the one buffer queue."""
    rules = IngestRules(BEATS, partitioner("dt=%Y-%m-%d/HH=%H"), False, 262_144, file_format)
    result = ingest(records, rules, StreamDecoder(BEATS), world.queue, world.store, world.clock, world.seconds_left(60))
    assert (result.sent, result.quarantined.total()) == (len(records), 0)


def flushed(world: World, *, beats: str = BEATS, file_format: str = "ndjson.gz") -> FlushResult:
    rules = FlushRules(TABLE, PREFIX, 0, 67_108_864, 30, file_format, beats)
    received = world.take()
    result = flush(received, rules, world.queue, world.store, world.clock, world.seconds_left(120))
    for one in received:
        if one.message_id not in result.failed:
            world.buffer.delete([one.receipt])
    return result


def a_heartbeat(world: World, file_format: str = "ndjson.gz") -> TableWithStream:
    table = TableWithStream(world.clock)
    beat(table, world.clock)
    carried(world, table.records, file_format)
    return table
