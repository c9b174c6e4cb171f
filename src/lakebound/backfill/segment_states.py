"""The states that read: the table is cut into segments, and each segment is read, invocation after invocation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lakebound.backfill import estimate as estimates
from lakebound.backfill.checkpoints import Checkpoint, table_recreated
from lakebound.backfill.exports import DataFile, ExportFiles
from lakebound.backfill.key_reread import KeyReread, RereadUnit
from lakebound.backfill.run_context import RunContext, free_readers, load_plan, load_work, save_plan
from lakebound.backfill.run_plan import RunPlan
from lakebound.backfill.run_state import RunState
from lakebound.backfill.segment_worker import PageSource, SegmentWorker, when_taken
from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.ports import SecondsLeft
from lakebound.record.base_records import SnapshotDecoder
from lakebound.source.facts import TableDescription
from lakebound.times import TimeRange


def plan_scan(context: RunContext, state: RunState) -> RunState:
    """Cut into segments: the plan, with `units` (the segments' numbers) and `concurrency`."""
    described = context.ports.source.describe()
    cut = estimates.cut(described, state.request, free_readers(context, estimates.MAX_READERS))
    plan = save_plan(context, state, described, cut)
    return replace(state, units=range(plan.units), concurrency=plan.concurrency)


def read_segment(context: RunContext, run: str, unit: int, seconds_left: SecondsLeft) -> dict[str, Any]:
    """Read pages, Convert lines, Read keys: one segment as far as the time allows; counts, and whether it is done."""
    plan, ports = load_plan(context, run), context.ports
    described = ports.source.describe()
    if described.table_id != plan.table_id:
        raise table_recreated(run)
    source = _page_source(context, plan, described, unit)
    # Export files consume no read capacity, so nothing limits their rate.
    rules = replace(context.rules, share=0.0 if isinstance(source, ExportFiles) else plan.share)
    # Only a scan waits for another service page by page; what an export's file takes is the processor.
    ahead = ports.ahead if plan.mode == "scan" else when_taken
    worker = SegmentWorker(rules, source, ports.store, ports.documents, ports.clock, seconds_left, ahead)
    # A scan's segments belong to their number; the units of files are fixed by the document that lists them.
    start = Checkpoint(run, unit, plan.units, plan.table_id)
    checkpoint = worker.read(context.folder(run).segment(unit), start)
    return {
        "run": run,
        "unit": unit,
        "done": checkpoint.done,
        "records": checkpoint.records,
        "files": len(checkpoint.files),
        "consumed": round(checkpoint.consumed, 1),
        "throttles": checkpoint.throttles,
        "invocations": checkpoint.invocations,
    }


def _page_source(context: RunContext, plan: RunPlan, described: TableDescription, unit: int) -> PageSource:
    ports = context.ports

    def decoder(origin: str) -> SnapshotDecoder:
        return SnapshotDecoder(context.rules.table, plan.run, origin, described.key_names)

    if plan.mode == "scan":
        if not 0 <= unit < plan.units:
            raise Misconfigured(
                f"run {plan.run} has {count_text(plan.units, 'segment')}, there is no segment {unit}",
                hint="Start a new backfill",
            )
        return ports.scan(decoder("scan"), unit, plan.units, plan.consistent, plan.margin_ms)
    exported = load_work(context, plan.run, "files")["units"]
    if unit < len(exported):
        files = [DataFile(*entry) for entry in exported[unit]]
        return ExportFiles(files, decoder(plan.mode), ports.store, ports.clock, origin=plan.mode)
    # The units of keys to read again are numbered after the export's.
    assert plan.reread is not None
    keys = load_work(context, plan.run, "reread")["units"][unit - len(exported)]
    table, hours = context.rules.table, TimeRange(*plan.reread)
    reread = RereadUnit(table, plan.run, described.key_names, keys, hours, plan.margin_ms)
    return KeyReread(reread, ports.source, ports.store, ports.clock)
