"""The states of a run that reads exports: started once, waited for, their files and the keys to read again listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import ceil
from typing import Any, Final

import orjson

from lakebound.backfill import estimate as estimates
from lakebound.backfill import exports
from lakebound.backfill.exports import DataFile, ExpectedExport, Window
from lakebound.backfill.key_reread import TimeRange
from lakebound.backfill.run_context import MAX_PLAN_BYTES, RunStages
from lakebound.backfill.run_input import BackfillRequest
from lakebound.backfill.run_plan import RunPlan
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.source.facts import TableDescription
from lakebound.transport.object_keys import RunFolder

MAX_UNITS: Final = 10_000
"""Children of one map; a document with so many numbers has 50 KB, a fifth of what a state may hold."""

FILES_PER_REREAD: Final = 20
LEAST_POLL_SECONDS: Final = 30
MOST_POLL_SECONDS: Final = 300


class ExportStages(RunStages):
    """Start exports, Look at exports, Check export manifests, List keys to read again."""

    def start_exports(self, state: dict[str, Any]) -> dict[str, Any]:
        """Starts the run's exports with client tokens; each is started once, however often this is called."""
        facts = self._ports.source.describe(recovery=True)
        request = BackfillRequest.parse(state["request"])
        windows, reread = self._windows(state)
        for span in windows:
            exports.check_window(span, facts.recovery_from_ms)
        readers = self._readers(estimates.FILE_READERS)
        share = estimates.budget(facts, request) / readers
        plan = self._keep_plan(state, facts, 0, readers, share, windows, reread)
        folder = RunFolder.of(self._rules.table, plan.run)
        exporter = self._ports.exporter(facts.arn)
        wanted: list[Window | None] = [Window(*edges) for edges in plan.windows] or [None]
        for number, window in enumerate(wanted):
            key = folder.work(f"export-{number}")
            if self._ports.documents.load(key) is not None:
                continue
            kind = exports.FULL if window is None else exports.INCREMENTAL
            token = sha256(f"{plan.table_id} {plan.run} {number}".encode()).hexdigest()[:36]
            # DynamoDB keeps the token for 8 hours; after that, what was started is known from the document alone.
            arn = exporter.start(kind, folder.exports(), token, window)
            self._ports.store.put_if_absent(key, orjson.dumps({"arn": arn}), {})
        return state | {"exports": len(wanted), "wait_seconds": LEAST_POLL_SECONDS, "ready": False}

    def _windows(self, state: Mapping[str, Any]) -> tuple[list[Window], tuple[int, int] | None]:
        stretch = state.get("stretch")
        if state["mode"] != "incremental_export" or not stretch:
            return [], None
        begin, end = stretch
        hidden = self._rules.redaction
        if hidden is not None and hidden.hashes_any(self._ports.source.describe().key_names):
            raise Misconfigured(
                "keys cannot be read again: HASH_ATTRIBUTES names a key attribute, and the files hold its hash only",
                hint='Heal by {"mode": "scan"} and a sweep instead',
            )
        margin, wait = self._rules.margin_ms, self._rules.wait_ms
        heals = state["request"]["mode"] == "heal"
        spans = exports.windows(begin - wait, end + wait) if heals else exports.windows(begin, end)
        # INSERT for k delivered two minutes before the gap, inside the first window; DELETE lost in the gap, inside it
        # too: k is not exported, and a re-read of the gap's own hours would not list it. So all windows' hours are.
        return spans, (spans[0].from_ms - margin, spans[-1].to_ms + margin)

    def _export_states(self, plan: RunPlan, facts: TableDescription) -> Iterator[exports.ExportState]:
        folder = RunFolder.of(self._rules.table, plan.run)
        exporter = self._ports.exporter(facts.arn)
        for number in range(max(1, len(plan.windows))):
            document = orjson.loads(self._ports.store.get(folder.work(f"export-{number}"), MAX_PLAN_BYTES))
            yield exporter.describe(document["arn"])

    def check_exports(self, state: dict[str, Any]) -> dict[str, Any]:
        """`ready` once every export has completed; waits longer between looks as time goes on."""
        plan = self.plan(state["run"])
        facts = self._ports.source.describe()
        ready = True
        for told in self._export_states(plan, facts):
            if told.status == "FAILED":
                raise LakeboundError(
                    f"the export failed ({told.failure or 'no reason given'})", hint="Start a new backfill"
                )
            ready = ready and told.status == "COMPLETED"
        wait = min(MOST_POLL_SECONDS, max(LEAST_POLL_SECONDS, int(state["wait_seconds"] * 1.5)))
        return state | {"ready": ready, "wait_seconds": wait}

    def plan_files(self, state: dict[str, Any]) -> dict[str, Any]:
        """Checks the exports' manifests and lists their data files as units."""
        plan = self.plan(state["run"])
        facts = self._ports.source.describe()
        files: list[DataFile] = []
        for number, told in enumerate(self._export_states(plan, facts)):
            if plan.windows:
                window = Window(*plan.windows[number])
                label = window.to_ms - plan.margin_ms
                wanted = ExpectedExport(exports.INCREMENTAL, facts.arn, plan.table_id, label, window=window)
            else:
                label = self._full_label(plan, facts, told)
                wanted = ExpectedExport(exports.FULL, facts.arn, plan.table_id, label, time_ms=told.export_time_ms)
            if told.manifest_key is None:
                raise LakeboundError("a completed export names no manifest", hint="Start a new backfill")
            files += exports.read_manifest(self._ports.store, told.manifest_key, wanted)
        files = [file for file in files if file.items]
        units = [[file.fields() for file in some] for some in _spread(files, MAX_UNITS)]
        kept = self._keep_work(state["run"], "files", {"units": units, "items": sum(file.items for file in files)})
        return state | {"units": list(range(len(kept["units"]))), "concurrency": plan.concurrency}

    def _full_label(self, plan: RunPlan, facts: TableDescription, told: exports.ExportState) -> int:
        if told.export_time_ms is None:
            raise LakeboundError("a completed export has no ExportTime", hint="Start a new backfill")
        if told.export_time_ms < self._covered_from(facts) + self._rules.wait_ms - 1000:
            raise LakeboundError(
                "the export shows the table before the stream covered it", hint="Start a new backfill now"
            )
        return told.export_time_ms - plan.margin_ms

    def plan_reread(self, state: dict[str, Any]) -> dict[str, Any]:
        """Lists the batch files whose keys are read again, as units that follow the export's."""
        plan = self.plan(state["run"])
        assert plan.reread is not None
        first = len(self._work(RunFolder.of(self._rules.table, plan.run), "files"))
        keys = [stored.key for stored in self._told_files(TimeRange(*plan.reread))]
        count = max(1, ceil(len(keys) / FILES_PER_REREAD))
        units = _spread(keys, min(MAX_UNITS, count))
        kept = self._keep_work(state["run"], "reread", {"units": units})
        return state | {"units": list(range(first, first + len(kept["units"]))), "concurrency": plan.concurrency}


def _spread(entries: Sequence[Any], units: int) -> list[list[Any]]:
    """The entries in at most so many units, in turn, so that neighbours of like size are spread."""
    count = min(units, len(entries))
    return [list(entries[start::count]) for start in range(count)] if count else []
