"""A backfill run from its first state to its last: one method per state of the state machine.

A state's document carries the run, counts and times; never a key. Every stage can be called again: it finds what it
did and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lakebound.backfill import estimate as estimates
from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.export_states import ExportStages
from lakebound.backfill.exports import DataFile, ExportFiles
from lakebound.backfill.finish_state import EndingStages
from lakebound.backfill.key_reread import KeyReread, TimeRange
from lakebound.backfill.run_context import Ports, RunRules
from lakebound.backfill.run_input import BackfillRequest
from lakebound.backfill.run_plan import RunPlan
from lakebound.backfill.segment_worker import PageSource, SegmentWorker
from lakebound.backfill.start_states import OpeningStages
from lakebound.backfill.stream_check import LookStages
from lakebound.errors import Misconfigured
from lakebound.ports import SecondsLeft
from lakebound.record.base_records import SnapshotDecoder
from lakebound.source.facts import TableDescription
from lakebound.transport.object_keys import RunFolder

__all__ = ["Ports", "RunPlan", "RunRules", "Stages"]


class Stages(OpeningStages, ExportStages, EndingStages, LookStages):
    """The backfill of one table."""

    def perform(self, event: Mapping[str, Any], seconds_left: SecondsLeft) -> dict[str, Any]:
        """The state of the state machine that the event names. Raises LakeboundError with the next step."""
        action = event.get("action")
        if action == "validate":
            return self.validate(event.get("input"), str(event.get("execution", "")))
        if action == "look":
            return self.look()
        if action == "carry":
            return self.carry(str(event["run"]), int(event["unit"]), seconds_left)
        stage: Callable[[dict[str, Any]], dict[str, Any]] | None = {
            "estimate": self.estimate,
            "cover": self.cover,
            "plan_scan": self.plan_scan,
            "start_exports": self.start_exports,
            "check_exports": self.check_exports,
            "plan_files": self.plan_files,
            "plan_reread": self.plan_reread,
            "finish": self.finish,
        }.get(str(action))
        if stage is None:
            raise Misconfigured(f"there is no action {action!r}", hint="Start backfills through the state machine")
        return stage(dict(event["state"]))

    def plan_scan(self, state: dict[str, Any]) -> dict[str, Any]:
        """Cuts the table; adds `units`, the numbers of the segments, and `concurrency`."""
        request = BackfillRequest.parse(state["request"])
        facts = self._ports.source.describe()
        how = estimates.cut(facts, request, self._readers(estimates.MAX_READERS))
        plan = self._keep_plan(state, facts, how.segments, how.concurrency, how.share)
        return state | {"units": list(range(plan.units)), "concurrency": plan.concurrency}

    def carry(self, run: str, unit: int, seconds_left: SecondsLeft) -> dict[str, Any]:
        """Carry one unit as far as the time allows: counts only, and whether it is done."""
        plan = self.plan(run)
        facts = self._ports.source.describe()
        if facts.table_id != plan.table_id:
            raise Misconfigured(
                f"the table was created again since run {run} began", hint="Start a new backfill of the new table"
            )
        folder = RunFolder.of(self._rules.table, run)
        source, share = self._unit(plan, folder, facts, unit)
        rules = replace(self._rules, share=share)
        carrier = SegmentWorker(
            rules, source, self._ports.store, self._ports.documents, self._ports.clock, seconds_left
        )
        # A scan's segments belong to their number; the units of files are fixed by the document that lists them.
        total = plan.units
        state = carrier.carry(folder.segment(unit), Checkpoint(run, unit, total, plan.table_id))
        return {
            "run": run,
            "unit": unit,
            "done": state.done,
            "records": state.records,
            "files": len(state.files),
            "consumed": round(state.consumed, 1),
            "throttles": state.throttles,
            "invocations": state.invocations,
        }

    def _unit(self, plan: RunPlan, folder: RunFolder, facts: TableDescription, unit: int) -> tuple[PageSource, float]:
        ports, rules = self._ports, self._rules
        if plan.mode == "scan":
            if not 0 <= unit < plan.units:
                raise Misconfigured(
                    f"run {plan.run} has {plan.units} segments, there is no segment {unit}", hint="Start a new backfill"
                )
            decoder = SnapshotDecoder(rules.table, plan.run, "scan", facts.key_names)
            return ports.scan(decoder, unit, plan.units, plan.consistent, plan.margin_ms), plan.share
        work = self._work(folder, "files")
        if unit < len(work):
            files = [DataFile(*entry) for entry in work[unit]]
            origin = "export" if plan.mode == "export" else "incremental_export"
            decoder = SnapshotDecoder(rules.table, plan.run, origin, facts.key_names)
            return ExportFiles(files, decoder, ports.store, ports.clock, origin=origin), 0.0
        again = self._work(folder, "reread")[unit - len(work)]
        assert plan.reread is not None
        decoder = SnapshotDecoder(rules.table, plan.run, "reread", facts.key_names)
        source = KeyReread(
            rules.table,
            plan.run,
            facts.key_names,
            again,
            TimeRange(*plan.reread),
            ports.source,
            decoder,
            ports.store,
            ports.clock,
            plan.margin_ms,
        )
        return source, plan.share
