"""The last state of a run: everything is checked, then the manifest is written and the result told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.manifest import Manifest, digest_of, gather
from lakebound.backfill.run_context import MAX_PLAN_BYTES, RunStages
from lakebound.backfill.run_plan import RunPlan
from lakebound.errors import LakeboundError
from lakebound.transport.object_keys import RunFolder


class EndingStages(RunStages):
    """Check manifest."""

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Checks what was written against what should be, writes the manifest, and answers with the result.

        Raises LakeboundError where a unit is not done, a file is missing or a count differs: redriving then goes on.
        """
        plan = self.plan(state["run"])
        folder = RunFolder.of(self._rules.table, plan.run)
        expected, units = self._expected(plan, folder)
        checkpoints = self.checkpoints(plan.run, range(units))
        for number, checkpoint in enumerate(checkpoints):
            if checkpoint is None or not checkpoint.done:
                raise LakeboundError(f"segment {number} of run {plan.run} is not done", hint="Redrive the execution")
            checkpoint.check(plan.run, number, plan.units, plan.table_id)
        done = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
        if expected is not None:
            read = sum(checkpoint.read for checkpoint in done[: self._file_units(plan, folder)])
            if read != expected:
                raise LakeboundError(
                    f"the export holds {expected} items and {read} were converted", hint="Start a new backfill"
                )
        manifest = self._manifest(plan, state, done)
        self._check_files(manifest)
        if not self._ports.store.put_if_absent(folder.manifest(), manifest.encode(), {}):
            manifest = Manifest.decode(folder.manifest(), self._ports.store.get(folder.manifest(), MAX_PLAN_BYTES))
        return result_of(manifest, folder.manifest(), plan.reason)

    def _file_units(self, plan: RunPlan, folder: RunFolder) -> int:
        return 0 if plan.mode == "scan" else len(self._work(folder, "files"))

    def _expected(self, plan: RunPlan, folder: RunFolder) -> tuple[int | None, int]:
        """(items that the exports hold or None, number of units)."""
        if plan.mode == "scan":
            return None, plan.units
        document = orjson.loads(self._ports.store.get(folder.work("files"), MAX_PLAN_BYTES))
        again = len(self._work(folder, "reread")) if plan.reread else 0
        return int(document["items"]), len(document["units"]) + again

    def checkpoints(self, run: str, numbers: Sequence[int]) -> list[Checkpoint | None]:
        """The checkpoints of these units, None where there is none yet."""
        folder = RunFolder.of(self._rules.table, run)

        def load(number: int) -> Checkpoint | None:
            stored = self._ports.documents.load(folder.segment(number))
            return Checkpoint.decode(folder.segment(number), stored[0]) if stored else None

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(load, numbers))

    def _manifest(self, plan: RunPlan, state: Mapping[str, Any], done: Sequence[Checkpoint]) -> Manifest:
        files = gather(done)
        records = sum(checkpoint.records for checkpoint in done)
        in_files = sum(file.records for file in files)
        if records != in_files:
            raise LakeboundError(
                f"the segments count {records} records and their files {in_files}", hint="Start a new backfill"
            )
        labels = [checkpoint.min_label_ms for checkpoint in done if checkpoint.min_label_ms is not None]
        newest = [checkpoint.max_label_ms for checkpoint in done if checkpoint.max_label_ms is not None]
        return Manifest(
            run=plan.run,
            table=self._rules.table,
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
            finished_ms=self._ports.clock.now_ms(),
            digest=digest_of(files),
            files=files,
            heals=plan.heals,
        )

    def _check_files(self, manifest: Manifest) -> None:
        """Every file that the manifest names is there with its size. Raises LakeboundError."""
        folders = {file.key.rpartition("/")[0] for file in manifest.files}
        there = {
            stored.key: stored.size for folder in sorted(folders) for stored in self._ports.store.list(folder + "/")
        }
        for file in manifest.files:
            if there.get(file.key) != file.size:
                raise LakeboundError(
                    f"{file.key} is missing or has another size than was written",
                    hint="Somebody removed it: start a new backfill",
                )


def result_of(manifest: Manifest, key: str, reason: str = "") -> dict[str, Any]:
    """What the execution says at its end; `reason` is why a heal chose its way."""
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
    merge = "merge its files with spark/jobs/merge_changes.py"
    sweep = f"remove ghosts: spark/jobs/sweep.py --run {manifest.run}"
    close = f"lakebound backfill close --run {manifest.run}"
    if manifest.heals and manifest.is_complete:
        return f"{merge}, then {sweep}, merge once more, then close the gap: {close}"
    if manifest.heals:
        return f"{merge}, then close the gap: {close}"
    if manifest.is_complete:
        return f"{merge}, then {sweep}"
    return f"{merge}; no sweep: the run did not read the whole table consistently"
