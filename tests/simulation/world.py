"""One simulated world: source, stream mapping, both functions, queue, bucket, backfills, an operator, and the clock.

`World(choices).live(steps)` is one history. The use cases are the real ones, over the real SQS and S3 adapters; what
stands below them is simulated. Every promise that can be checked at a step is checked at the step; the rest when the
history has come to rest.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lakebound.adapters.s3 import S3Store
from lakebound.adapters.sqs import SqsQueue
from lakebound.errors import LakeboundError
from lakebound.live.flush import FlushResult, FlushRules, flush
from lakebound.live.ingest import IngestResult, IngestRules, ingest
from lakebound.ports import ObjectStore, ReceivedMessage
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import partitioner
from tests.simulation.backfills import BackfillRun, close_gap, record_gap
from tests.simulation.choices import Choices
from tests.simulation.faults import FAULTS
from tests.simulation.ledger import Entry, Ledger
from tests.simulation.runs import MARGIN_MS, SCANNER_ERROR_MS, W_MS, ScanRun, base_event, heal_incrementally, store_rows
from tests.simulation.s3 import S3Client, S3State
from tests.simulation.source import MAX_TIME_ERROR_MS, TABLE, Lane, Shard, Stream, Table
from tests.simulation.sqs import Message, SqsClient, SqsState
from tests.simulation.turns import Crash, Turn, Violated
from tests.support.registers import EMPTY, Silver, chain_breaks, visible_items

START_MS = 1_795_000_000_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
MAX_RECORD_AGE_MS = 12 * HOUR
INGEST_TIMEOUT_S, FLUSH_TIMEOUT_S, PAGE_TIMEOUT_S = 60, 120, 900

FOREIGN = (
    "nothing",
    "{}",
    '{"v":2,"table":"things","members":[]}',
    '{"v":1,"table":"other","members":[]}',
    '{"v":1,"table":"things","members":[{"partition":"../../etc","format":"ndjson.gz","count":1}]}',
    '{"v":1,"table":"things","members":[{"partition":"dt=2026-01-01/HH=00","format":"ndjson.gz","count":1,"bytes":2,'
    '"crc32":7,"min_version":null,"max_version":null,"max_ingest_ms":1,"data":"AAA="}]}',
    '{"v":1,"table":"things","claim":{"key":"elsewhere","sha256":"x","bytes":9}}',
)


@dataclass(slots=True)
class Gap:
    """A stretch in which changes may be missing, said aloud when the platform gave them up."""

    from_ms: int
    to_ms: int
    cause: str
    needs_full: bool = False
    healed: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class UseCases:
    """The code under test; mutants replace it."""

    ingest: Callable[..., IngestResult] = ingest
    flush: Callable[..., FlushResult] = flush


class Invocation:
    """One run of a function: its clock, its deadline, its clients; it can stop, be killed or crash at every call."""

    def __init__(self, world: World, kind: str, timeout_s: int, work: Callable[[Invocation], Any]) -> None:
        self.world = world
        self.kind = kind
        self.deadline_ms = world.now_ms + timeout_s * SECOND
        self.skew_ms = world.skew_ms()
        self.s3 = S3Client(world, self)
        self.store = S3Store("bucket", self.s3)
        self.queue = SqsQueue("https://queue", SqsClient(world, self))
        self.turn = Turn(lambda: work(self))
        self.running = False
        self.after: Callable[[Invocation], None] = lambda _: None

    def enter(self, operation: str) -> None:
        """Before a call takes effect."""
        world = self.world
        world.calls += 1
        if world.chance("crash_before"):
            raise Crash
        if world.choices.chance(world.pause_rate):
            self.turn.pause()
        if world.chance("slow"):
            world.advance((1, 5, 20, 50, 57)[world.choices.below(5)] * SECOND)
        self._overdue()

    def leave(self, operation: str) -> None:
        """After a call took effect, before its answer is read."""
        if self.world.choices.chance(self.world.pause_rate):
            self.turn.pause()
        if self.world.chance("crash_after"):
            raise Crash
        self._overdue()

    def _overdue(self) -> None:
        if self.world.now_ms >= self.deadline_ms:
            raise Crash

    def seconds_left(self) -> float:
        """Until the platform ends this invocation."""
        return (self.deadline_ms - self.world.now_ms) / 1000

    def now_ms(self) -> int:
        return self.world.now_ms + self.skew_ms

    def sleep(self, seconds: float) -> None:
        self.world.advance(int(seconds * 1000))
        self._overdue()


@dataclass(slots=True, eq=False)
class Failure:
    """A failure object of the stream mapping: the delivery's records, as bytes."""

    payload: str
    names: list[str]
    redriven: int = 0


