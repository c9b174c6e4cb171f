"""`lakebound backfill`: what a backfill would take, starting one, watching it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from lakebound.adapters.backfill_table import BackfillTable
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.documents import S3Documents
from lakebound.adapters.executions import ExecutionState, Machine
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.stack import Stack
from lakebound.backfill.estimate import Estimate, estimate
from lakebound.backfill.run_input import BackfillRequest
from lakebound.backfill.run_watcher import RunStatus, RunWatcher
from lakebound.cli.deployed import StackName, find_stack, table_named
from lakebound.cli.moment import Moment
from lakebound.cli.output import AsJson, aws_client, echo, echo_json, echo_table
from lakebound.cli.tables import Column, listing
from lakebound.record.table_identity import Source
from lakebound.times import interval_seconds, iso
from lakebound.transport.object_keys import RunFolder, check_run

app = typer.Typer(no_args_is_help=True, help="Read what the table holds already into the lake.")

TableOption = Annotated[str, typer.Option("--table", help="The DynamoDB table by name or ARN, if not the stack's.")]
MachineOption = Annotated[
    str, typer.Option("--machine", help="ARN of the state machine (output BackfillMachineArn), if not the stack's.")
]
BucketOption = Annotated[str, typer.Option("--bucket", help="The bucket, if not the stack's.")]
Consistent = Annotated[
    bool,
    typer.Option(
        "--consistent/--eventual",
        help="How a scan reads. Eventual pages cost half the read units; no sweep may follow them.",
    ),
]

LINE_EVERY_SECONDS: Final = 60.0
"""How often a line is printed where no terminal shows a bar. A new phase is printed at once."""

DONE_EVERY_SECONDS: Final = 10.0
"""The least time between two lines that report a finished segment."""


@dataclass(slots=True)
class BackfillTarget:
    """Where a backfill runs: what the command names, and the rest from the stack, which is asked only for that."""

    stack: str
    given: dict[str, str]
    _found: Stack | None = field(default=None, init=False)

    def _of(self, option: str, output: str) -> str:
        if value := self.given.get(option):
            return value
        if self._found is None:
            self._found = find_stack(self.stack)
        return self._found.output(output)

    @property
    def source(self) -> Source:
        """The table as it is asked for. Raises Misconfigured."""
        if table := self.given.get("table"):
            return table_named(table)
        self._of("table", "TableName")
        assert self._found is not None
        return self._found.source

    @property
    def bucket(self) -> str:
        return self._of("bucket", "BucketName")

    @property
    def machine(self) -> Machine:
        return Machine(self._of("machine", "BackfillMachineArn"), aws_client("stepfunctions"))

    @property
    def command(self) -> str:
        """The options that name the same place in a command to copy; what nobody has named is a word in capitals."""
        if self._found is not None:
            return " ".join([*self._given(), self._found.command])
        rest = [f"--{name} {name.upper()}" for name in ("table", "bucket", "machine") if not self.given.get(name)]
        return " ".join([*self._given(), *rest])

    def _given(self) -> list[str]:
        return [f"--{name} {value}" for name, value in self.given.items() if value]


def _request(
    mode: str, segments: int, capacity: float, begin: str | None, end: str | None, *, consistent: bool
) -> BackfillRequest:
    fields: dict[str, Any] = {
        "mode": mode,
        "segments": segments,
        "read_capacity": capacity,
        "consistent": consistent,
    }
    for name, value in (("from", begin), ("to", end)):
        if value is not None:
            # The input holds a moment, since an execution may start long after it was written down.
            fields[name] = iso(Moment.parse(value).ms) if interval_seconds(value) else value
    return BackfillRequest.parse(fields)


@app.command("estimate")
def print_estimate(
    stack: StackName = "",
    table: TableOption = "",
    read_capacity: Annotated[
        float, typer.Option(min=0, help="Read units a second that a scan may consume; 0 chooses.")
    ] = 0,
    consistent: Consistent = True,
    as_json: AsJson = False,
) -> None:
    """What a scan, a full export and an incremental export would take, side by side. Reads nothing."""
    place = BackfillTarget(stack, {"table": table})
    facts = BackfillTable(place.source, aws_client("dynamodb"), SystemClock()).describe(recovery=True)
    result = estimate(facts, BackfillRequest(read_capacity=read_capacity, consistent=consistent))
    if as_json:
        echo_json(asdict(result))
        return
    echo(f"Backfill of {result.table}: what each way would take")
    echo_table(*_estimate_table(result))
    for option in result.options:
        if option.impossible:
            echo(f"{option.mode} {option.impossible}.")
    echo(f"Recommended: {result.recommended}, because {result.reason}.")
    echo(f"Sizes are DynamoDB's own, up to six hours old; prices of us-east-1 as of {result.prices_as_of}.")


def _estimate_table(result: Estimate) -> tuple[list[Column], list[list[str]]]:
    columns = [Column("way")]
    columns += [Column(name, is_number=True) for name in ("items", "bytes", "read units", "dollars", "minutes")]
    rows = []
    for option in result.options:
        numbers = [f"{option.items:,}", f"{option.bytes:,}", f"{option.read_units:,}"]
        rows.append([option.mode, *numbers, _at_least(option.dollars, 2), _at_least(option.minutes, 1)])
    return columns, rows


def _at_least(number: float, digits: int) -> str:
    """The rounded number; less than the last digit where rounding gives 0, since that is not free."""
    return f"{number:,.{digits}f}" if number else f"< {10**-digits:.{digits}f}"


@app.command()
def start(
    stack: StackName = "",
    machine: MachineOption = "",
    mode: Annotated[str, typer.Option(help="scan, export, incremental_export or heal.")] = "scan",
    segments: Annotated[int, typer.Option(min=0, help="Parts of the scan; 0 chooses.")] = 0,
    read_capacity: Annotated[float, typer.Option(min=0, help="Read units a second; 0 chooses.")] = 0,
    consistent: Consistent = True,
    begin: Annotated[
        str | None, typer.Option("--from", help="Start of an incremental export: a time, or 2h for so long ago.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Its end, not included, likewise.")] = None,
    name: Annotated[str | None, typer.Option(help="The run's name; made when not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the input, and start nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a backfill beside the running stream. The same as starting the state machine in its console."""
    request = _request(mode, segments, read_capacity, begin, end, consistent=consistent)
    if name is not None:
        check_run(name)
    place = BackfillTarget(stack, {"machine": machine})
    states = place.machine
    if dry_run:
        echo_json({"machine": states.arn, "input": request.fields()})
        return
    run = states.start(request.fields(), name)
    if as_json:
        echo_json({"run": run})
    else:
        echo(f"Started run {run}. Follow it with: lakebound backfill watch --run {run} {place.command}")


