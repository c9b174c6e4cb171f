"""ORDERING.md in plain Python: both registers kept whole, nothing compacted. The reference for real merges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support.independent_writer import Record


@dataclass(slots=True)
class Registers:
    """What has been received for one key."""

    version: str = ""
    stream_image: Any = None
    stream_time_ms: int | None = None
    label_ms: int = 0
    base: str = ""
    base_image: Any = None

    def receive(self, record: Record) -> None:
        if record["origin"] == "stream":
            time_ms = record["approx_creation_time_ms"]
            self.stream_time_ms = time_ms if self.stream_time_ms is None else max(self.stream_time_ms, time_ms)
            if record["version"] > self.version:
                self.version, self.stream_image = record["version"], record["new_image"]
            return
        present = "0" if record["new_image"] is None else "1"
        base = f"{record['snapshot_label_ms']:015d}|{record['snapshot_run']}|{present}"
        if base > self.base:
            self.base, self.base_image, self.label_ms = base, record["new_image"], record["snapshot_label_ms"]

    @property
    def visible(self) -> Any:
        if not self.base or (self.stream_time_ms is not None and self.stream_time_ms >= self.label_ms):
            return self.stream_image
        return self.base_image


def receive_all(records: Iterable[Record]) -> dict[str, Registers]:
    by_key: dict[str, Registers] = {}
    for record in records:
        by_key.setdefault(record["key"], Registers()).receive(record)
    return by_key
