"""A whole pipeline on the ports: a table with its stream, both use cases under their mappings' rules, and a lake.

The use cases are the real ones; the mappings, the stream's 24 hours and the lake's registers are played here.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from lakebound.errors import QueueUnavailable, StoreUnavailable
from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules
from lakebound.operate.first_look import Progress
from lakebound.operate.redrive import IngestPipeline
from lakebound.operate.repair import RepairResult, repair
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page
from lakebound.operate.status import PipelineFacts, Status, assess, open_gaps
from lakebound.operate.verify import Patience, Report, verify
from lakebound.ports import ReceivedMessage, StoredObject
from lakebound.record.attributes import Image, canonical_key
from lakebound.record.stream_records import StreamDecoder
from lakebound.source.facts import SLICE_MS, MappingFacts, Slice
from lakebound.times import format_time
from lakebound.transport.object_keys import DataKey, partitioner
from lakebound.transport.undelivered import pending_failures, pending_quarantine
from lakebound_spark.silver.due_merge import AT_ONCE, MergeSchedule
from tests.incidents.healing import Healing
from tests.incidents.merge_job import WITHIN_S, PlayedMergeJob
from tests.incidents.schedules import HEARTBEAT_MINUTES, PlayedHeartbeat, PlayedNight
from tests.support.heartbeat_items import BEATS
from tests.support.local_ports import ManualClock, MemoryMetrics, MemoryQueue, MemoryStore
from tests.support.registers import receive_all
from tests.support.stream_records import ARN, TABLE

PREFIX = f"ddb/{TABLE}"
MAPPING = "11111111-2222-3333-4444-555555555555"
RETENTION_MS = 24 * 3_600_000
RETRIES = 5
MARGIN_MS = 60_000


class Outage:
    """A store and a queue that refuse while `down` names them."""

    def __init__(self, store: MemoryStore, queue: MemoryQueue) -> None:
        self.down: set[str] = set()
        self.store = _Store(store, self.down)
        self.queue = _Queue(queue, self.down)


class _Store:
    def __init__(self, inner: MemoryStore, down: set[str]) -> None:
        self._inner, self._down = inner, down

    def _check(self) -> None:
        if "bucket" in self._down:
            raise StoreUnavailable("The bucket refuses (KMS.DisabledException)")

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        self._check()
        return self._inner.put_if_absent(key, body, metadata)

    def get(self, key: str, max_bytes: int) -> bytes:
        self._check()
        return self._inner.get(key, max_bytes)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._inner.list(prefix)


class _Queue:
    def __init__(self, inner: MemoryQueue, down: set[str]) -> None:
        self._inner, self._down = inner, down

    def _check(self) -> None:
        if "queue" in self._down:
            raise QueueUnavailable("The queue refuses (KmsDisabled)")

    def send(self, bodies: Sequence[str]) -> list[int]:
        self._check()
        return self._inner.send(bodies)

    def receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        self._check()
        return self._inner.receive(wait_seconds)

    def delete(self, receipts: Sequence[str]) -> list[int]:
        self._check()
        return self._inner.delete(receipts)

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        self._check()
        self._inner.hide(receipts, seconds)


class Plant:
    """The pipeline. `write` is the application; `run` lets everything else go on for a while."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bucket = MemoryStore(self.clock)
        self.dead = MemoryQueue(self.clock)
        self.buffer = MemoryQueue(self.clock, visibility_seconds=1_020, max_receives=10, dead_letters=self.dead)
        self.outage = Outage(self.bucket, self.buffer)
        self.table: dict[str, Image] = {}
        self.stream: list[dict[str, Any]] = []
        self.stream_arn = self.mapped_arn = ARN
        self.mapping_enabled = True
        self.broken: set[str] = set()
        self.edited: dict[str, str | None] = {}
        self.errors: Counter[str] = Counter()
        self._tries = 0
        self._number = 0
        rules = IngestRules(TABLE, partitioner("dt=%Y-%m-%d/HH=%H"), by_event_time=False, message_bytes=262_144)
        self.ingest = IngestPipeline(rules, StreamDecoder(TABLE), self.outage.queue, self.outage.store, self.clock)
        self.decoder = StreamDecoder(TABLE)
        self.metrics = MemoryMetrics()
        self._mapped: tuple[str, bool] = (self.mapped_arn, True)
        self._mapped_ms = self.clock.now_ms() - 7_200_000
        self.healing = Healing(self, PREFIX, MARGIN_MS)
        self.merge_job: PlayedMergeJob | None = None
        """Without one the lake is all files that lie in the bucket."""
        self.queue_mapping_enabled = True
        self.heartbeat: PlayedHeartbeat | None = None
        self.night: PlayedNight | None = None

    def start_merge_job(self, schedule: MergeSchedule = AT_ONCE) -> PlayedMergeJob:
        """A merge job that publishes, from now on."""
        self.merge_job = PlayedMergeJob(self.bucket, PREFIX, self.clock, schedule)
        return self.merge_job

    def write(self, key: str, value: str | None, **forged: Any) -> None:
        """Put an item, or with None delete it."""
        keys: Image = {"id": {"S": key}}
        name = canonical_key(keys)
        old = self.table.get(name)
        new = None if value is None else keys | {"v": {"S": value}}
        if new is None:
            self.table.pop(name, None)
        else:
            self.table[name] = new
        self._number += 1
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": self.clock.now_ms() // 1000,
            "Keys": keys,
            "SequenceNumber": str(10**24 + self._number),
            "SizeBytes": 10,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
        body |= {"NewImage": new} if new is not None else {}
        body |= {"OldImage": old} if old is not None else {}
        body |= forged
        kind = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
        self.stream.append(
            {"eventID": f"{self._number}", "eventName": kind, "eventSourceARN": self.stream_arn, "dynamodb": body}
        )

    def make_stream_anew(self) -> None:
        """Somebody switches the table's stream off and on."""
        label = f"{datetime.fromtimestamp(self.clock.now_ms() // 1000, UTC):%Y-%m-%dT%H:%M:%S}.000"
        self.stream_arn = f"{self.stream_arn.rpartition('/')[0]}/{label}"

    def run(self, seconds: float, step: float = 30) -> None:
        """Both mappings, every `step` seconds, and the looks at the stream."""
        until = self.clock.now_ms() + round(seconds * 1000)
        while self.clock.now_ms() < until:
            self.deliver()
            if self.heartbeat is not None:
                self.heartbeat.turn()
            if self.queue_mapping_enabled:
                self.wake_flusher()
            if self.night is not None:
                self.night.turn()
            self.healing.look()
            if self.merge_job is not None:
                self.merge_job.turn()
            self.clock.sleep(step)

    def mapping(self) -> MappingFacts:
        if (self.mapped_arn, self.mapping_enabled) != self._mapped:
            self._mapped, self._mapped_ms = (self.mapped_arn, self.mapping_enabled), self.clock.now_ms()
        state = "Enabled" if self.mapping_enabled else "Disabled"
        return MappingFacts(MAPPING, self.mapped_arn, state, self._mapped_ms, "OK", self.clock.now_ms())

    def _measure(self, ready: Sequence[Mapping[str, Any]], has_failed: bool) -> None:
        now = self.clock.now_ms()
        age = now - int(ready[-1]["dynamodb"]["ApproximateCreationDateTime"]) * 1000
        self.metrics.kept.append(Slice(now // SLICE_MS * SLICE_MS, max(age, 0), failed=int(has_failed)))

    def deliver(self, at_most: int = 100) -> None:
        """One delivery of the stream's mapping; what fails too often becomes a failure object, as Lambda does."""
        now = self.clock.now_ms()
        self.stream = [
            one for one in self.stream if now - one["dynamodb"]["ApproximateCreationDateTime"] * 1000 < RETENTION_MS
        ]
        ready = [one for one in self.stream if one["eventSourceARN"] == self.mapped_arn][:at_most]
        if not ready or not self.mapping_enabled:
            return
        unsent: str | None = str(ready[0]["dynamodb"]["SequenceNumber"])
        if "stream_ingest" in self.broken:
            self.errors["stream_ingest"] += 1
        else:
            unsent = self.ingest.carry(ready).unsent_from
        self._measure(ready, unsent is not None)
        done = len(ready)
        if unsent is not None:
            done = next(n for n, one in enumerate(ready) if one["dynamodb"]["SequenceNumber"] == unsent)
        self._tries = 0 if done else self._tries + 1
        if self._tries > RETRIES:
            self._give_up(ready)
            done, self._tries = len(ready), 0
        gone = {one["eventID"] for one in ready[:done]}
        self.stream = [one for one in self.stream if one["eventID"] not in gone]

    def _give_up(self, records: Sequence[Mapping[str, Any]]) -> None:
        document = {
            "requestContext": {"condition": "RetryAttemptsExhausted"},
            "DDBStreamBatchInfo": {},
            "payload": orjson.dumps({"Records": records}).decode(),
        }
        key = f"aws/lambda/{MAPPING}/shard-1/2026/11/24/{self.clock.now_ms()}"
        self.bucket.put_if_absent(key, orjson.dumps(document), {})

    def wake_flusher(self) -> None:
        """Deliveries of the queue's mapping until it holds nothing ready."""
        beats = BEATS if self.heartbeat else ""
        rules = FlushRules(TABLE, PREFIX, max_records=0, max_file_bytes=1 << 26, max_seconds=0, heartbeat_table=beats)
        for _ in range(200):
            received = self.buffer.receive(0)
            if not received:
                return
            if "flusher" in self.broken:
                self.errors["flusher"] += 1
                self.buffer.hide([one.receipt for one in received], 30)
                continue
            result = flush(received, rules, self.outage.queue, self.outage.store, self.clock, lambda: 120.0)
            if self.heartbeat is not None:
                self.heartbeat.arrived(result.heartbeats)
            kept = set(result.failed)
            if done := [one.receipt for one in received if one.message_id not in kept]:
                self.buffer.delete(done)

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        """Port LakeTable: the registers over every batch file, and what somebody edited since."""
        for key, registers in receive_all(self.records()).items():
            text = None if registers.visible is None else orjson.dumps(registers.visible).decode()
            if selection.stratum is None or selection.stratum.holds(key):
                yield LakeRow(key, self.edited.get(key, text) if not registers.base else text)

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        return (row for row in self.rows() if row.key in set(keys))

    def records(self) -> Iterator[Any]:
        job = self.merge_job
        for key, kept in self.bucket.objects.items():
            if DataKey.parse(PREFIX, key) is not None and (job is None or key in job.live):
                yield from (orjson.loads(line) for line in gzip.decompress(kept.body).splitlines())

    def compare(
        self, selection: Selection = EVERY_KEY, parts: int = 1, progress: Progress = lambda side, count: None
    ) -> Report:
        """`lakebound verify`."""
        patience = Patience(lag=1, limit=10)
        source = _Source(self.table)
        return verify(source, self, self.clock, parts=parts, selection=selection, patience=patience, progress=progress)

    def heal(self, run: str) -> None:
        """The page status-gap from its third step to its last; nothing is closed before its turn."""
        manifest = self.healing.heal(run)
        assert self.healing.close(manifest).is_refused, "rows that the source no longer has are not removed yet"
        self.healing.sweep(manifest)
        assert not self.healing.close(manifest).is_refused

    def repair(self, keys: Sequence[str]) -> RepairResult:
        """`lakebound verify --repair`."""
        run = f"repair-{format_time(self.clock.now_ms())}"
        return repair(keys, run, self.healing.rules, ("id",), self, self.bucket, self.clock)

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        """Port KeyReader over the table."""
        found = (self.table.get(canonical_key(key)) for key in keys)
        return {"Responses": {TABLE: [item for item in found if item is not None]}}, self.clock.now_ms()

    def status(self) -> Status:
        """`lakebound status`."""
        now, job = self.clock.now_ms(), self.merge_job
        waiting = [one["dynamodb"]["ApproximateCreationDateTime"] * 1000 for one in self.stream]
        failures = pending_failures(self.bucket, TABLE, MAPPING)
        return assess(
            PipelineFacts(
                now_ms=now,
                stack="lake",
                table=TABLE,
                table_stream=self.stream_arn,
                stream_view="NEW_AND_OLD_IMAGES",
                mapping_stream=self.mapped_arn,
                mapping_state="Enabled" if self.mapping_enabled else "Disabled",
                mapping_result="OK",
                queue_mapping_state="Enabled" if self.queue_mapping_enabled else "Disabled",
                iterator_age_ms=now - min(waiting) if waiting else 0,
                oldest_message_s=None,
                buffered=len(self.buffer.messages),
                dead=len(self.dead.messages),
                failure_objects=len(failures.objects),
                oldest_failure_ms=failures.objects[0].modified_ms if failures.objects else None,
                quarantined=len(pending_quarantine(self.bucket, TABLE).objects),
                gaps=open_gaps(self.bucket, TABLE),
                # An incident calls for its looks itself; the schedule's go on meanwhile.
                looked_ms=now,
                silver=None if job is None else job.published(),
                silver_within_s=0 if job is None else WITHIN_S,
                waiting=None if job is None else job.waiting(),
                heartbeat_minutes=0 if self.heartbeat is None else HEARTBEAT_MINUTES,
                newest_heartbeat_ms=max(self.heartbeat.puts, default=None) if self.heartbeat else None,
            )
        )

    def measured(self) -> dict[str, float]:
        """What CloudWatch would hold now, by metric: the newest value of each that an incident is seen by."""
        seen = self.status().facts
        return {
            "IteratorAge": seen.iterator_age_ms or 0,
            "ApproximateNumberOfMessagesVisible": seen.dead,
            "RecordsQuarantined": seen.quarantined,
            "OnFailureDestinationDeliveredEventCount": seen.failure_objects,
            "Errors": self.errors.total(),
            "Gap": float(bool(seen.gaps)),
            **({} if self.merge_job is None else self.merge_job.measured()),
            **({} if self.heartbeat is None else self.heartbeat.measured()),
            **({} if self.night is None else self.night.measured()),
        }

    def pages(self) -> set[str]:
        """The pages that the status sends a person to now."""
        return {one.page.partition("#")[2] for one in self.status().findings}


class _Source:
    def __init__(self, table: Mapping[str, Image]) -> None:
        self._table = table

    @property
    def key_names(self) -> Sequence[str]:
        return ("id",)

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        items = list(self._table.values())
        yield from (Page(part, items[part::of], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return (item for item in (self._table.get(canonical_key(key)) for key in keys) if item is not None)