class World:
    def __init__(self, choices: Choices, use_cases: UseCases | None = None, **settings: Any) -> None:
        self.choices = choices
        self.use_cases = use_cases or UseCases()
        self.log: list[str] = []
        self.fires: Counter[str] = Counter()
        self.calls = 0
        self.now_ms = START_MS
        self.quiet = False
        self.rates: dict[str, float] = {}
        choices.begin_step()
        self._settle_settings(settings)

    def _settle_settings(self, settings: dict[str, Any]) -> None:
        draw = self.choices.below
        # Most faults stay away from most histories: the few that meet then meet often.
        density = (0.0, 0.08, 0.25, 0.5)[draw(4)]
        for fault in FAULTS:
            if self.choices.chance(density):
                self.rates[fault.name] = fault.rates[draw(len(fault.rates))]
        self.rates.update(settings.get("rates", {}))
        self.pause_rate = settings.get("pause_rate", (0.0, 0.1, 0.3)[draw(3)])
        self.margin_ms = settings.get("margin_ms", MARGIN_MS)
        self.wait_ms = settings.get("wait_ms", W_MS)
        prefix = f"ddb/{TABLE}"
        self.ledger = Ledger(prefix)
        self.s3 = S3State(self)
        self.s3_down_until_ms = self.sqs_down_until_ms = self.mapping_off_until_ms = 0
        self.sqs = SqsState(
            self,
            visibility_s=735 if not self.rates.get("expired_receipt") else (20, 60)[draw(2)],
            max_receives=settings.get("max_receives", (10, 3)[draw(2)]),
            retention_days=(14, 4)[draw(2)],
            in_flight=120_000 if not self.rates.get("in_flight_limit") else 2,
        )
        self.lanes = 1 + draw(3)
        self.delivery = settings.get("delivery", (8, 3, 40)[draw(3)])
        self.burst = settings.get("burst", (1, 1, 4)[draw(3)])
        self.table = Table(self.choices, keys=1 + draw(4), composite=bool(draw(2)))
        template = ("dt=%Y-%m-%d/HH=%H", "ingest_dt=%Y-%m-%d/hour=%H", "{op}/dt=%Y-%m-%d/HH=%H")[draw(3)]
        self.rules = IngestRules(
            table=TABLE,
            partition=partitioner(template),
            by_event_time=bool(draw(2)),
            message_bytes=settings.get("message_bytes", (262_144, 1_500, 900)[draw(3)]),
        )
        self.flush_rules = FlushRules(
            table=TABLE,
            prefix=prefix,
            max_records=(0, 3)[draw(2)],
            max_file_bytes=(64 << 20, 600)[draw(2)],
            max_seconds=(30, 0, 5)[draw(3)],
        )
        self.decoder = StreamDecoder(TABLE)
        self.max_retries = (100, 2)[draw(2)]
        self.bisects = not draw(2)
        self.streams = [Stream(self.now_ms, len(self.table.keys), self.lanes, self._first_sequence())]
        self.table.stream = self.streams[0]
        self.continuity_ms = self.now_ms
        self.off_since_ms: int | None = None
        self.active: list[Invocation] = []
        self.failures: list[Failure] = []
        self.gaps: list[Gap] = []
        self.scans: list[ScanRun | BackfillRun] = []
        self.most_scans = settings.get("most_scans", 3)
        self.real = bool(settings.get("real", draw(4)))
        """Whether this history runs the project's own backfill, or the model of it in `runs`."""
        self.created_ms = self.now_ms - 40 * DAY
        self.exports: dict[str, tuple[str, int, str]] = {}
        self.export_looks: Counter[str] = Counter()
        self.runs = 0
        self.silver = Silver()
        self.merged: set[str] = set()

    def _first_sequence(self) -> int:
        return (10**20, 205 * 10**18, 8204 * 10**20)[self.choices.below(3)]

    # What the parts ask of the world.

    def rate(self, name: str) -> float:
        """The probability of a fault now."""
        return 0.0 if self.quiet else self.rates.get(name, 0.0)

    def chance(self, name: str) -> bool:
        """Whether a fault happens here."""
        happens = self.choices.chance(self.rate(name))
        if happens:
            self.fired(name)
        return happens

    def fired(self, name: str) -> None:
        self.fires[name] += 1
        self.log.append(f"    ! {name}")

    def tell(self, text: str) -> None:
        """A line of the history's log."""
        self.log.append(f"{(self.now_ms - START_MS) / 1000:>12.3f}  {text}")

    def skew_ms(self) -> int:
        """How far off a sandbox's clock is."""
        if not self.chance("clock"):
            return 0
        return (-50 * MINUTE, 50 * MINUTE, -7 * SECOND, 3 * SECOND)[self.choices.below(4)]

    def scanner_error_ms(self) -> int:
        """How far off a scanner's clock is: pages further off are rejected by the `Date` header check."""
        if not self.chance("scan_clock"):
            return 0
        return (-SCANNER_ERROR_MS, SCANNER_ERROR_MS)[self.choices.below(2)]

    def advance(self, ms: int) -> None:
        """Time goes on: invocations run into their deadlines, the stream is trimmed, messages expire."""
        self.now_ms += ms
        for invocation in list(self.active):
            if not invocation.running and self.now_ms >= invocation.deadline_ms:
                self.tell(f"{invocation.kind} timed out")
                self._end(invocation)
        if ms >= MINUTE:
            self._trim()
            expired = self.sqs.expire()
            if expired:
                self.fired("expiry")
                self._gap_over([name for message in expired for name in message.names], "expiry")

    def _end(self, invocation: Invocation) -> None:
        invocation.turn.kill()
        self._settle(invocation)

    def gap(self, gap: Gap) -> None:
        """Say a gap aloud. Nothing may be missing that no gap covers."""
        self.tell(f"GAP: {gap.cause}")
        self.gaps.append(gap)
        record_gap(self, gap)
        self.continuity_ms = max(self.continuity_ms, gap.to_ms)

    def _gap_over(self, names: list[str], cause: str) -> None:
        times = [self.ledger.entries[name].written_ms for name in names]
        if times:
            self.gap(Gap(min(times), self.now_ms, cause))

    def _trim(self) -> None:
        horizon = self.now_ms - DAY
        for stream in self.streams:
            for shard in stream.shards:
                for lane in shard.lanes:
                    lost = []
                    while lane.position < len(lane.entries) and lane.entries[lane.position].written_ms < horizon:
                        lost.append(lane.entries[lane.position])
                        lane.position += 1
                    if lost:
                        lane.epoch += 1
                        lane.busy = False
                        self.fired("trim")
                        self._give_up(lost, "trim")

    def _give_up(self, lost: list[Entry], cause: str) -> None:
        for entry in lost:
            self.ledger.lose(entry.name, cause)
            entry.acknowledged = True
        self._gap_over([entry.name for entry in lost if not entry.poison], cause)

    # Invocations.

    def launch(
        self, kind: str, timeout_s: int, work: Callable[[Invocation], Any], after: Callable[[Invocation], None]
    ) -> Invocation:
        """Start an invocation and run it until it stops or ends."""
        invocation = self.prepare(kind, timeout_s, work, after)
        self.begin(invocation)
        return invocation

    def prepare(
        self, kind: str, timeout_s: int, work: Callable[[Invocation], Any], after: Callable[[Invocation], None]
    ) -> Invocation:
        """An invocation that has not begun."""
        invocation = Invocation(self, kind, timeout_s, work)
        invocation.after = after
        return invocation

    def begin(self, invocation: Invocation) -> None:
        self.active.append(invocation)
        self.resume(invocation)

    def resume(self, invocation: Invocation) -> None:
        invocation.running = True
        ended = invocation.turn.resume()
        invocation.running = False
        if ended:
            self._settle(invocation)

    def _settle(self, invocation: Invocation) -> None:
        if invocation not in self.active:
            return
        self.active.remove(invocation)
        error = invocation.turn.error
        if isinstance(error, Violated):
            raise error
        if error is not None and not isinstance(error, Crash | LakeboundError):
            raise Violated(f"{invocation.kind} raised {type(error).__name__}: {error}") from error
        outcome = "crashed" if isinstance(error, Crash) else "failed" if error else "answered"
        self.tell(f"{invocation.kind} {outcome}")
        invocation.after(invocation)

    # The stream mapping and stream_ingest.

    def poll_stream(self) -> bool:
        """Deliver one batch; False when there is nothing to deliver."""
        if self.now_ms < self.mapping_off_until_ms:
            return False
        child_first = self.chance("child_first")
        lanes = [lane for stream in self.streams for lane in stream.readable(child_first)]
        if not lanes:
            return False
        lane = lanes[self.choices.below(len(lanes))]
        size = 1 + self.choices.below(self.delivery) if not self.quiet else 50
        if lane.limit:
            size = min(size, lane.limit)
        batch = lane.entries[lane.position : lane.position + size]
        lane.busy, epoch = True, lane.epoch
        for entry in batch:
            entry.delivered = True
        self.tell(f"deliver {len(batch)} records from {batch[0].name}")

        def after(invocation: Invocation) -> None:
            if lane.epoch == epoch:
                lane.busy = False
                self._delivered(lane, batch, invocation)

        if self.chance("twice_at_once"):
            self.launch("stream_ingest (twin)", INGEST_TIMEOUT_S, self._ingest(batch), lambda _: None)
        self.launch("stream_ingest", INGEST_TIMEOUT_S, self._ingest(batch), after)
        return True

    def _ingest(self, batch: list[Entry]) -> Callable[[Invocation], list[str]]:
        # A delivery is parsed anew each time: what the code does to the dictionaries must not reach the source.
        return self._ingest_payload(json.dumps([entry.record for entry in batch]))

    def _ingest_payload(self, payload: str) -> Callable[[Invocation], list[str]]:
        def work(one: Invocation) -> list[str]:
            result = self.use_cases.ingest(
                json.loads(payload), self.rules, self.decoder, one.queue, one.store, one, one.seconds_left
            )
            return [] if result.unsent_from is None else [result.unsent_from]

        return work

    def _delivered(self, lane: Lane, batch: list[Entry], invocation: Invocation) -> None:
        """What the mapping does with the answer: the lowest failed sequence number is the new checkpoint."""
        done, failed = len(batch), invocation.turn.error is not None
        if not failed:
            for identifier in invocation.turn.value:
                numbers = [entry.record["dynamodb"].get("SequenceNumber") for entry in batch]
                # An empty identifier, or one that is not in the delivery, fails the whole of it.
                done = min(done, numbers.index(identifier)) if identifier in numbers else 0
        else:
            done = 0
        for entry in batch[:done]:
            self.ledger.acknowledge(entry.name)
        lane.position += done
        if done == len(batch):
            lane.attempts = lane.limit = 0
            return
        rest = batch[done:]
        lane.attempts = 0 if done else lane.attempts + 1
        if self.bisects and len(rest) > 1:
            lane.limit = (len(rest) + 1) // 2
        too_old = self.now_ms - rest[0].written_ms > MAX_RECORD_AGE_MS
        if lane.attempts > self.max_retries or too_old:
            lane.attempts = 0
            lane.position += len(rest)
            if self.chance("destination_denied"):
                self._give_up(rest, "destination denied")
                return
            self.tell(f"failure object with {len(rest)} records")
            self.failures.append(Failure(json.dumps([e.record for e in rest]), [entry.name for entry in rest]))
            self.ledger.failure_object([entry.name for entry in rest])
            for entry in rest:
                self.ledger.acknowledge(entry.name)

    # The queue mapping and the flusher.

    def poll_queue(self) -> bool:
        """Wake the flusher with what the mapping gathered; False when there is nothing."""
        taken = self.sqs.take(1 + self.choices.below(6) if not self.quiet else 10)
        if not taken:
            return False
        held = [(message, message.receipt) for message in taken]
        received = [
            ReceivedMessage(f"m{message.number}", message.receipt, message.body, message.receives) for message in taken
        ]
        self.tell(f"flusher wakes with {', '.join(one.message_id for one in received)}")

        def work(one: Invocation) -> list[str]:
            return self.use_cases.flush(received, self.flush_rules, one.queue, one.store, one, one.seconds_left).failed

        self.launch("flusher", FLUSH_TIMEOUT_S, work, lambda one: self._flushed(held, one))
        return True

    def _flushed(self, held: list[tuple[Message, str]], invocation: Invocation) -> None:
        if invocation.turn.error is not None:
            return
        failed = set(invocation.turn.value)
        if not failed <= {f"m{message.number}" for message, _ in held}:
            raise Violated("the flusher answered with a message id it was not given: Lambda fails the whole batch")
        for message, receipt in held:
            if f"m{message.number}" not in failed and not self.chance("mapping_keeps"):
                self.sqs.delete(receipt)

    # Backfills.

    def start_scan(self) -> ScanRun | BackfillRun | None:
        """Start a scan as the workflow does: it waits until the stream is whole for W."""
        if self.table.stream is None or (any(not one.swept for one in self.scans) and not self.chance("overlap")):
            return None
        if self.real:
            if len(self.scans) >= self.most_scans:
                return None
            wanted = ({"segments": 1 + self.choices.below(2)}, {"mode": "export"})[self.choices.chance(0.3)]
            return self.start_backfill(wanted)
        allowed = self.continuity_ms + self.wait_ms
        if allowed > self.now_ms:
            self.advance(allowed - self.now_ms)
        self.runs += 1
        run = ScanRun(self, f"run{self.runs}", pages=1 + self.choices.below(2))
        self.tell(f"{run.name} starts")
        self.scans.append(run)
        return run

    def start_backfill(self, wanted: dict[str, Any], way: str = "") -> BackfillRun:
        """Start an execution of the project's own state machine with this input."""
        self.runs += 1
        started = BackfillRun(self, f"run{self.runs}", wanted, way)
        self.tell(f"{started.name} starts with {wanted}")
        self.scans.append(started)
        return started

    def step_scan(self) -> bool:
        """One page, or the sweep, of one run; False when no run is open."""
        open_runs = [run for run in self.scans if not run.swept]
        if not open_runs:
            return False
        run = open_runs[self.choices.below(len(open_runs))]
        if isinstance(run, BackfillRun):
            return run.step()
        left = run.pages_left()
        if not left:
            if not self.quiet and not self.chance("early_sweep") and self.choices.chance(0.5):
                return False
            self.tell(f"{run.name} sweeps")
            self.launch("sweep", PAGE_TIMEOUT_S, run.sweep, lambda one: self._swept(run, one))
            return True
        page = left[self.choices.below(len(left))]
        if any(one.kind == f"page {run.name}/{page}" for one in self.active) and not self.chance("zombie_page"):
            return False
        self.tell(f"{run.name} reads page {page}")

        def ended(one: Invocation) -> None:
            if one.turn.error is not None:
                self.fires["page_crash"] += 1

        self.launch(f"page {run.name}/{page}", PAGE_TIMEOUT_S, lambda one: run.page(one, page), ended)
        return True

    def _swept(self, run: ScanRun, invocation: Invocation) -> None:
        if invocation.turn.error is None and invocation.turn.value:
            self.healed(run)

    def healed(self, run: ScanRun | BackfillRun) -> None:
        """A run has done all it does: the gaps before it are healed."""
        began = run.first_read_ms
        for gap in self.gaps:
            by_windows = isinstance(run, BackfillRun) and not run.whole
            is_later = began is not None and began >= gap.to_ms + self.wait_ms
            if not gap.healed and (by_windows or (is_later and run.landed)):
                gap.healed = True
                close_gap(self, gap, run.name)

    def has_landed(self, before_ms: int | None) -> bool:
        """Whether every change from before a moment is in a file, so that a sweep after a merge sees its key.

        A put waits in the buffer, the stream is off while the item is deleted, a run sweeps before the put is in
        silver: nothing removes that row any more. So such a run closes no gap, as `lakebound backfill close` has it.
        """
        return before_ms is not None and all(
            entry.in_object or entry.in_quarantine or entry.lost_by
            for entry in self.ledger.entries.values()
            if entry.written_ms < before_ms
        )

    def write_absent(self, store: ObjectStore, run: str, contained: set[str], label_ms: int) -> bool:
        """The sweep: ABSENT records for silver's keys that the run did not contain; whether they are stored."""
        texts = {text: n for n, text in enumerate(self.table.texts)}
        events = [
            base_event("sweep", self.table.keys[texts[key]], key, None, label_ms, run, "sweep")
            for key, row in self.silver.rows.items()
            if key not in contained and row.time < label_ms
        ]
        return store_rows(self, store, "sweep", events, self.now_ms)

    # Silver.

    def merge(self, keys: list[str]) -> None:
        """One micro-batch of files into silver; versions never go back (G9)."""
        records = [record for key in keys for record in self.s3.records[key]]
        before = {record["key"]: self.silver.rows.get(record["key"], EMPTY) for record in records}
        self.silver.merge(records)
        self.merged.update(keys)
        for key, row in before.items():
            after = self.silver.rows[key]
            if after.version < row.version or after.base < row.base or after.time < row.time:
                raise Violated(f"G9: {key} went back")

    def merge_everything(self) -> None:
        self.merge([key for key in self.s3.records if key not in self.merged])

    def merge_some(self) -> None:
        """A micro-batch of some files; and, as a fault, one of files that were merged before, which changes nothing."""
        waiting = [key for key in self.s3.records if key not in self.merged]
        picked = [key for key in waiting if self.choices.chance(0.6)]
        if picked:
            self.merge(picked)
        if self.merged and self.chance("replay"):
            again = [key for key in self.s3.records if key in self.merged and self.choices.chance(0.5)]
            if self.silver.merge(record for key in again for record in self.s3.records[key]):
                raise Violated("G10: a replayed micro-batch changed silver")

    # A history.

    def live(self, steps: int) -> None:
        """Live so many steps, then come to rest and check everything. Raises Violated."""
        try:
            for _ in range(steps):
                self.choices.begin_step()
                self.step()
            self.choices.begin_step()
            self.come_to_rest()
            self.check()
        finally:
            self.close()

    def close(self) -> None:
        """End what is still in flight."""
        for invocation in list(self.active):
            invocation.turn.kill()
        self.active.clear()
        for run in self.scans:
            if isinstance(run, BackfillRun):
                run.close()

    def step(self) -> None:
        ACTIONS[self.choices.weighted(WEIGHTS)][1](self)

    def step_write(self) -> None:
        """A write, or a few of one key."""
        table = self.table
        number = self.choices.below(len(table.keys))
        for _ in range(3 if self.chance("hammer") else self.burst):
            stamp_error = 0
            if self.chance("time_error"):
                stamp_error = (-MAX_TIME_ERROR_MS, MAX_TIME_ERROR_MS, -1_500)[self.choices.below(3)]
            image = None
            ttl = False
            if number in table.items and self.chance("noop_write"):
                image = table.items[number]
            elif number in table.items and self.choices.chance(0.3):
                ttl = self.chance("ttl_delete")
            else:
                image = table.new_image(number, self.choices.below(4))
            entry = table.write(number, image, self.now_ms, stamp_error, ttl)
            if entry is not None:
                self.tell(f"write {entry.name}: {entry.record['eventName']} of {entry.key}")
                self.ledger.written(entry)
            elif table.stream is None:
                self.tell(f"write {table.texts[number]} without a stream")

    def _forge(self) -> None:
        unnumbered = self.rate("poison_unnumbered") > 0 and self.chance("poison_unnumbered")
        if unnumbered or self.chance("poison"):
            number = self.choices.below(len(self.table.keys))
            entry = self.table.forge(number, self.choices.below(4), self.now_ms, unnumbered)
            if entry is not None:
                self.tell(f"poison {entry.name}")
                self.ledger.written(entry)

    def _run_on(self) -> None:
        if self.active:
            invocation = self.active[self.choices.below(len(self.active))]
            if self.chance("killed"):
                self._end(invocation)
            else:
                self.resume(invocation)

    def _shards(self) -> None:
        stream = self.table.stream
        if stream is None:
            return
        for name, parts in (("split", 2), ("rollover", 1)):
            if self.chance(name):
                shards: list[Shard] = [shard for shard in stream.shards if not shard.closed]
                stream.split(shards[self.choices.below(len(shards))], parts)
                self.tell(f"shard {name}")

    def _stream_changes(self) -> None:
        if self.table.stream is None:
            self._enable_stream()
        elif self.chance("stream_swap"):
            self._disable_stream()
            self._enable_stream(gap=False)
        elif self.chance("stream_off"):
            self._disable_stream()
        elif self.chance("table_recreated"):
            self._disable_stream()
            for number in list(self.table.items):
                self.table.write(number, None, self.now_ms, 0, ttl=False)
            self.created_ms = self.now_ms
            self._enable_stream(full=True)

    def _disable_stream(self) -> None:
        assert self.table.stream is not None
        for shard in self.table.stream.shards:
            shard.closed = True
        self.table.stream = None
        self.off_since_ms = self.now_ms
        self.tell("stream disabled")

    def _enable_stream(self, gap: bool = True, full: bool = False) -> None:
        assert self.off_since_ms is not None
        self.advance(1)
        self.table.stream = Stream(self.now_ms, len(self.table.keys), self.lanes, self._first_sequence())
        self.streams.append(self.table.stream)
        self.continuity_ms = max(self.continuity_ms, self.now_ms)
        self.tell("stream enabled")
        if gap:
            self.gap(Gap(self.off_since_ms, self.now_ms, "stream re-enabled", needs_full=full))

    def _outages(self) -> None:
        if self.chance("s3_outage"):
            self.s3_down_until_ms = self.now_ms + self.choices.below(2 * HOUR)
        if self.chance("sqs_outage"):
            self.sqs_down_until_ms = self.now_ms + self.choices.below(2 * HOUR)
        if self.chance("mapping_off"):
            self.mapping_off_until_ms = self.now_ms + HOUR
        if self.chance("trim"):
            self.advance(25 * HOUR)
        if self.chance("expiry"):
            self.advance(self.sqs.retention_ms + DAY)

    def _operator(self) -> None:
        if self.chance("foreign_message"):
            body = FOREIGN[self.choices.below(len(FOREIGN))]
            self.ledger.forged.add(body)
            self.sqs.accept(body)
            self.tell("foreign message")
        if self.chance("redrive"):
            for _ in range(2):
                self._redrive()
        if self.chance("purge"):
            gone = list(self.sqs.messages.values())
            for message in gone:
                self.sqs.drop(message, "a purge", loud="purge")
            self._gap_over([name for message in gone for name in message.names], "purge")

    def _redrive(self) -> None:
        moved = self.sqs.redrive()
        if moved:
            self.tell(f"redrive of {moved} dead letters")
        for failure in list(self.failures):
            if failure.redriven < 2:
                self.tell("redrive of a failure object")

                def after(one: Invocation, failure: Failure = failure) -> None:
                    if one.turn.error is None and not one.turn.value:
                        failure.redriven += 1

                self.launch("redrive", INGEST_TIMEOUT_S, self._ingest_payload(failure.payload), after)

    def _step_scan(self) -> None:
        # A page of the model is one step; the project's own backfill takes several calls to its first page.
        for _ in range(1 + self.choices.below(12) if self.real else 1):
            if not self.step_scan():
                return

    # The end.

    def come_to_rest(self) -> None:
        """Faults stop; everything that can still move moves: no progress within bounds is a violation too."""
        self.tell("faults stop")
        self.quiet, self.pause_rate = True, 0.0
        self.s3_down_until_ms = self.sqs_down_until_ms = self.mapping_off_until_ms = 0
        for invocation in list(self.active):
            if invocation in self.active:
                self.resume(invocation)
        if self.table.stream is None:
            self._enable_stream()
        for _ in range(500):
            if self.poll_stream() or self.poll_queue() or self.sqs.redrive():
                continue
            if not all(failure.redriven for failure in self.failures):
                self._redrive()
                continue
            hidden = [message.visible_ms for message in self.sqs.messages.values() if message.visible_ms > self.now_ms]
            if hidden:
                self.advance(min(hidden) - self.now_ms)
                continue
            if not self.step_scan():
                break
        else:
            raise Violated("liveness: the pipeline does not come to rest without faults")
        self._heal()
        self.merge_everything()

    def _heal(self) -> None:
        """Heal the gaps that no run has healed yet, one way or the other."""
        sick = [gap for gap in self.gaps if not gap.healed]
        if not sick:
            return
        gap = Gap(min(g.from_ms for g in sick), max(g.to_ms for g in sick), "all", any(g.needs_full for g in sick))
        if self.real:
            self._heal_by_state_machine(gap.needs_full)
            return
        allowed = self.continuity_ms + self.wait_ms
        self.advance(max(0, allowed + 2 * SECOND - self.now_ms))
        if not gap.needs_full and self.choices.chance(0.5):
            self.tell("incremental heal")
            self.runs += 1
            name = f"run{self.runs}"
            self.launch("heal", PAGE_TIMEOUT_S, lambda one: heal_incrementally(self, one, gap, name), lambda _: None)
            return
        self.tell("full heal")
        run = self.start_scan()
        while run is not None and not run.swept:
            self.step_scan()

    def _heal_by_state_machine(self, full: bool) -> None:
        """`{"mode": "heal"}`, by a scan or by windows and the re-read, until it ends."""
        for message in list(self.sqs.dead.values()):
            # What is left there was refused for good; an operator looks at it and deletes it.
            self.sqs.dead.pop(message.number)
        way = "scan" if full or self.choices.chance(0.5) else "incremental_export"
        self.tell(f"heal by {way}")
        for _ in range(3):
            run = self.start_backfill({"mode": "heal"}, way)
            for _ in range(500):
                if run.swept:
                    break
                run.step()
            if run.swept and not run.given_up:
                return
        raise Violated("liveness: a heal does not end without faults")

    def check(self) -> None:
        """Everything at rest: conservation in full, silver equal to the source, the chain whole or a gap said."""
        self.ledger.check_all()
        records = [record for records in self.s3.records.values() for record in records]
        genuine = [entry for entry in self.ledger.entries.values() if not entry.poison]
        for entry in genuine:
            if not entry.in_object and not entry.lost_by:
                raise Violated(f"G2: {entry.name} is in no file and nobody said so")
        for entry in self.ledger.entries.values():
            if entry.poison and not entry.in_quarantine and not entry.lost_by:
                raise Violated(f"G6: the poison {entry.name} is not in quarantine")
        source = {self.table.texts[number]: image for number, image in self.table.items.items()}
        rebuilt = Silver()
        rebuilt.merge(records)
        for name, items in (
            ("live silver", self.silver.items()),
            ("silver rebuilt in one batch", rebuilt.items()),
            ("both registers", visible_items(records)),
        ):
            if items != source:
                wrong = sorted(key for key in items.keys() | source.keys() if items.get(key) != source.get(key))
                raise Violated(f"G8: {name} differs from the source at {', '.join(wrong)}")
        for key, row in rebuilt.rows.items():
            if row[:3] != self.silver.rows[key][:3]:
                raise Violated(f"G8: a rebuild gives other registers at {key}")
        self._check_chain(records, genuine)

    def _check_chain(self, records: list[dict[str, Any]], genuine: list[Entry]) -> None:
        breaks = set(chain_breaks(records))
        if breaks and not self.gaps:
            raise Violated(f"G11: the chain is broken at {sorted(breaks)[0]} and no gap was said")
        expected = set()
        chains: dict[str, list[Entry]] = {}
        for entry in genuine:
            chains.setdefault(entry.key, []).append(entry)
        for key, chain in chains.items():
            kept = sorted((entry for entry in chain if entry.in_object), key=lambda entry: entry.version)
            for before, after in itertools.pairwise(kept):
                said = after.record["dynamodb"].get("OldImage")
                if before.record["dynamodb"].get("NewImage") != said:
                    expected.add((key, before.version, after.version))
        if breaks != expected:
            raise Violated("G11: the chain audit and the ledger disagree")


ACTIONS: tuple[tuple[int, Callable[[World], object]], ...] = (
    (10, lambda world: world.advance(world.choices.below(3_000))),
    (4, lambda world: world.advance(world.choices.below(2 * MINUTE))),
    (1, lambda world: world.advance(world.choices.below(HOUR))),
    (24, World.step_write),
    (5, World._forge),
    (18, World.poll_stream),
    (18, World.poll_queue),
    (12, World._run_on),
    (2, World._shards),
    (2, World._stream_changes),
    (3, World._outages),
    (4, World._operator),
    (3, World.start_scan),
    (8, World._step_scan),
    (6, World.merge_some),
)
WEIGHTS = tuple(weight for weight, _ in ACTIONS)
