"""The last state of a run: everything is checked, then the manifest is written and the result answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.manifest import Manifest, digest_of, gather
from lakebound.backfill.run_context import MAX_PLAN_BYTES, RunContext, load_plan, load_work
from lakebound.backfill.run_plan import RunPlan
from lakebound.counts import count_text
from lakebound.errors import LakeboundError


def finish(context: RunContext, run: str) -> dict[str, Any]:
    """Check manifest: compare what was written with what should be, write the manifest, and answer the result.

    Raises LakeboundError where a unit is not done, a file is missing or a count differs: redriving then goes on.
    """
    plan, store = load_plan(context, run), context.ports.store
    expected, export_units, units = _expected_units(context, plan)
    checkpoints = load_checkpoints(context, run, range(units))
    for number, checkpoint in enumerate(checkpoints):
        if checkpoint is None or not checkpoint.done:
            raise LakeboundError(f"segment {number} of run {run} is not done", hint="Redrive the execution")
        checkpoint.check(run, number, plan.units, plan.table_id)
    done = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    if expected is not None:
        read = sum(checkpoint.read for checkpoint in done[:export_units])
        if read != expected:
            raise LakeboundError(
                f"the export holds {count_text(expected, 'item')} and {read} were converted",
                hint="Start a new backfill",
            )
    manifest = _manifest_of(context, plan, done)
    _check_files(context, manifest)
    key = context.folder(run).manifest()
    if not store.put_if_absent(key, manifest.encode(), {}):
        manifest = Manifest.decode(key, store.get(key, MAX_PLAN_BYTES))
    return result_of(manifest, key, plan.reason)


def _expected_units(context: RunContext, plan: RunPlan) -> tuple[int | None, int, int]:
    """(items that the exports hold, number of the exports' units, number of all units); (None, 0, …) for a scan."""
    if plan.mode == "scan":
        return None, 0, plan.units
    work = load_work(context, plan.run, "files")
    exported = len(work["units"])
    reread = len(load_work(context, plan.run, "reread")["units"]) if plan.reread else 0
    return int(work["items"]), exported, exported + reread


def load_checkpoints(context: RunContext, run: str, numbers: Sequence[int]) -> list[Checkpoint | None]:
    """The checkpoints of these units, None where there is none yet."""
    folder = context.folder(run)

    def load(number: int) -> Checkpoint | None:
        stored = context.ports.documents.load(folder.segment(number))
        return Checkpoint.decode(folder.segment(number), stored[0]) if stored else None

    with context.ports.pool() as pool:
        return list(pool.map(load, numbers))


def _manifest_of(context: RunContext, plan: RunPlan, done: Sequence[Checkpoint]) -> Manifest:
    files = gather(done)
    records = sum(checkpoint.records for checkpoint in done)
    in_files = sum(file.records for file in files)
    if records != in_files:
        raise LakeboundError(
            f"the segments count {count_text(records, 'record')} and their files {in_files}",
            hint="Start a new backfill",
        )
    labels = [checkpoint.min_label_ms for checkpoint in done if checkpoint.min_label_ms is not None]
    newest = [checkpoint.max_label_ms for checkpoint in done if checkpoint.max_label_ms is not None]
    return Manifest(
        run=plan.run,
        table=context.rules.table,
        table_id=plan.table_id,
        mode=plan.mode,
        consistent=plan.consistent,
        units=len(done),
        read=sum(checkpoint.read for checkpoint in done),
        records=records,
        quarantined=sum(checkpoint.quarantined for checkpoint in done),
        size=sum(file.size for file in files),
        consumed=round(sum(checkpoint.consumed for checkpoint in done), 1),
        min_label_ms=min(labels, default=None),
        max_label_ms=max(newest, default=None),
        started_ms=plan.planned_ms,
        finished_ms=context.ports.clock.now_ms(),
        digest=digest_of(files),
        files=files,
        heals=plan.heals,
    )


def _check_files(context: RunContext, manifest: Manifest) -> None:
    """Every file that the manifest names is there with its size. Raises LakeboundError."""
    folders = {file.key.rpartition("/")[0] for file in manifest.files}
    there = {stored.key: stored.size for folder in sorted(folders) for stored in context.ports.store.list(folder + "/")}
    for file in manifest.files:
        if there.get(file.key) != file.size:
            raise LakeboundError(
                f"{file.key} is missing or has another size than was written",
                hint="Somebody removed it: start a new backfill",
            )


def result_of(manifest: Manifest, key: str, reason: str = "") -> dict[str, Any]:
    """What the execution answers at its end; `reason` is why a heal chose its mode."""
    seconds = (manifest.finished_ms - manifest.started_ms) / 1000
    return {
        "run": manifest.run,
        "mode": manifest.mode,
        **({"reason": reason} if reason else {}),
        "records": manifest.records,
        "quarantined": manifest.quarantined,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "segments": manifest.units,
        "consumed_capacity": manifest.consumed,
        "duration_seconds": round(seconds, 1),
        "manifest": key,
        "next": next_step(manifest),
    }


def next_step(manifest: Manifest) -> str:
    """What an operator does after the run: merge, sweep where the whole table was read, close what it healed."""
    merge = "merge its files with lakebound-merge-changes"
    sweep = f"remove ghosts: {manifest.sweep_command}"
    if manifest.heals and manifest.is_complete:
        return f"{merge}, then {sweep}, merge once more, then close the gap: {manifest.close_command}"
    if manifest.heals:
        return f"{merge}, then close the gap: {manifest.close_command}"
    if manifest.is_complete:
        return f"{merge}, then {sweep}"
    return f"{merge}; no sweep: the run did not read the whole table consistently"
