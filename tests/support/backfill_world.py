"""A table that lives while it is backfilled: items, a stream, capacity, a clock; all in memory, all deterministic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from isal import igzip

from lakebound.backfill.exports import ExportState
from lakebound.backfill.run_context import Ports, RunContext, RunRules
from lakebound.backfill.run_state import RunState
from lakebound.backfill.segment_states import plan_scan
from lakebound.backfill.segment_worker import Ahead, Ask, ClockSkewed, Page, PageSource, Throttled, when_taken
from lakebound.backfill.start_states import estimate, validate
from lakebound.backfill.state_machine import perform
from lakebound.errors import LakeboundError, ObjectMissing, StoreUnavailable
from lakebound.formats.registry import reader_of
from lakebound.ports import Overtaken, StoredObject
from lakebound.record.attributes import Image
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import decode_line, encode_line
from lakebound.record.redaction import Redaction
from lakebound.record.stream_records import ChangeEvent, StreamDecoder
from lakebound.source.facts import Account, MappingFacts, TableDescription
from lakebound.times import TimeRange
from lakebound.transport.object_keys import DataKey, partitioner
from tests.support.local_ports import MemoryMetrics, MemoryQueue, MemoryUpstream

START_MS = 1_795_000_000_000
LABEL = "2026-11-18T09:06:40.000"
STREAM = f"arn:aws:dynamodb:us-east-1:123456789012:table/cars/stream/{LABEL}"
PREFIX = "ddb/cars"
TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/cars"


class Clock:
    """Moves on when somebody sleeps or reads; whatever is due happens then."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms
        self.due: list[tuple[int, Callable[[], None]]] = []

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.pass_ms(round(seconds * 1000))

    def pass_ms(self, ms: int) -> None:
        end = self.ms + ms
        while self.due and self.due[0][0] <= end:
            at, act = self.due.pop(0)
            self.ms = max(self.ms, at)
            act()
        self.ms = max(self.ms, end)

    def at(self, ms: int, act: Callable[[], None]) -> None:
        self.due.append((ms, act))
        self.due.sort(key=lambda entry: entry[0])


@dataclass
class Bucket:
    """Ports ObjectStore and Documents. `before` is told each write and may raise."""

    clock: Clock
    objects: dict[str, bytes] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda key: None
    after: Callable[[str], None] = lambda key: None

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        self.before(key)
        if key in self.objects:
            return False
        self.objects[key] = body
        self.written.append(key)
        self.after(key)
        return True

    def get(self, key: str, max_bytes: int) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"{key} does not exist")
        assert len(self.objects[key]) <= max_bytes
        return self.objects[key]

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield StoredObject(key, len(self.objects[key]), self.times.get(key, self.clock.ms))

    def load(self, key: str) -> tuple[bytes, str] | None:
        body = self.objects.get(key)
        return None if body is None else (body, hashlib.md5(body).hexdigest())

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        self.before(key)
        stored = self.load(key)
        if (stored[1] if stored else None) != tag:
            raise Overtaken(f"{key} was changed by another writer")
        self.objects[key] = body
        self.written.append(key)
        self.after(key)
        return hashlib.md5(body).hexdigest()

    def records(self) -> list[dict[str, Any]]:
        found = []
        for key, body in self.objects.items():
            parsed = DataKey.parse(PREFIX, key)
            if parsed is not None:
                lines = list(reader_of(parsed.ext)(body))
                assert len(lines) == parsed.count, key
                found += lines
        return found


