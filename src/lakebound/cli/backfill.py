"""`lakebound backfill`: what a backfill would take, starting one, watching it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.documents import S3Documents
from lakebound.adapters.dynamodb_scan import BackfillTable
from lakebound.adapters.executions import ExecutionState, Machine
from lakebound.adapters.s3 import S3Store
from lakebound.cli.telling import AsJson, aws_client, tell, tell_json
from lakebound.errors import LakeboundError, ObjectMissing
from lakebound.estimate import Estimate, estimate
from lakebound.layout import RunFolder
from lakebound.progress import Progress as RunProgress
from lakebound.progress import progress_of
from lakebound.requests import BackfillRequest
from lakebound.segments import Checkpoint
from lakebound.stages import Plan

app = typer.Typer(no_args_is_help=True, help="Read what the table holds already into the lake.")

TableOption = Annotated[str, typer.Option("--table", help="The DynamoDB table.", show_default=False)]
MachineOption = Annotated[
    str, typer.Option("--machine", help="ARN of the state machine (output BackfillMachineArn).", show_default=False)
]
BucketOption = Annotated[str, typer.Option("--bucket", help="The stack's bucket.", show_default=False)]

_MAX_PLAN_BYTES = 64 * 1024 * 1024


def _request(mode: str, segments: int, capacity: float, begin: str | None, end: str | None) -> BackfillRequest:
    fields: dict[str, Any] = {"mode": mode, "segments": segments, "read_capacity": capacity}
    fields |= {name: value for name, value in (("from", begin), ("to", end)) if value is not None}
    return BackfillRequest.parse(fields)


@app.command("estimate")
def tell_estimate(
    table: TableOption,
    read_capacity: Annotated[
        float, typer.Option(min=0, help="Read units a second that a scan may consume; 0 chooses.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """What a scan, a full export and an incremental export would take, side by side. Reads nothing."""
    facts = BackfillTable(table, aws_client("dynamodb"), SystemClock()).describe(recovery=True)
    told = estimate(facts, BackfillRequest(read_capacity=read_capacity))
    if as_json:
        tell_json(told.fields())
        return
    Console().print(_estimate_table(told))
    tell(f"Recommended: {told.recommended}, because {told.reason}.")
    tell(f"Sizes are DynamoDB's own, up to six hours old; prices of us-east-1 as of {told.prices_as_of}.")


def _estimate_table(told: Estimate) -> Table:
    made = Table(title=f"Backfill of {told.table}", title_justify="left")
    for name in ("way", "items", "bytes", "read units", "dollars", "minutes", ""):
        made.add_column(name, justify="left" if name in ("way", "") else "right")
    for option in told.options:
        numbers = (f"{option.items:,}", f"{option.bytes:,}", f"{option.read_units:,}", f"{option.dollars:.2f}")
        made.add_row(option.mode, *numbers, f"{option.minutes:,.1f}", option.impossible)
    return made


@app.command()
def start(
    machine: MachineOption,
    mode: Annotated[str, typer.Option(help="scan, export, incremental_export or heal.")] = "scan",
    segments: Annotated[int, typer.Option(min=0, help="Parts of the scan; 0 chooses.")] = 0,
    read_capacity: Annotated[float, typer.Option(min=0, help="Read units a second; 0 chooses.")] = 0,
    begin: Annotated[str | None, typer.Option("--from", help="Start of an incremental export.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Its end, not included.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; made when not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell the input, and start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a backfill beside the running stream. The same as starting the state machine in its console."""
    request = _request(mode, segments, read_capacity, begin, end)
    if dry_run:
        tell_json({"machine": machine, "input": request.fields()})
        return
    run = Machine(machine, aws_client("stepfunctions")).start(request.fields(), name)
    if as_json:
        tell_json({"run": run})
    else:
        tell(f"Started run {run}. Follow it with: lakebound backfill watch --run {run} …")


@app.command("list")
def list_runs(
    machine: MachineOption,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest runs and how they ended."""
    runs = Machine(machine, aws_client("stepfunctions")).latest(count)
    if as_json:
        tell_json({"runs": [{"run": one.run, "status": one.status} for one in runs]})
        return
    for one in runs:
        tell(f"{one.status:<12} {one.run}")


@app.command()
def watch(
    table: TableOption,
    bucket: BucketOption,
    machine: MachineOption,
    run: Annotated[str, typer.Option(help="The run.", show_default=False)],
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Follow a run to its end: segments, items a second, consumed capacity, time left. Exit status 1 when it failed."""
    s3 = aws_client("s3")
    watcher = RunWatcher(RunFolder.of(table, run), S3Store(bucket, s3), S3Documents(bucket, s3))
    executions = Machine(machine, aws_client("stepfunctions"))
    clock = SystemClock()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task("waiting for the stream to cover the run", total=None)
        while True:
            state = executions.state(run)
            seen = watcher.look(clock.now_ms())
            if seen is not None:
                bar.update(task, description=f"{watcher.way}: {seen}", total=max(seen.segments, 1), completed=seen.done)
            if state.ended:
                break
            clock.sleep(every)
    _tell_end(state, seen, as_json=as_json)


def _tell_end(state: ExecutionState, seen: RunProgress | None, *, as_json: bool) -> None:
    if as_json:
        progress = seen.fields() if seen else None
        tell_json({"run": state.run, "status": state.status, "result": state.output, "progress": progress})
    elif seen is not None:
        tell(str(seen))
    if state.status != "SUCCEEDED":
        raise LakeboundError(
            f"run {state.run} is {state.status}: {state.cause or 'no cause given'}",
            hint="Put right what it names, then redrive the execution from the Step Functions console",
        )
    if not as_json and state.output is not None:
        for name, value in state.output.items():
            tell(f"{name:<18} {value}")


class RunWatcher:
    """Reads a run's checkpoints, each again only when it changed."""

    def __init__(self, folder: RunFolder, store: S3Store, documents: S3Documents) -> None:
        self._folder = folder
        self._store = store
        self._documents = documents
        self._known: dict[str, tuple[int, int, Checkpoint]] = {}
        self._plan: Plan | None = None

    @property
    def way(self) -> str:
        """How the run reads, and why where it chose so itself; empty before it is planned."""
        if self._plan is None:
            return ""
        return f"{self._plan.mode} ({self._plan.reason})" if self._plan.reason else self._plan.mode

    def look(self, now_ms: int) -> RunProgress | None:
        """The progress now; None before the run is planned."""
        if self._plan is None:
            try:
                self._plan = Plan.decode(self._store.get(self._folder.plan(), _MAX_PLAN_BYTES))
            except ObjectMissing:
                return None
        for stored in self._store.list(self._folder.segments()):
            known = self._known.get(stored.key)
            if known is not None and known[:2] == (stored.modified_ms, stored.size):
                continue
            loaded = self._documents.load(stored.key)
            if loaded is not None:
                checkpoint = Checkpoint.decode(stored.key, loaded[0])
                self._known[stored.key] = (stored.modified_ms, stored.size, checkpoint)
        checkpoints = [checkpoint for _, _, checkpoint in self._known.values()]
        segments = max(self._plan.units, len(checkpoints))
        return progress_of(checkpoints, segments, self._plan.items, self._plan.planned_ms, now_ms)
