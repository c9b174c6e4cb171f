"""What every state of a run shares: the settings' rules, the ports, and the documents in the run's folder.

What a state needs beyond its document lies in the run's folder: `plan.json` once the run is planned, `files.json` and
`reread.json` for the units that are known later only, one checkpoint per unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from lakebound.backfill import estimate as estimates
from lakebound.backfill.checkpoints import segments_changed, table_recreated
from lakebound.backfill.exports import Exporter
from lakebound.backfill.key_reread import KeyReader
from lakebound.backfill.margin import wait_ms
from lakebound.backfill.run_plan import RunPlan
from lakebound.backfill.run_state import RunState
from lakebound.backfill.segment_worker import Ahead, PageSource, SegmentRules, when_taken
from lakebound.errors import Misconfigured, ObjectMissing
from lakebound.ports import Clock, Documents, ObjectStore, StoredObject
from lakebound.record.base_records import SnapshotDecoder
from lakebound.source.facts import (
    Account,
    DeliveryMetrics,
    MappingDescriber,
    TableDescriber,
    TableDescription,
    Upstream,
)
from lakebound.source.gaps import GapBook
from lakebound.times import TimeRange, parse_iso
from lakebound.transport.object_keys import HOUR_MS, DataKey, RunFolder

MAX_PLAN_BYTES: Final = 64 * 1024 * 1024


class Source(TableDescriber, KeyReader, Protocol):
    """The source table, as the run's states need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules(SegmentRules):
    """What the settings decide for a run: the rules of its segments, and MARGIN of ORDERING.md."""

    margin_ms: int
    failure_retention_ms: int = 30 * 86_400_000

    @property
    def wait_ms(self) -> int:
        """W of ORDERING.md."""
        return wait_ms(self.margin_ms)


ScanSource = Callable[[SnapshotDecoder, int, int, bool, int], PageSource]
"""(decoder, segment, total, consistent, margin in ms) to one segment's pages."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as a run's states need it."""

    source: Source
    scan: ScanSource
    mapping: MappingDescriber | None
    exporter: Callable[[str], Exporter]
    store: ObjectStore
    documents: Documents
    clock: Clock
    metrics: DeliveryMetrics | None = None
    upstream: Upstream | None = None
    account: Account | None = None
    """None: a run takes as many readers as it wants."""
    ahead: Ahead = when_taken
    """How a scan asks for the next page of a segment."""
    pool: Callable[[], Executor] = lambda: ThreadPoolExecutor(16)
    """Loads many documents side by side."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """The backfill of one table: the first argument of every state's function."""

    rules: RunRules
    ports: Ports

    @property
    def gaps(self) -> GapBook:
        """The table's recorded gaps."""
        return GapBook(self.rules.table, self.ports.store, self.ports.documents)

    def folder(self, run: str) -> RunFolder:
        """The run's folder. Raises Misconfigured for a name that is no run's."""
        return RunFolder.of(self.rules.table, run)


def save_plan(
    context: RunContext,
    state: RunState,
    described: TableDescription,
    cut: estimates.Cut,
    windows: Sequence[TimeRange] = (),
    reread: TimeRange | None = None,
) -> RunPlan:
    """Plan the run, unless an earlier try of this state did: the plan that stands.

    Raises Misconfigured where that plan is of another table or of another number of segments.
    """
    ports = context.ports
    plan = RunPlan(
        run=state.run,
        mode=state.mode,
        table_id=described.table_id,
        units=cut.segments,
        concurrency=cut.concurrency,
        share=round(cut.share, 3),
        consistent=state.request.consistent,
        margin_ms=context.rules.margin_ms,
        planned_ms=ports.clock.now_ms(),
        items=described.items,
        size=described.size,
        windows=tuple((window.from_ms, window.to_ms) for window in windows),
        reread=(reread.from_ms, reread.to_ms) if reread else None,
        heals=state.heals,
        reason=str(state.estimate["reason"]) if state.is_heal and state.estimate else "",
    )
    if ports.store.put_if_absent(context.folder(plan.run).plan(), plan.encode(), {}):
        return plan
    stored = load_plan(context, plan.run)
    if stored.table_id != described.table_id:
        raise table_recreated(plan.run)
    segments = state.request.segments
    if plan.mode == "scan" and segments and segments != stored.units:
        raise segments_changed(plan.run, stored.units, segments)
    return stored


