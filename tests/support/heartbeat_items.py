"""The heartbeat's table in memory, and the records of its stream."""

from __future__ import annotations

from typing import Any

from tests.support.local_ports import ManualClock
from tests.support.stream_records import stream_record

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
