"""The project's own backfill inside a history: the state machine's loop, its stages, and the simulated table below.

An execution is a thread that takes turns with the world (`Turn`): the states of statemachines/backfill.asl.json run in
it by the rules of tests/support/state_machine.py. Each of its Lambda calls becomes an invocation of the world, which
can stop, crash, run into its deadline, or live on as a zombie while the state machine already tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from lakebound.adapters.documents import S3Documents
from lakebound.backfill.exports import FULL, ExportState
from lakebound.backfill.manifest import Manifest
from lakebound.backfill.run_context import Ports, RunContext, RunRules
from lakebound.backfill.run_state import RunState
from lakebound.backfill.segment_worker import Page, PageSource, Throttled, when_taken
from lakebound.backfill.start_states import no_windows
from lakebound.backfill.state_machine import perform
from lakebound.errors import LakeboundError
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.stream_records import ChangeEvent
from lakebound.source import gaps
from lakebound.source.facts import MappingFacts, QueueCounts, TableDescription
from lakebound.times import TimeRange
from lakebound.transport.object_keys import GapKey
from tests.simulation.source import TABLE
from tests.simulation.turns import Crash, Turn, Violated
from tests.support.backfill_world import TABLE_ARN as LAID_OUT_ARN
from tests.support.backfill_world import at_once
from tests.support.export_files import layout
from tests.support.state_machine import Execution, Failed, start

if TYPE_CHECKING:
    from tests.simulation.world import Gap, Invocation, World

Image = dict[str, Any]
TABLE_ARN = f"arn:aws:dynamodb:eu-central-1:123456789012:table/{TABLE}"
RECOVERY_MS = 35 * 86_400_000
TIMEOUT_S = 900
GIVE_UP = ("created again", "an export of another table", "before the stream covered it")
"""Why a run may have to be started anew: the table or its stream was made again meanwhile."""

LOOKS = 60
"""Redrives of one execution without faults after which it counts as stuck."""


class InTurn(Executor):
    """A pool without threads: no seed decides their order."""

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **limits: Any) -> Iterator[Any]:
        return map(fn, *iterables)


@dataclass(frozen=True, slots=True)
class Source:
    """Ports TableDescriber and KeyReader over the simulated table, as one invocation sees it."""

    world: World
    one: Invocation

    def describe(self, *, recovery: bool = False) -> TableDescription:
        world = self.world
        table = world.table
        self.one.enter("describe_table")
        return TableDescription(
            name=TABLE,
            arn=TABLE_ARN,
            table_id=table_id(world),
            key_names=tuple(table.keys[0]),
            items=len(table.items),
            size=100 * len(table.items),
            read_capacity=0,
            stream_arn=table.stream.arn if table.stream else None,
            recovery_from_ms=max(world.created_ms, world.now_ms - RECOVERY_MS) if recovery else None,
        )

    def read_items(self, keys: Sequence[Image]) -> tuple[Any, int]:
        asked = self.one.now_ms()
        self.one.enter("batch_get_item")
        if self.world.chance("scan_throttled"):
            raise Throttled(f"table {TABLE} throttled batch_get_item")
        table = self.world.table
        found = [table.items[n] for n, key in enumerate(table.keys) if key in keys and n in table.items]
        self.one.leave("batch_get_item")
        return {
            "Responses": {TABLE: orjson.loads(orjson.dumps(found))},
            "UnprocessedKeys": {},
            "ConsumedCapacity": [{"CapacityUnits": float(len(keys))}],
        }, asked


@dataclass(frozen=True, slots=True)
class Segment:
    """Port PageSource: one segment of the simulated table; each page is read at its own moment."""

    world: World
    one: Invocation
    run: BackfillRun
    decoder: SnapshotDecoder
    number: int
    total: int
    margin_ms: int
    origin: str = "scan"

    def page(self, start: Any, limit: int | None) -> Page:
        world, table = self.world, self.world.table
        asked = self.one.now_ms()
        if self.run.first_read_ms is None:
            self.run.first_read_ms = world.now_ms
        # Between the label and the read the world may go on: a request in flight.
        self.one.enter("scan")
        if world.chance("scan_throttled"):
            raise Throttled(f"table {TABLE} throttled scan")
        numbers = range(table.keys.index(start) + self.total if start else self.number, len(table.keys), self.total)
        some = numbers[: 1 + world.choices.below(2)]
        more = len(numbers) > len(some)
        items = [table.items[n] for n in some if n in table.items]
        if more and not items:
            world.fired("scan_empty_page")
        self.one.leave("scan")
        values = orjson.loads(orjson.dumps(items))
        return Page(asked, asked - self.margin_ms, values, 0.5, table.keys[some[-1]] if more else None)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        return self.decoder.item(value, label_ms, event_id)


@dataclass(frozen=True, slots=True)
class Exporter:
    """Port Exporter: DynamoDB writes an export of the table's past into the bucket; done at the second look."""

    world: World
    one: Invocation

    def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
        world, table = self.world, self.world.table
        self.one.enter("export_table")
        arn = f"{TABLE_ARN}/export/{token}"
        if arn in world.exports:
            return arn
        at = world.now_ms // 1000 * 1000
        if window is None:
            images = [table.as_of(n, at) for n in range(len(table.keys))]
            lines = [{"Item": image} for image in images if image is not None]
        else:
            if window.to_ms > world.now_ms:
                raise Violated("an export of what has not happened yet was asked for")
            lines = self._changes(window)
        objects = layout(f"{prefix}/{len(world.exports)}", lines, kind, at, window, table_id=table_id(world))
        for key, body in objects.items():
            world.s3.place(key, body.replace(LAID_OUT_ARN.encode(), TABLE_ARN.encode()))
        world.exports[arn] = (next(key for key in objects if key.endswith("manifest-summary.json")), at, kind)
        self.one.leave("export_table")
        return arn

    def _changes(self, window: TimeRange) -> list[dict[str, Any]]:
        """One net state per item, none for one inserted and deleted inside."""
        table, lines = self.world.table, []
        for n, past in table.past.items():
            inside = [version for version in past if window.from_ms <= version.time_ms < window.to_ms]
            old, new = table.as_of(n, window.from_ms - 1), table.as_of(n, window.to_ms - 1)
            if inside and not (old is None and new is None):
                line: dict[str, Any] = {
                    "Metadata": {"WriteTimestampMicros": {"N": str(inside[-1].time_ms * 1000)}},
                    "Keys": table.keys[n],
                }
                lines.append(line | ({"NewImage": new} if new else {}) | ({"OldImage": old} if old else {}))
        return lines

    def describe(self, arn: str) -> ExportState:
        self.one.enter("describe_export")
        summary, at, kind = self.world.exports[arn]
        self.world.export_looks[arn] += 1
        done = self.world.export_looks[arn] > 1
        told = at if kind == FULL else None
        return ExportState(arn, "COMPLETED" if done else "IN_PROGRESS", summary if done else None, told)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Ports MappingDescriber and Upstream: the mapping, and both queues."""

    world: World
    one: Invocation

    def mapping(self) -> MappingFacts:
        world = self.world
        self.one.enter("get_event_source_mapping")
        stream = world.streams[-1]
        state = "Disabled" if world.now_ms < world.mapping_off_until_ms else "Enabled"
        return MappingFacts("mapping", stream.arn, state, stream.enabled_ms)

    def counts(self) -> QueueCounts:
        self.one.enter("get_queue_attributes")
        return QueueCounts(dead=len(self.world.sqs.dead), buffered=len(self.world.sqs.messages))


def table_id(world: World) -> str:
    """Another one for each table of the name."""
    return f"table-{world.created_ms}"


class LambdaError(Exception):
    """What the state machine sees of an invocation without an answer."""


LambdaError.__name__ = "Sandbox.Timedout"


class BackfillRun:
    """One execution of the state machine over the world, and the sweep after it."""

    def __init__(self, world: World, name: str, wanted: dict[str, Any], way: str = "") -> None:
        self._world = world
        self.name = name
        self.first_read_ms: int | None = None
        self.landed = False
        self.swept = self.given_up = False
        self.heals = wanted.get("mode") == "heal"
        self.whole = False
        """Whether the run that ended read the whole table: then a sweep belongs to it."""
        self.result: dict[str, Any] | None = None
        self._way = way
        self._execution: Execution = start(self._call, wanted, name=name, sleep=self._sleep)
        self._turn: Turn | None = None
        self._wake_ms = 0
        self._event: dict[str, Any] | None = None
        self._invocation: Invocation | None = None
        self._answer: Any = None
        self._error: BaseException | None = None
        self._redrives = 0

    # What runs in the execution's thread.

    def _live(self) -> Any:
        return self._execution.run()

    def _call(self, event: dict[str, Any]) -> dict[str, Any]:
        self._event = event
        assert self._turn is not None
        self._turn.pause()
        if self._error is not None:
            raise self._error
        answer: dict[str, Any] = self._answer
        return answer

    def _sleep(self, seconds: float) -> None:
        self._wake_ms = self._world.now_ms + int(seconds * 1000)
        assert self._turn is not None
        self._turn.pause()

    # What the world does with it.

    def close(self) -> None:
        if self._turn is not None:
            self._turn.kill()

    def step(self) -> bool:
        """One thing happens to the run; False when it cannot go on now."""
        world = self._world
        if self.result is not None:
            return self._step_sweep()
        if self._turn is None:
            if self._redrives and not world.quiet and not world.choices.chance(0.3):
                return False
            self._turn = Turn(self._live)
            self._resume()
            return True
        if self._event is None:
            # A Wait, or the pause before a retry.
            if world.now_ms < self._wake_ms:
                if not world.quiet and not world.choices.chance(0.8):
                    return False
                world.advance(self._wake_ms - world.now_ms)
            self._resume()
            return True
        if self._invocation is not None:
            if not world.chance("zombie_page"):
                return False
            world.tell(f"{self.name}: the state machine gives up on an invocation that lives on")
            self._hand(None, LambdaError("the invocation did not answer"))
            return True
        event, self._event_at = self._event, world.now_ms
        action = str(event["action"])
        place = f"/{event['unit']}" if action == "carry" else ""
        self._invocation = world.prepare(
            f"{self.name} {action}{place}", TIMEOUT_S, lambda one: self._perform(one, event), self._ended
        )
        # Lambda keeps its clocks within seconds; a scanner further off is rejected by the `Date` header check.
        self._invocation.skew_ms = world.scanner_error_ms()
        world.begin(self._invocation)
        return True

    def _perform(self, one: Invocation, event: dict[str, Any]) -> dict[str, Any]:
        world = self._world

        def scan(decoder: SnapshotDecoder, number: int, total: int, consistent: bool, margin: int) -> PageSource:
            return Segment(world, one, self, decoder, number, total, margin)

        rules = RunRules(
            table=TABLE,
            prefix=world.ledger.prefix,
            partition=world.rules.partition,
            max_records=world.flush_rules.max_records,
            max_file_bytes=world.flush_rules.max_file_bytes,
            max_seconds=30,
            margin_ms=world.margin_ms,
        )
        upstream = Upstream(world, one)
        ports = Ports(
            source=Source(world, one),
            scan=scan,
            mapping=upstream,
            exporter=lambda arn: Exporter(world, one),
            store=one.store,
            documents=S3Documents("bucket", one.s3),
            clock=one,
            upstream=upstream,
            pool=InTurn,
            # Half of the segments have read a page before the one ahead of it is written.
            ahead=at_once if event.get("unit", 0) % 2 else when_taken,
        )
        context = RunContext(rules, ports)
        answer: dict[str, Any] = orjson.loads(orjson.dumps(perform(context, event, one.seconds_left)))
        return self._heal_in_own_mode(context, answer) if event["action"] == "estimate" and self._way else answer

    def _heal_in_own_mode(self, context: RunContext, answer: dict[str, Any]) -> dict[str, Any]:
        """The estimate's answer, with the mode of this history in place of its own where that is possible."""
        state = RunState.parse(answer)
        described = context.ports.source.describe(recovery=True)
        assert state.stretch is not None
        if self._way != "scan" and no_windows(context, described, state.stretch, state.heals):
            return answer
        return answer | {"mode": self._way}

    def _ended(self, one: Invocation) -> None:
        if self._invocation is not one:
            return
        error = one.turn.error
        if isinstance(error, Crash):
            self._world.fires["page_crash"] += 1
            error = LambdaError("the sandbox is gone")
        self._hand(one.turn.value, error)

    def _hand(self, answer: Any, error: BaseException | None) -> None:
        self._invocation, self._event = None, None
        self._answer, self._error = answer, error
        self._resume()

    def _resume(self) -> None:
        turn = self._turn
        assert turn is not None
        if not turn.resume():
            return
        self._turn = None
        if isinstance(turn.error, Failed):
            self._redrives += 1
            self._world.tell(f"{self.name} failed: {turn.error}")
            if self._redrives > LOOKS:
                raise Violated(f"liveness: {self.name} does not end: {turn.error}")
            if "Start a new backfill" in str(turn.error):
                if not any(reason in str(turn.error) for reason in GIVE_UP):
                    raise Violated(f"{self.name} cannot be redriven: {turn.error}")
                self._world.tell(f"{self.name} is given up, as it says")
                self.given_up = self.swept = True
        elif turn.error is not None:
            raise Violated(f"{self.name} raised {type(turn.error).__name__}: {turn.error}") from turn.error
        else:
            self.result = turn.value
            self._world.tell(f"{self.name} has ended: {turn.value['records']} records")
            self.whole = self._manifest().is_complete
            if not self.whole:
                self.swept = True
                self._world.healed(self)

    # After the run.

    def _manifest(self) -> Manifest:
        assert self.result is not None
        key = self.result["manifest"]
        return Manifest.decode(key, self._world.s3.objects[key])

    def _step_sweep(self) -> bool:
        world = self._world
        if not world.quiet and not world.chance("early_sweep") and world.choices.chance(0.5):
            return False
        world.tell(f"{self.name} sweeps")
        world.launch("sweep", TIMEOUT_S, self._sweep, self._swept)
        return True

    def _sweep(self, one: Invocation) -> bool:
        """As the Spark job: the rows that the run's files do not hold and no stream record has touched since."""
        world, manifest = self._world, self._manifest()
        self.landed = world.has_landed(self.first_read_ms)
        world.merge_everything()
        records = [record for file in manifest.files for record in world.s3.records[file.key]]
        if len(records) != manifest.records:
            raise Violated("the manifest's count is not that of its files")
        label = manifest.min_label_ms if manifest.min_label_ms is not None else manifest.started_ms - world.margin_ms
        return world.write_absent(one.store, self.name, {record["key"] for record in records}, label)

    def _swept(self, one: Invocation) -> None:
        if one.turn.error is None and one.turn.value:
            self.swept = True
            self._world.healed(self)


def record_gap(world: World, gap: Gap) -> None:
    """Keep a gap where a look would: the bucket's gap objects, which the runs read."""
    begin = gap.from_ms
    cause = "stream_recreated" if "stream" in gap.cause else "mapping_behind"
    while (key := GapKey(TABLE, begin, cause).format()) in world.s3.objects:
        begin -= 1
    gap.key = key
    world.s3.place(key, gaps.Gap(begin, gap.to_ms, cause, detected_at_ms=world.now_ms).encode())


def close_gap(world: World, gap: Gap, run: str) -> None:
    """`lakebound backfill close`, once the run is merged."""
    document = orjson.loads(world.s3.objects[gap.key])
    world.s3.place(gap.key, orjson.dumps(document | {"healed_by": run}))


__all__ = ["BackfillRun", "LakeboundError", "close_gap", "record_gap"]
