"""What every stage of a run shares: the rules, the world, and the documents in the run's folder.

What a stage needs beyond its state's document lies in the run's folder: `plan.json` once the run is planned,
`files.json` and `reread.json` for stages that are known later, one checkpoint per unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from lakebound.backfill.estimate import free_readers
from lakebound.backfill.exports import Exporter, Window
from lakebound.backfill.key_reread import KeyReader, TimeRange, batch_files
from lakebound.backfill.run_plan import RunPlan
from lakebound.backfill.segment_worker import PageSource, SegmentRules
from lakebound.errors import Misconfigured, ObjectMissing
from lakebound.ports import Clock, Documents, ObjectStore, StoredObject
from lakebound.record.base_records import SnapshotDecoder
from lakebound.source.delivery_proof import StreamCheck
from lakebound.source.facts import (
    Account,
    DeliveryMetrics,
    MappingDescriber,
    TableDescriber,
    TableDescription,
    Upstream,
)
from lakebound.source.gaps import GapBook
from lakebound.times import parse_iso
from lakebound.transport.object_keys import REDRIVEN, RunFolder, StreamCheckKey
from lakebound.transport.undelivered import pending_failures

MAX_PLAN_BYTES: Final = 64 * 1024 * 1024


class Source(TableDescriber, KeyReader, Protocol):
    """The source table, as the run's stages need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRules(SegmentRules):
    """What the settings decide: what every segment is carried by, and MARGIN of ORDERING.md."""

    margin_ms: int
    failure_retention_ms: int = 30 * 86_400_000

    @property
    def wait_ms(self) -> int:
        """W of ORDERING.md: the margin and both errors."""
        return 3 * self.margin_ms


ScanSource = Callable[[SnapshotDecoder, int, int, bool, int], PageSource]
"""(decoder, segment, total, consistent, margin in ms) to one segment's pages."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as the stages need it."""

    source: Source
    scan: ScanSource
    mapping: MappingDescriber | None
    exporter: Callable[[str], Exporter]
    store: ObjectStore
    documents: Documents
    clock: Clock
    measured: DeliveryMetrics | None = None
    upstream: Upstream | None = None
    account: Account | None = None
    """None: a run takes as many readers as it wants."""