@app.command("list")
def list_runs(
    stack: StackName = "",
    machine: MachineOption = "",
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest runs: when each began, how it reads, how it stands, what it wrote and how long it took."""
    runs = BackfillTarget(stack, {"machine": machine}).machine.latest(count)
    now = SystemClock().now_ms()
    if as_json:
        echo_json({"runs": [_row(one, now) for one in runs]})
        return
    if not runs:
        echo("no run yet: lakebound backfill start")
        return
    heads = [Column(head) for head in ("STARTED", "RUN", "MODE", "STATE")]
    heads += [Column(head, is_number=True) for head in ("RECORDS", "DURATION")]
    rows = []
    for row in (_row(one, now) for one in runs):
        records = "–" if row["records"] is None else f"{row['records']:,}"
        duration = "–" if row["seconds"] is None else elapsed(row["seconds"])
        rows.append((row["started"] or "–", row["run"], row["mode"] or "–", row["status"], records, duration))
    for line in listing(heads, rows):
        echo(line)


def _row(one: ExecutionState, now_ms: int) -> dict[str, Any]:
    seconds = one.seconds(now_ms)
    return {
        "run": one.run,
        "status": one.status,
        "mode": one.mode,
        "started": None if one.started_ms is None else iso(one.started_ms),
        "records": one.records,
        "seconds": None if seconds is None else round(seconds, 1),
    }


def elapsed(seconds: float) -> str:
    """`3 h 05 min`, `4 min 09 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"


@app.command()
def watch(
    run: Annotated[str, typer.Option(help="The run.", show_default=False)],
    stack: StackName = "",
    table: TableOption = "",
    bucket: BucketOption = "",
    machine: MachineOption = "",
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two readings.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Follow a run to its end: segments, items a second, consumed capacity, time left. Exit status 1 when it failed."""
    place = BackfillTarget(stack, {"table": table, "bucket": bucket, "machine": machine})
    executions, s3 = place.machine, aws_client("s3")
    folder = RunFolder.of(place.source.table, run)
    watcher = RunWatcher(folder, S3Store(place.bucket, s3), S3Documents(place.bucket, s3))
    clock = SystemClock()
    console = Console(stderr=True, highlight=False)
    lines = None if as_json or console.is_terminal else _ProgressLines(console)
    columns = (BarColumn(16), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or lines is not None) as bar:
        task = bar.add_task("", total=None)
        while True:
            state = executions.state(run)
            status = watcher.status(clock.now_ms(), "" if watcher.is_reading else executions.stage(run))
            share = status.progress and status.progress.share
            bar.update(task, description=status.brief, total=None if share is None else 1.0, completed=share or 0.0)
            if state.ended:
                break
            if lines is not None:
                lines.show(status, state.seconds(clock.now_ms()))
            clock.sleep(every)
    _print_end(state, status, executions.stage(run) if state.status == "FAILED" else "", as_json=as_json)


class _ProgressLines:
    """Prints the progress of a run where no terminal shows a bar: in a log, or to a program."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = ""
        self._done = 0
        self._at = 0.0

    def show(self, status: RunStatus, seconds: float | None) -> None:
        now, done = time.monotonic(), status.progress.done if status.progress else 0
        waited = now - self._at
        is_new = status.phase != self._phase or (done != self._done and waited >= DONE_EVERY_SECONDS)
        if is_new or waited >= LINE_EVERY_SECONDS:
            self._phase, self._done, self._at = status.phase, done, now
            since = "" if seconds is None else f" ({elapsed(seconds)} since its start)"
            self._console.print(f"{status}{since}", markup=False, soft_wrap=True)


def _print_end(state: ExecutionState, status: RunStatus, stage: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "run": state.run,
                "status": state.status,
                "cause": state.cause or None,
                "result": state.output,
                "progress": asdict(status.progress) if status.progress else None,
            }
        )
    elif status.progress is not None:
        echo(str(status.progress))
    if state.status != "SUCCEEDED":
        raise state.failure(stage)
    if not as_json and state.output is not None:
        for name, value in state.output.items():
            echo(f"{name:<18} {value}")
