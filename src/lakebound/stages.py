"""A backfill run from its first state to its last: one method per state of the state machine.

A state's document carries the run, counts and times; never a key. What a stage needs beyond that lies in the run's
folder: `plan.json` once the run is planned, `files.json` and `reread.json` for stages that are known later, one
checkpoint per unit. Every stage can be called again: it finds what it did and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from math import ceil
from typing import Any, Final, Protocol

import orjson

from lakebound import estimate as estimates
from lakebound import exports
from lakebound.backfill import Carrier, CarryRules, PageSource
from lakebound.documents import Documents
from lakebound.errors import LakeboundError, Misconfigured, ObjectMissing
from lakebound.events import SnapshotDecoder
from lakebound.exports import DataFile, Exporter, ExportFiles, Wanted, Window
from lakebound.gaps import GapBook
from lakebound.layout import RunFolder, partitioner
from lakebound.manifest import Manifest, digest_of, gather
from lakebound.ports import Clock, ObjectStore, SecondsLeft, StoredObject
from lakebound.redaction import Redaction
from lakebound.requests import BackfillRequest, iso
from lakebound.reread import KeyReader, KeysAgain, Stretch, files_of
from lakebound.segments import Checkpoint
from lakebound.settings import BackfillSettings
from lakebound.sources import Described, Mapped, TableFacts

MAX_UNITS: Final = 10_000
"""Children of one map; a document with so many numbers has 50 KB, a fifth of what a state may hold."""

FILES_PER_REREAD: Final = 20
EXPORT_SETTLES_MS: Final = 5 * 60_000
"""Exports reach up to about five minutes ago (LatestRestorableDateTime)."""

LEAST_POLL_SECONDS: Final = 30
MOST_POLL_SECONDS: Final = 300
MAX_WAIT_SECONDS: Final = 900
_MAX_PLAN_BYTES: Final = 64 * 1024 * 1024
_CHANGES_EXPAND: Final = 8
"""Bytes of items to a byte of compressed batch files, both images in them: a rough guess for the estimate."""


class Source(Described, KeyReader, Protocol):
    """The source table, as the run's stages need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRules(CarryRules):
    """What the settings decide: what every segment is carried by, and MARGIN of ORDERING.md."""

    margin_ms: int

    @property
    def wait_ms(self) -> int:
        """W of ORDERING.md: the margin and both errors."""
        return 3 * self.margin_ms


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run reads, how it is cut and how fast: written once, so that a redrive cannot cut the table otherwise."""

    run: str
    mode: str
    table_id: str
    units: int
    concurrency: int
    share: float
    consistent: bool
    margin_ms: int
    planned_ms: int
    items: int
    size: int
    windows: tuple[tuple[int, int], ...] = ()
    reread: tuple[int, int] | None = None
    heals: tuple[tuple[int, str], ...] = ()

    def encode(self) -> bytes:
        """As one JSON document."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__})

    @staticmethod
    def decode(body: bytes) -> Plan:
        """The plan behind a document of ours."""
        fields = orjson.loads(body)
        fields["windows"] = tuple((begin, end) for begin, end in fields["windows"])
        fields["reread"] = tuple(fields["reread"]) if fields["reread"] else None
        fields["heals"] = tuple((begin, cause) for begin, cause in fields["heals"])
        return Plan(**fields)


ScanSource = Callable[[SnapshotDecoder, int, int, bool, int], PageSource]
"""(decoder, segment, total, consistent, margin in ms) to one segment's pages."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The world as the stages need it."""

    source: Source
    scan: ScanSource
    mapping: Mapped | None
    exporter: Callable[[str], Exporter]
    store: ObjectStore
    documents: Documents
    clock: Clock


