"""The states of a run that reads exports: started once, waited for, their files and the keys to read again listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from math import ceil
from typing import Any, Final

import orjson

from lakebound.backfill import estimate as estimates
from lakebound.backfill import exports
from lakebound.backfill.exports import DataFile, ExpectedExport, ExportState
from lakebound.backfill.run_context import (
    RunContext,
    batch_files,
    covered_from_ms,
    free_readers,
    load_plan,
    load_work,
    save_plan,
    save_work,
)
from lakebound.backfill.run_plan import RunPlan
from lakebound.backfill.run_state import RunState
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.source.facts import TableDescription
from lakebound.times import TimeRange

MAX_UNITS: Final = 10_000
"""Children of one map; a document with so many numbers has 50 KB, a fifth of what a state may hold."""

FILES_PER_REREAD: Final = 20
LEAST_POLL_SECONDS: Final = 30
MOST_POLL_SECONDS: Final = 300


def start_exports(context: RunContext, state: RunState) -> RunState:
    """Start exports: one full export, or one a window; each is started once, however often this is called."""
    ports = context.ports
    described = ports.source.describe(recovery=True)
    windows, reread = export_windows(context, state, described)
    for window in windows:
        exports.check_window(window, described.recovery_from_ms)
    readers = free_readers(context, estimates.FILE_READERS)
    cut = estimates.Cut(0, readers, estimates.budget(described, state.request))
    plan = save_plan(context, state, described, cut, windows, reread)
    folder, exporter = context.folder(plan.run), ports.exporter(described.arn)
    wanted: list[TimeRange | None] = [TimeRange(*edges) for edges in plan.windows] or [None]
    for number, one in enumerate(wanted):
        key = folder.work(f"export-{number}")
        if ports.documents.load(key) is not None:
            continue
        kind = exports.FULL if one is None else exports.INCREMENTAL
        token = sha256(f"{plan.table_id} {plan.run} {number}".encode()).hexdigest()[:36]
        # DynamoDB keeps the token for 8 hours; after that, what was started is known from the document alone.
        arn = exporter.start(kind, folder.exports(), token, one)
        ports.store.put_if_absent(key, orjson.dumps({"arn": arn}), {})
    return replace(state, exports=len(wanted), wait_seconds=LEAST_POLL_SECONDS, ready=False)


def export_windows(
    context: RunContext, state: RunState, described: TableDescription
) -> tuple[list[TimeRange], TimeRange | None]:
    """(the windows of an incremental export, the hours whose keys are read again); ([], None) for a full export."""
    rules, stretch = context.rules, state.stretch
    if state.mode != "incremental_export" or not stretch:
        return [], None
    if rules.redaction is not None and rules.redaction.hashes_any(described.key_names):
        raise Misconfigured(
            "keys cannot be read again: HASH_ATTRIBUTES names a key attribute, and the files hold its hash only",
            hint='Heal by {"mode": "scan"} and a sweep instead',
        )
    wait = rules.wait_ms if state.is_heal else 0
    windows = exports.windows(stretch.widened(wait))
    # INSERT for k delivered two minutes before the gap, inside the first window; DELETE lost in the gap, inside it
    # too: k is not exported, and a re-read of the gap's own hours would not list it. So all windows' hours are.
    return windows, TimeRange(windows[0].from_ms, windows[-1].to_ms).widened(rules.margin_ms)


def check_exports(context: RunContext, state: RunState) -> RunState:
    """Look at exports: `ready` once every export has completed; the wait until the next check grows."""
    plan = load_plan(context, state.run)
    ready = True
    for export in _export_states(context, plan, context.ports.source.describe()):
        if export.status == "FAILED":
            raise LakeboundError(
                f"the export failed ({export.failure or 'no reason given'})", hint="Start a new backfill"
            )
        ready = ready and export.status == "COMPLETED"
    wait = int((state.wait_seconds or 0) * 1.5)
    return replace(state, ready=ready, wait_seconds=min(MOST_POLL_SECONDS, max(LEAST_POLL_SECONDS, wait)))


def plan_files(context: RunContext, state: RunState) -> RunState:
    """Check export manifests: the exports' data files, listed as `units`.

    Raises LakeboundError where a manifest is not that of the export that was asked for.
    """
    plan, described = load_plan(context, state.run), context.ports.source.describe()
    files: list[DataFile] = []
    for number, export in enumerate(_export_states(context, plan, described)):
        if plan.windows:
            window = TimeRange(*plan.windows[number])
            label = window.to_ms - plan.margin_ms
            expected = ExpectedExport(exports.INCREMENTAL, described.arn, plan.table_id, label, window=window)
        else:
            label = _full_label(context, plan, described, export)
            expected = ExpectedExport(exports.FULL, described.arn, plan.table_id, label, time_ms=export.export_time_ms)
        if export.manifest_key is None:
            raise LakeboundError("a completed export names no manifest", hint="Start a new backfill")
        files += exports.read_manifest(context.ports.store, export.manifest_key, expected)
    files = [file for file in files if file.items]
    units = [[astuple(file) for file in unit] for unit in _spread(files, MAX_UNITS)]
    work = save_work(context, plan.run, "files", {"units": units, "items": sum(file.items for file in files)})
    return replace(state, units=range(len(work["units"])), concurrency=plan.concurrency)


def plan_reread(context: RunContext, state: RunState) -> RunState:
    """List keys to read again: the batch files that hold them, as `units` that follow the export's."""
    plan = load_plan(context, state.run)
    assert plan.reread is not None
    first = len(load_work(context, plan.run, "files")["units"])
    keys = [stored.key for stored in batch_files(context, TimeRange(*plan.reread))]
    units = _spread(keys, min(MAX_UNITS, max(1, ceil(len(keys) / FILES_PER_REREAD))))
    work = save_work(context, plan.run, "reread", {"units": units})
    return replace(state, units=range(first, first + len(work["units"])), concurrency=plan.concurrency)


def _export_states(context: RunContext, plan: RunPlan, described: TableDescription) -> Iterator[ExportState]:
    exporter = context.ports.exporter(described.arn)
    for number in range(max(1, len(plan.windows))):
        yield exporter.describe(load_work(context, plan.run, f"export-{number}")["arn"])


def _full_label(context: RunContext, plan: RunPlan, described: TableDescription, export: ExportState) -> int:
    if export.export_time_ms is None:
        raise LakeboundError("a completed export has no ExportTime", hint="Start a new backfill")
    if export.export_time_ms < covered_from_ms(context, described) + context.rules.wait_ms - 1000:
        raise LakeboundError("the export shows the table before the stream covered it", hint="Start a new backfill now")
    return export.export_time_ms - plan.margin_ms


def _spread(entries: Sequence[Any], units: int) -> list[list[Any]]:
    """The entries in at most so many units, in turn, so that neighbours of like size are spread."""
    count = min(units, len(entries))
    return [list(entries[start::count]) for start in range(count)] if count else []