class Table:
    """A table with its stream. Every write is a stream record; `lost` is asked whether that one is never delivered."""

    def __init__(self, clock: Clock, *, capacity: float = 0, page_items: int = 3) -> None:
        self.clock = clock
        self.items: dict[str, Image] = {}
        self.table_id = "table-1"
        self.stream: list[dict[str, Any]] = []
        self.lost: Callable[[int], bool] = lambda ms: False
        self.page_items = page_items
        self.capacity = capacity
        self.stored_units = capacity
        self.filled_ms = clock.ms
        self.page_ms = 20
        self.unit_of: Callable[[Image], float] = lambda item: 1.0
        self.pages = 0
        self.throttles = 0
        self.skew_ms = 0
        self.stream_arn: str | None = STREAM
        self.recovery_from_ms: int | None = START_MS - 35 * 86_400_000
        self.size = 0
        self._sequence = 0
        self.log: list[tuple[int, str, Image | None, Image | None]] = []

    def put(self, name: str, value: int) -> None:
        image = {"id": {"S": name}, "v": {"N": str(value)}}
        old = self.items.get(name)
        if old != image:
            self.items[name] = image
            self._emit("MODIFY" if old else "INSERT", name, image, old)

    def delete(self, name: str) -> None:
        old = self.items.pop(name, None)
        if old is not None:
            self._emit("REMOVE", name, None, old)

    def _emit(self, event: str, name: str, new: Image | None, old: Image | None) -> None:
        self._sequence += 1
        self.log.append((self.clock.ms, name, new, old))
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": self.clock.ms // 1000,
            "Keys": {"id": {"S": name}},
            "SequenceNumber": str(10**22 + self._sequence),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        body |= {"NewImage": new} if new else {}
        body |= {"OldImage": old} if old else {}
        record = {"eventID": str(self._sequence), "eventName": event, "eventSourceARN": STREAM, "dynamodb": body}
        if not self.lost(self.clock.ms):
            self.stream.append(record)

    def as_of(self, ms: int) -> dict[str, Image]:
        """The items at a moment, as a full export holds them."""
        items: dict[str, Image] = {}
        for at, name, new, _ in self.log:
            if at <= ms:
                if new is None:
                    items.pop(name, None)
                else:
                    items[name] = new
        return items

    def changes(self, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        """An incremental export's lines: one net state per item, none for one inserted and deleted inside."""
        lines = []
        inside = {name: at for at, name, _, _ in self.log if from_ms <= at < to_ms}
        before, after = self.as_of(from_ms - 1), self.as_of(to_ms - 1)
        for name, at in inside.items():
            old, new = before.get(name), after.get(name)
            if old is None and new is None:
                continue
            line: dict[str, Any] = {
                "Metadata": {"WriteTimestampMicros": {"N": str(at * 1000)}},
                "Keys": {"id": {"S": name}},
            }
            lines.append(line | ({"NewImage": new} if new else {}) | ({"OldImage": old} if old else {}))
        return lines

    def delivered(self) -> list[dict[str, Any]]:
        decoder = StreamDecoder("cars")
        return [decode_line(encode_line(decoder.decode(one, self.clock.ms), self.clock.ms)) for one in self.stream]

    def flush(self, bucket: Bucket, ingest_ms: int | None = None) -> None:
        """Write what was delivered so far as one batch file of the hour."""
        decoder = StreamDecoder("cars")
        now = self.clock.ms if ingest_ms is None else ingest_ms
        lines = [encode_line(decoder.decode(one, self.clock.ms), now) for one in self.stream]
        if lines:
            folder = partitioner("dt=%Y-%m-%d/HH=%H")(now, False)
            digest = hashlib.sha256(b"".join(lines)).hexdigest()[:32]
            key = DataKey(folder, "stream", now, len(lines), digest, "ndjson.gz").format(PREFIX)
            bucket.objects[key] = igzip.compress(b"".join(lines))

    def describe(self, *, recovery: bool = False) -> TableDescription:
        return TableDescription(
            name="cars",
            arn=TABLE_ARN,
            table_id=self.table_id,
            key_names=("id",),
            items=len(self.items),
            size=self.size or 100 * len(self.items),
            read_capacity=int(self.capacity),
            stream_arn=self.stream_arn,
            recovery_from_ms=self.recovery_from_ms if recovery else None,
        )

    def take(self, units: float) -> None:
        """Provisioned capacity with five minutes of burst left out: what is not there is refused."""
        if not self.capacity:
            return
        passed = (self.clock.ms - self.filled_ms) / 1000
        self.stored_units = min(self.capacity * 2, self.stored_units + passed * self.capacity)
        self.filled_ms = self.clock.ms
        if self.stored_units <= 0:
            self.throttles += 1
            raise Throttled("table cars throttled scan")
        self.stored_units -= units

    def segment_of(self, name: str, total: int) -> int:
        return int(hashlib.md5(name.encode()).hexdigest(), 16) % total

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        asked = self.clock.ms
        found = [self.items[key["id"]["S"]] for key in keys if key["id"]["S"] in self.items]
        self.clock.pass_ms(self.page_ms)
        return {
            "Responses": {"cars": found},
            "UnprocessedKeys": {},
            "ConsumedCapacity": [{"CapacityUnits": float(len(keys))}],
        }, asked


@dataclass
class Segment:
    """One segment of a Table's scan; an item is read at the time of its page."""

    table: Table
    decoder: SnapshotDecoder
    segment: int
    total: int
    margin_ms: int
    origin: str = "scan"

    def page(self, start: Any, limit: int | None) -> Page:
        table = self.table
        asked = table.clock.ms
        if abs(table.skew_ms) > 5_000:
            raise ClockSkewed("the local clock is far off")
        table.take(0)
        after = start["id"]["S"] if start else ""
        names = sorted(
            name for name in table.items if name > after and table.segment_of(name, self.total) == self.segment
        )
        most = min(table.page_items, limit or table.page_items)
        some = names[:most]
        values = [json.loads(json.dumps(table.items[name])) for name in some]
        units = sum(table.unit_of(value) for value in values) or 0.5
        table.take(units)
        table.pages += 1
        table.clock.pass_ms(table.page_ms)
        more = len(names) > most
        return Page(asked, asked - self.margin_ms, values, units, {"id": {"S": some[-1]}} if more else None)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return self.decoder.item(value, label_ms, event_id)


def at_once(ask: Ask) -> Ask:
    """Port Ahead: the page is read as soon as it is asked for, so all that comes between finds it read already."""
    try:
        page = ask()
    except LakeboundError as error:
        failure = error

        def fail() -> Page:
            raise failure

        return fail
    return lambda: page


@dataclass
class StreamMapping:
    facts: MappingFacts = field(default_factory=lambda: MappingFacts("m", STREAM, "Enabled", START_MS - 3_600_000))

    def mapping(self) -> MappingFacts:
        return self.facts


@dataclass
class NoExports:
    def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
        raise AssertionError("no export was asked for")

    def describe(self, arn: str) -> ExportState:
        raise AssertionError("no export was asked for")


@dataclass
class World:
    """Table, bucket, clock and the context over them; `function` is the handler's part after decoding."""

    clock: Clock
    table: Table
    bucket: Bucket
    context: RunContext
    mapping: StreamMapping
    timeout: float
    metrics: MemoryMetrics
    buffer: MemoryQueue
    dead: MemoryQueue
    calls: list[dict[str, Any]] = field(default_factory=list)

    def function(self, event: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(event)
        end = self.clock.ms + round(self.timeout * 1000)
        return perform(self.context, event, lambda: (end - self.clock.ms) / 1000)

    def plan(self, segments: int, read_capacity: float = 0) -> RunState:
        """The run `run-1` as a scan that is cut into so many segments and has read nothing yet."""
        state = validate(self.context, {"segments": segments, "read_capacity": read_capacity}, "run-1")
        return plan_scan(self.context, estimate(self.context, state))


def world(
    *,
    margin_ms: int = 60_000,
    capacity: float = 0,
    page_items: int = 3,
    timeout: float = 900,
    max_records: int = 0,
    max_file_bytes: int = 64 * 1024 * 1024,
    max_seconds: int = 240,
    exporter: Any = None,
    file_format: str = "ndjson.gz",
    redaction: Redaction | None = None,
    scan: Callable[[Table], Callable[[SnapshotDecoder, int, int, bool, int], PageSource]] | None = None,
    clock: Clock | None = None,
    account: Account | None = None,
    ahead: Ahead = when_taken,
) -> World:
    clock = clock or Clock()
    table = Table(clock, capacity=capacity, page_items=page_items)
    bucket = Bucket(clock)
    mapping = StreamMapping()
    metrics = MemoryMetrics()
    dead = MemoryQueue(clock)
    buffer = MemoryQueue(clock, max_receives=10, dead_letters=dead)

    def segment(decoder: SnapshotDecoder, number: int, total: int, consistent: bool, margin: int) -> PageSource:
        return Segment(table, decoder, number, total, margin)

    rules = RunRules(
        table="cars",
        prefix=PREFIX,
        partition=partitioner("dt=%Y-%m-%d/HH=%H"),
        max_records=max_records,
        max_file_bytes=max_file_bytes,
        max_seconds=max_seconds,
        margin_ms=margin_ms,
        file_format=file_format,
        redaction=redaction,
    )
    ports = Ports(
        source=table,
        scan=scan(table) if scan else segment,
        mapping=mapping,
        exporter=lambda arn: exporter or NoExports(),
        store=bucket,
        documents=bucket,
        clock=clock,
        metrics=metrics,
        upstream=MemoryUpstream(buffer, dead, clock),
        account=account,
        ahead=ahead,
    )
    return World(clock, table, bucket, RunContext(rules, ports), mapping, timeout, metrics, buffer, dead)


def filled(count: int = 100, **options: Any) -> World:
    """A world of these options, with so many items in its table."""
    made = world(**options)
    for number in range(count):
        made.table.put(f"car-{number:04}", number)
    return made


def mapped(made: World, **changed: Any) -> None:
    """Lambda describes the stream's mapping so, changed at this moment."""
    made.mapping.facts = replace(made.mapping.facts, **{"modified_ms": made.clock.ms} | changed)


def unavailable(key: str) -> None:
    raise StoreUnavailable(f"could not put {key}", hint="Try again")