class Stages:
    """The backfill of one table."""

    def __init__(self, rules: StageRules, ports: Ports) -> None:
        self._rules = rules
        self._ports = ports
        self._gaps = GapBook(rules.table, ports.store, ports.documents)

    def perform(self, event: Mapping[str, Any], seconds_left: SecondsLeft) -> dict[str, Any]:
        """The state of the state machine that the event names. Raises LakeboundError with the next step."""
        action = event.get("action")
        if action == "validate":
            return self.validate(event.get("input"), str(event.get("execution", "")))
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

    # ── before anything is read ──

    def validate(self, value: object, execution: str) -> dict[str, Any]:
        """The state document of a checked input."""
        RunFolder.of(self._rules.table, execution)
        request = BackfillRequest.parse(value)
        return {
            "run": execution,
            "mode": request.mode,
            "request": request.fields(),
            "started": iso(self._ports.clock.now_ms()),
            "wait_seconds": 0,
        }

    def estimate(self, state: dict[str, Any]) -> dict[str, Any]:
        """Adds what the run will take; decides how `heal` heals."""
        request = BackfillRequest.parse(state["request"])
        facts = self._ports.source.describe(recovery=True)
        heals: list[tuple[int, str]] = []
        stretch: Window | None = None
        if request.mode == "heal":
            stretch, heals = self._open_gap()
        elif request.from_ms is not None and request.to_ms is not None:
            stretch = Window(request.from_ms, request.to_ms)
        told = estimates.estimate(facts, request, self._changed_bytes(stretch))
        mode = request.mode
        if mode == "heal":
            mode = told.recommended
            begin = stretch.from_ms - self._rules.wait_ms if stretch else 0
            if mode == "incremental_export" and begin < (facts.recovery_from_ms or 0):
                mode = "scan"
        state |= {"mode": mode, "heals": heals, "stretch": [stretch.from_ms, stretch.to_ms] if stretch else None}
        option = told.option(mode)
        if option.impossible:
            raise Misconfigured(f"mode {mode} {option.impossible}", hint="Enable it, or use mode scan")
        state["estimate"] = {
            "items": option.items,
            "bytes": option.bytes,
            "read_units": option.read_units,
            "dollars": option.dollars,
            "minutes": option.minutes,
            "recommended": told.recommended,
            "reason": told.reason,
        }
        return state

    def _open_gap(self) -> tuple[Window, list[tuple[int, str]]]:
        gaps = self._gaps.open()
        if not gaps:
            raise Misconfigured("there is no open gap", hint="Nothing needs healing; `lakebound status` lists gaps")
        ends = [gap.to_ms for gap in gaps if gap.to_ms is not None]
        if len(ends) < len(gaps):
            raise Misconfigured(
                "a gap is still open-ended: the stream is not whole yet",
                hint="Enable the stream and its mapping, wait until it has caught up, then redrive",
            )
        begin = min(gap.from_ms for gap in gaps)
        return Window(begin, max(ends)), [(gap.from_ms, gap.cause) for gap in gaps]

    def _changed_bytes(self, stretch: Window | None) -> int | None:
        if stretch is None:
            return None
        wide = Stretch(stretch.from_ms - self._rules.wait_ms, stretch.to_ms + self._rules.wait_ms)
        files = self._told_files(wide)
        return _CHANGES_EXPAND * sum(stored.size for stored in files)

    def cover(self, state: dict[str, Any]) -> dict[str, Any]:
        """`wait_seconds` until the stream covers the first page (condition 4 of ORDERING.md); 0 when it does."""
        facts = self._ports.source.describe()
        now = self._ports.clock.now_ms()
        ready = self._covered_from(facts) + self._rules.wait_ms
        mode, stretch = state["mode"], state.get("stretch")
        if mode == "incremental_export" and stretch:
            # The windows end W after the gap, and an export reaches up to some minutes ago.
            end = stretch[1] + (self._rules.wait_ms if state["request"]["mode"] == "heal" else 0)
            ready = max(ready, end + EXPORT_SETTLES_MS)
        elif stretch:
            ready = max(ready, stretch[1] + self._rules.wait_ms)
        state["wait_seconds"] = min(MAX_WAIT_SECONDS, max(0, ceil((ready - now) / 1000)))
        state["covered_from"] = iso(ready)
        return state

    def _covered_from(self, facts: TableFacts) -> int:
        """C: the stream's start, the mapping's, or the end of the last gap."""
        if facts.stream_arn is None:
            raise Misconfigured(
                f"table {facts.name} has no stream, so a backfill would be stale at once",
                hint="Enable NEW_AND_OLD_IMAGES on it, deploy with its stream ARN, then redrive this execution",
            )
        moments = [_label_ms(facts.stream_arn.rpartition("/stream/")[2])]
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

    # ── scan ──

    def plan_scan(self, state: dict[str, Any]) -> dict[str, Any]:
        """Cuts the table; adds `units`, the numbers of the segments, and `concurrency`."""
        request = BackfillRequest.parse(state["request"])
        facts = self._ports.source.describe()
        how = estimates.cut(facts, request)
        plan = self._keep_plan(state, facts, how.segments, how.concurrency, how.share)
        return state | {"units": list(range(plan.units)), "concurrency": plan.concurrency}

    def _keep_plan(
        self,
        state: Mapping[str, Any],
        facts: TableFacts,
        units: int,
        concurrency: int,
        share: float,
        windows: Sequence[Window] = (),
        reread: tuple[int, int] | None = None,
    ) -> Plan:
        request = state["request"]
        plan = Plan(
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

    def plan(self, run: str) -> Plan:
        """A run's plan. Raises Misconfigured where there is none."""
        folder = RunFolder.of(self._rules.table, run)
        try:
            return Plan.decode(self._ports.store.get(folder.plan(), _MAX_PLAN_BYTES))
        except ObjectMissing:
            raise Misconfigured(f"there is no backfill {run} of {self._rules.table}", hint="Start one") from None

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
        carrier = Carrier(rules, source, self._ports.store, self._ports.documents, self._ports.clock, seconds_left)
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

    def _unit(self, plan: Plan, folder: RunFolder, facts: TableFacts, unit: int) -> tuple[PageSource, float]:
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
        source = KeysAgain(
            rules.table,
            plan.run,
            facts.key_names,
            again,
            Stretch(*plan.reread),
            ports.source,
            decoder,
            ports.store,
            ports.clock,
            plan.margin_ms,
        )
        return source, plan.share

    def _work(self, folder: RunFolder, stage: str) -> list[Any]:
        units: list[Any] = orjson.loads(self._ports.store.get(folder.work(stage), _MAX_PLAN_BYTES))["units"]
        return units

    # ── exports ──

    def start_exports(self, state: dict[str, Any]) -> dict[str, Any]:
        """Starts the run's exports with client tokens; each is started once, however often this is called."""
        facts = self._ports.source.describe(recovery=True)
        request = BackfillRequest.parse(state["request"])
        windows, reread = self._windows(state)
        for span in windows:
            exports.check_window(span, facts.recovery_from_ms)
        share = estimates.budget(facts, request) / estimates.FILE_READERS
        plan = self._keep_plan(state, facts, 0, estimates.FILE_READERS, share, windows, reread)
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

    def _export_states(self, plan: Plan, facts: TableFacts) -> Iterator[exports.ExportState]:
        folder = RunFolder.of(self._rules.table, plan.run)
        exporter = self._ports.exporter(facts.arn)
        for number in range(max(1, len(plan.windows))):
            document = orjson.loads(self._ports.store.get(folder.work(f"export-{number}"), _MAX_PLAN_BYTES))
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
                wanted = Wanted(exports.INCREMENTAL, facts.arn, plan.table_id, label, window=window)
            else:
                label = self._full_label(plan, facts, told)
                wanted = Wanted(exports.FULL, facts.arn, plan.table_id, label, time_ms=told.export_time_ms)
            if told.manifest_key is None:
                raise LakeboundError("a completed export names no manifest", hint="Start a new backfill")
            files += exports.read_manifest(self._ports.store, told.manifest_key, wanted)
        files = [file for file in files if file.items]
        units = [[file.fields() for file in some] for some in _spread(files, MAX_UNITS)]
        kept = self._keep_work(state["run"], "files", {"units": units, "items": sum(file.items for file in files)})
        return state | {"units": list(range(len(kept["units"]))), "concurrency": plan.concurrency}

    def _full_label(self, plan: Plan, facts: TableFacts, told: exports.ExportState) -> int:
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
        keys = [stored.key for stored in self._told_files(Stretch(*plan.reread))]
        count = max(1, ceil(len(keys) / FILES_PER_REREAD))
        units = _spread(keys, min(MAX_UNITS, count))
        kept = self._keep_work(state["run"], "reread", {"units": units})
        return state | {"units": list(range(first, first + len(kept["units"]))), "concurrency": plan.concurrency}

    def _told_files(self, stretch: Stretch) -> Iterator[StoredObject]:
        rules, ports = self._rules, self._ports
        return files_of(ports.store, rules.prefix, rules.partition, stretch, ports.clock.now_ms())

    def _keep_work(self, run: str, stage: str, document: dict[str, Any]) -> dict[str, Any]:
        key = RunFolder.of(self._rules.table, run).work(stage)
        if self._ports.store.put_if_absent(key, orjson.dumps(document), {}):
            return document
        kept: dict[str, Any] = orjson.loads(self._ports.store.get(key, _MAX_PLAN_BYTES))
        return kept

    # ── the end ──

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
            manifest = Manifest.decode(folder.manifest(), self._ports.store.get(folder.manifest(), _MAX_PLAN_BYTES))
        return result_of(manifest, folder.manifest())

    def _file_units(self, plan: Plan, folder: RunFolder) -> int:
        return 0 if plan.mode == "scan" else len(self._work(folder, "files"))

    def _expected(self, plan: Plan, folder: RunFolder) -> tuple[int | None, int]:
        """(items that the exports hold or None, number of units)."""
        if plan.mode == "scan":
            return None, plan.units
        document = orjson.loads(self._ports.store.get(folder.work("files"), _MAX_PLAN_BYTES))
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

    def _manifest(self, plan: Plan, state: Mapping[str, Any], done: Sequence[Checkpoint]) -> Manifest:
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


def result_of(manifest: Manifest, key: str) -> dict[str, Any]:
    """What the execution says at its end."""
    seconds = (manifest.finished_ms - manifest.started_ms) / 1000
    merge = "merge its files with spark/jobs/merge_changes.py"
    if manifest.heals and not manifest.is_complete:
        following = f"{merge}, then compare with lakebound verify; the gap stays recorded as open until it is closed"
    elif manifest.is_complete:
        following = f"{merge}, then remove ghosts: spark/jobs/sweep.py --run {manifest.run}"
    else:
        following = f"{merge}; no sweep: the run did not read the whole table consistently"
    return {
        "run": manifest.run,
        "mode": manifest.mode,
        "records": manifest.records,
        "quarantined": manifest.quarantined,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "segments": manifest.units,
        "consumed_capacity": manifest.consumed,
        "duration_seconds": round(seconds, 1),
        "manifest": key,
        "next": following,
    }


def _spread(entries: Sequence[Any], units: int) -> list[list[Any]]:
    """The entries in at most so many units, in turn, so that neighbours of like size are spread."""
    count = min(units, len(entries))
    return [list(entries[start::count]) for start in range(count)] if count else []


def _label_ms(label: str) -> int:
    """A stream label's moment: `2026-11-24T03:05:34.123`, UTC."""
    try:
        return int(datetime.fromisoformat(label.removesuffix("Z")).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise Misconfigured(f"the stream's label {label!r} is no time", hint="Tell the maintainers") from None


def rules_of(settings: BackfillSettings, redaction: Redaction | None = None) -> StageRules:
    """The rules that these settings decide."""
    return StageRules(
        table=settings.table,
        prefix=settings.prefix,
        partition=partitioner(settings.partition_template),
        max_records=settings.max_records,
        max_file_bytes=settings.max_file_bytes,
        max_seconds=settings.max_seconds,
        margin_ms=settings.margin_ms,
        file_format=settings.file_format,
        redaction=redaction,
    )
