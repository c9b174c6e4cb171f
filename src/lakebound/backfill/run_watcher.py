"""How a backfill's run stands, read from its folder in the bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from lakebound.backfill.checkpoints import Checkpoint
from lakebound.backfill.progress import RunProgress, progress_of
from lakebound.backfill.run_context import MAX_PLAN_BYTES
from lakebound.backfill.run_plan import RunPlan
from lakebound.errors import ObjectMissing
from lakebound.ports import Documents, ObjectStore
from lakebound.transport.object_keys import RunFolder


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at a moment: `phase` is what it does, `progress` is None while there is nothing to count."""

    phase: str
    progress: RunProgress | None = None

    def __str__(self) -> str:
        return self.phase if self.progress is None else f"{self.phase}: {self.progress}"

    @property
    def brief(self) -> str:
        """For one line beside a bar."""
        return self.phase if self.progress is None else f"{self.phase}  {self.progress.brief}"


_PHASES: Final = {
    "Validate": "checking its input",
    "Estimate": "choosing how to read",
    "Look at the stream": "looking at the stream",
    "Stream covers it?": "looking at the stream",
    "Wait until the stream covers it": "waiting until the stream covers the run",
    "Mode?": "about to read",
    "Cut into segments": "cutting the table into segments",
    "Start exports": "starting DynamoDB's export",
    "Wait for exports": "waiting for DynamoDB's export",
    "Look at exports": "waiting for DynamoDB's export",
    "Exports complete?": "waiting for DynamoDB's export",
    "Check export manifests": "checking the export's manifests",
    "List keys to read again": "listing keys to read again",
    "Check manifest": "writing the manifest",
}


def phase_of(stage: str) -> str:
    """What a run does in a state of its machine, in words."""
    return _PHASES.get(stage, f"in the state {stage}" if stage else "running, before its first page")


class RunWatcher:
    """Reads a run's plan and checkpoints, each again only when it changed."""

    def __init__(self, folder: RunFolder, store: ObjectStore, documents: Documents) -> None:
        self._folder = folder
        self._store = store
        self._documents = documents
        self._known: dict[str, tuple[int, int, Checkpoint]] = {}
        self._plan: RunPlan | None = None
        self._work: dict[str, dict[str, Any]] = {}

    def status(self, now_ms: int, stage: str = "") -> RunStatus:
        """How the run stands; `stage` is the state of the machine that it is in, where that is known.

        Raises StoreUnavailable, Misconfigured where there is no such bucket.
        """
        if self._plan is None:
            body = self._get(self._folder.plan())
            if body is None:
                return RunStatus(phase_of(stage))
            self._plan = RunPlan.decode(body)
        plan = self._plan
        # What a heal chose, and why, so that nobody wonders which way it reads.
        why = f", {plan.mode} ({plan.reason})" if plan.reason else ""
        if plan.mode == "scan":
            return RunStatus(f"reading{why}", self._progress("segments", plan.units, plan.items, now_ms))
        files = self._stage("files")
        if files is None:
            return RunStatus(f"waiting for DynamoDB's export{why}")
        units = len(files["units"])
        if plan.reread:
            # Before the keys to read again are listed, all of that is one unit: the run must not look done.
            again = self._stage("reread")
            units += 1 if again is None else len(again["units"])
        return RunStatus(f"converting{why}", self._progress("units of files", units, int(files["items"]), now_ms))

    @property
    def is_reading(self) -> bool:
        """Whether the run's plan is there, from which on its folder tells more than its state."""
        return self._plan is not None

    def _progress(self, unit: str, units: int, expected: int, now_ms: int) -> RunProgress:
        for stored in self._store.list(self._folder.segments()):
            known = self._known.get(stored.key)
            if known is not None and known[:2] == (stored.modified_ms, stored.size):
                continue
            loaded = self._documents.load(stored.key)
            if loaded is not None:
                checkpoint = Checkpoint.decode(stored.key, loaded[0])
                self._known[stored.key] = (stored.modified_ms, stored.size, checkpoint)
        checkpoints = [checkpoint for _, _, checkpoint in self._known.values()]
        return progress_of(checkpoints, units, expected, now_ms, unit=unit)

    def _stage(self, name: str) -> dict[str, Any] | None:
        """The document that lists a stage's units; None before it is written."""
        if name not in self._work:
            body = self._get(self._folder.work(name))
            if body is None:
                return None
            self._work[name] = orjson.loads(body)
        return self._work[name]

    def _get(self, key: str) -> bytes | None:
        try:
            return self._store.get(key, MAX_PLAN_BYTES)
        except ObjectMissing:
            return None