class RunStages:
    """The base of every group of stages."""

    def __init__(self, rules: RunRules, ports: Ports) -> None:
        self._rules = rules
        self._ports = ports
        self._gaps = GapBook(rules.table, ports.store, ports.documents)

    def _keep_plan(
        self,
        state: Mapping[str, Any],
        facts: TableDescription,
        units: int,
        concurrency: int,
        share: float,
        windows: Sequence[Window] = (),
        reread: tuple[int, int] | None = None,
    ) -> RunPlan:
        request = state["request"]
        plan = RunPlan(
            run=state["run"],
            mode=state["mode"],
            table_id=facts.table_id,
            units=units,
            concurrency=concurrency,
            share=round(share, 3),
            consistent=bool(request["consistent"]),
            margin_ms=self._rules.margin_ms,
            planned_ms=self._ports.clock.now_ms(),
            items=facts.items,
            size=facts.size,
            windows=tuple((window.from_ms, window.to_ms) for window in windows),
            reread=reread,
            heals=tuple((begin, cause) for begin, cause in state.get("heals") or ()),
            reason=str(state.get("estimate", {}).get("reason", "")) if request["mode"] == "heal" else "",
        )
        folder = RunFolder.of(self._rules.table, plan.run)
        if self._ports.store.put_if_absent(folder.plan(), plan.encode(), {}):
            return plan
        kept = self.plan(plan.run)
        if kept.table_id != facts.table_id:
            raise Misconfigured(
                f"the table was created again since run {plan.run} began", hint="Start a new backfill of the new table"
            )
        asked = request["segments"]
        if plan.mode == "scan" and asked and asked != kept.units:
            raise Misconfigured(
                f"run {plan.run} was started with {kept.units} segments and cannot go on with {asked}",
                hint="Start a new backfill",
            )
        return kept

    def _readers(self, wanted: int) -> int:
        """How many readers the run takes at once: what it wants, or its share of the account's free concurrency."""
        if self._ports.account is None:
            return wanted
        return min(wanted, free_readers(self._ports.account.concurrency()))

    def plan(self, run: str) -> RunPlan:
        """A run's plan. Raises Misconfigured where there is none."""
        folder = RunFolder.of(self._rules.table, run)
        try:
            return RunPlan.decode(self._ports.store.get(folder.plan(), MAX_PLAN_BYTES))
        except ObjectMissing:
            raise Misconfigured(f"there is no backfill {run} of {self._rules.table}", hint="Start one") from None

    def _work(self, folder: RunFolder, stage: str) -> list[Any]:
        units: list[Any] = orjson.loads(self._ports.store.get(folder.work(stage), MAX_PLAN_BYTES))["units"]
        return units

    def _keep_work(self, run: str, stage: str, document: dict[str, Any]) -> dict[str, Any]:
        key = RunFolder.of(self._rules.table, run).work(stage)
        if self._ports.store.put_if_absent(key, orjson.dumps(document), {}):
            return document
        kept: dict[str, Any] = orjson.loads(self._ports.store.get(key, MAX_PLAN_BYTES))
        return kept

    def _told_files(self, stretch: TimeRange) -> Iterator[StoredObject]:
        rules, ports = self._rules, self._ports
        return batch_files(ports.store, rules.prefix, rules.partition, stretch, ports.clock.now_ms())

    def _seen(self) -> tuple[StreamCheck | None, str | None]:
        """What the last look saw, and its document's tag."""
        key = StreamCheckKey(self._rules.table).format()
        stored = self._ports.documents.load(key)
        return (StreamCheck.decode(key, stored[0]), stored[1]) if stored else (None, None)

    def _failures(self, previous: StreamCheck | None, mapping_id: str) -> tuple[list[StoredObject], dict[str, int]]:
        """(failure objects that wait, when Lambda wrote those that are gone without having been redriven)."""
        store, table = self._ports.store, self._rules.table
        known = dict(previous.failures) if previous else {}
        # A stack made again has another mapping; what the one before it gave up on still waits in its own folder.
        mappings = sorted({mapping_id, *(key.split("/")[2] for key in known)})
        waiting = [one for mapping in mappings for one in pending_failures(store, table, mapping).objects]
        there = {one.key for one in waiting}
        missing = {key: at for key, at in known.items() if key not in there}
        if not missing:
            return waiting, {}
        redriven = {one.key for one in store.list(REDRIVEN.prefix(table))}
        gone = {key: at for key, at in missing.items() if REDRIVEN.key_about(table, key) not in redriven}
        return waiting, gone

    def _covered_from(self, facts: TableDescription) -> int:
        """C: the stream's start, the mapping's, or the end of the last gap."""
        if facts.stream_arn is None:
            raise Misconfigured(
                f"table {facts.name} has no stream, so a backfill would be stale at once",
                hint="Enable NEW_AND_OLD_IMAGES on it, deploy with its stream ARN, then redrive this execution",
            )
        moments = [label_ms(facts.stream_arn)]
        if self._ports.mapping is not None:
            mapping = self._ports.mapping.mapping()
            if mapping.stream_arn != facts.stream_arn:
                raise Misconfigured(
                    "the mapping reads another stream than the table has now",
                    hint="Deploy the stack with the table's LatestStreamArn, then redrive this execution",
                )
            if mapping.state not in ("Enabled", "Enabling", "Updating", "Creating"):
                raise Misconfigured(
                    f"the stream mapping is {mapping.state}", hint="Enable it, then redrive this execution"
                )
            moments.append(mapping.modified_ms)
        moments += [gap.to_ms for gap in self._gaps.all() if gap.to_ms is not None]
        return max(moments)


def label_ms(stream_arn: str) -> int:
    """The moment that a stream's label names: `2026-11-24T03:05:34.123`, UTC, the end of its ARN."""
    label = stream_arn.rpartition("/stream/")[2]
    try:
        return parse_iso(label)
    except ValueError:
        raise Misconfigured(f"the stream's label {label!r} is no time", hint="Tell the maintainers") from None
