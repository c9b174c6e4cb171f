"""What the stack does of itself over a Plant: a heartbeat every few minutes, and a share verified each night.

The heartbeat, its reader's use case and the comparison are the real ones; the schedules and Lambda's end are played.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lakebound.errors import LakeboundError
from lakebound.live.heartbeat import Hops, beat
from lakebound.live.ingest import IngestRules, ingest
from lakebound.operate.sample import Selection, Stratum
from lakebound.operate.verify import Report
from lakebound.record.stream_records import StreamDecoder
from lakebound.times import utc
from lakebound.transport.object_keys import partitioner
from tests.support.heartbeat_items import BEATS, TableWithStream

if TYPE_CHECKING:
    from tests.incidents.plant import Plant

HEARTBEAT_MINUTES: Final = 5
_ALARM_MS: Final = 1_800_000
"""For how long HeartbeatMissing looks back."""

_NIGHT_MS: Final = 24 * 3_600_000
_NIGHTS_MS: Final = 26 * 3_600_000
"""For how long VerifyMissing looks back."""

_RULES: Final = IngestRules(BEATS, partitioner("dt=%Y-%m-%d/HH=%H"), by_event_time=False, message_bytes=262_144)


@dataclass
class PlayedHeartbeat:
    """HeartbeatMinutes=5. `turn` is the schedule and the stream's reader; `arrived` is told by the flusher."""

    plant: Plant
    puts: list[int] = field(default_factory=list)
    """When a heartbeat reached the bucket."""
    _next_ms: int = 0

    def turn(self) -> None:
        now_ms = self.plant.clock.now_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + HEARTBEAT_MINUTES * 60_000
        table = TableWithStream(self.plant.clock)
        beat(table, self.plant.clock)
        queue, store = self.plant.outage.queue, self.plant.outage.store
        ingest(table.records, _RULES, StreamDecoder(BEATS), queue, store, self.plant.clock, lambda: 60.0)

    def arrived(self, heartbeats: list[Hops]) -> None:
        if heartbeats:
            self.puts.append(self.plant.clock.now_ms())

    def measured(self) -> dict[str, float]:
        since_ms = self.plant.clock.now_ms() - _ALARM_MS
        return {"HeartbeatSeconds SampleCount": sum(at > since_ms for at in self.puts)}


@dataclass
class PlayedNight:
    """VerifyTarget with a VerifyShare of 1/`of`. An invocation has time for so many rows of the lake."""

    plant: Plant
    of: int
    rows: int = 1_000
    told: list[str] = field(default_factory=list)
    """What the function's log said of nights that were not judged."""
    puts: list[tuple[int, int]] = field(default_factory=list)
    """When the metric Unequal was put, and its value."""
    _next_ms: int = 0

    def turn(self) -> None:
        now_ms = self.plant.clock.now_ms()
        if now_ms < self._next_ms:
            return
        self._next_ms = now_ms + _NIGHT_MS
        read = 0

        def progress(side: str, more: int) -> None:
            nonlocal read
            read += more if side == "lake" else 0
            if read > self.rows:
                raise LakeboundError("too much for one invocation")

        try:
            report = self.plant.compare(Selection(Stratum.on(utc(now_ms).date(), self.of)), self.of, progress)
        except LakeboundError as error:
            self.told.append(error.what)
            return
        self.publish(report)

    def publish(self, report: Report) -> None:
        """As `lakebound verify --publish` does too."""
        self.puts.append((self.plant.clock.now_ms(), report.wrong))

    def measured(self) -> dict[str, float]:
        since_ms = self.plant.clock.now_ms() - _NIGHTS_MS
        newest = {"Unequal": float(self.puts[-1][1])} if self.puts else {}
        return {**newest, "Unequal SampleCount": sum(at > since_ms for at, _ in self.puts)}