def load_plan(context: RunContext, run: str) -> RunPlan:
    """A run's plan. Raises Misconfigured where there is none."""
    try:
        return RunPlan.decode(context.ports.store.get(context.folder(run).plan(), MAX_PLAN_BYTES))
    except ObjectMissing:
        raise Misconfigured(f"there is no backfill {run} of {context.rules.table}", hint="Start one") from None


def load_work(context: RunContext, run: str, stage: str) -> dict[str, Any]:
    """The document that lists a stage's units. Raises ObjectMissing before it is written."""
    work: dict[str, Any] = orjson.loads(context.ports.store.get(context.folder(run).work(stage), MAX_PLAN_BYTES))
    return work


def save_work(context: RunContext, run: str, stage: str, work: dict[str, Any]) -> dict[str, Any]:
    """Write the document that lists a stage's units, unless there is one: the document that stands."""
    if context.ports.store.put_if_absent(context.folder(run).work(stage), orjson.dumps(work), {}):
        return work
    return load_work(context, run, stage)


def free_readers(context: RunContext, wanted: int) -> int:
    """How many readers the run takes at once: what it wants, or its share of the account's free concurrency."""
    account = context.ports.account
    return wanted if account is None else min(wanted, estimates.free_readers(account.concurrency()))


def batch_files(context: RunContext, hours: TimeRange) -> Iterator[StoredObject]:
    """The batch files that can hold a record of these hours.

    A stream record is written when it arrives: at any time from its creation until now, days later after a redrive. A
    base record's label is earlier than its writing.
    """
    rules, store = context.rules, context.ports.store
    listed: set[str] = set()
    for hour in range(hours.from_ms // HOUR_MS, context.ports.clock.now_ms() // HOUR_MS + 1):
        for is_delete in (False, True):
            folder = rules.partition(hour * HOUR_MS, is_delete)
            if folder in listed:
                continue
            listed.add(folder)
            for stored in store.list(f"{rules.prefix}/{folder}/"):
                key = DataKey.parse(rules.prefix, stored.key)
                if key is not None and key.time_ms >= hours.from_ms - HOUR_MS:
                    yield stored


def covered_from_ms(context: RunContext, described: TableDescription) -> int:
    """C of ORDERING.md, from when on the stream is whole: its start, the mapping's, or the end of the last gap.

    Raises Misconfigured where nothing is delivered from the table's stream.
    """
    if described.stream_arn is None:
        raise Misconfigured(
            f"table {described.name} has no stream, so a backfill would be stale at once",
            hint="Enable NEW_AND_OLD_IMAGES on it, deploy with its stream ARN, then redrive this execution",
        )
    moments = [label_ms(described.stream_arn)]
    if context.ports.mapping is not None:
        mapping = context.ports.mapping.mapping()
        if mapping.stream_arn != described.stream_arn:
            raise Misconfigured(
                "the mapping reads another stream than the table has now",
                hint="Deploy the stack with the table's LatestStreamArn, then redrive this execution",
            )
        if mapping.state not in ("Enabled", "Enabling", "Updating", "Creating"):
            raise Misconfigured(f"the stream mapping is {mapping.state}", hint="Enable it, then redrive this execution")
        moments.append(mapping.modified_ms)
    moments += [gap.to_ms for gap in context.gaps.all() if gap.to_ms is not None]
    return max(moments)


def label_ms(stream_arn: str) -> int:
    """The moment that a stream's label names: `2026-11-24T03:05:34.123`, UTC, the end of its ARN."""
    label = stream_arn.rpartition("/stream/")[2]
    try:
        return parse_iso(label)
    except ValueError:
        raise Misconfigured(f"the stream's label {label!r} is no time", hint="Tell the maintainers") from None
