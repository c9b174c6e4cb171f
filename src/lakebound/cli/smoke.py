"""`lakebound smoke`: what only a real account can show, tried in order on a deployed stack."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.doctor_facts import LandedInFiles, SmokeItem
from lakebound.adapters.smoke import ExportRuns, StreamDeliveries, alarm_actions, encryption_keys
from lakebound.adapters.stack import Stack
from lakebound.cli import deployed
from lakebound.cli.deployed import DryRun, StackName, find_stack, ingest_pipeline
from lakebound.cli.output import AsJson, echo, echo_json, echo_table
from lakebound.cli.tables import Column
from lakebound.errors import Misconfigured
from lakebound.operate import smoke as steps_of
from lakebound.operate.doctor import smoke_keys
from lakebound.operate.redrive import IngestPipeline
from lakebound.operate.smoke import FAILED, Outcome, Step, perform
from lakebound.transport.object_keys import DataKey

NAMES = ("item", "failure destination", "stopped export", "alarms", "customer key")


class ShieldedExitStack(ExitStack):
    """Undoes in peace: a second Ctrl-C must not leave a function behind that is set to fail."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return bool(super().__exit__(kind, value, trace))
        finally:
            signal.signal(signal.SIGINT, before)


def command(
    stack: StackName = "",
    table: Annotated[str, typer.Option(help="Refuse, unless the stack is this table's.")] = "",
    only: Annotated[list[str] | None, typer.Option(help=f"One step alone, repeatable: {', '.join(NAMES)}.")] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds to wait for an item or a delivery.")] = 600.0,
    export_limit: Annotated[float, typer.Option(min=1, help="Seconds to wait for the export.")] = 3600.0,
    is_mend: Annotated[
        bool, typer.Option("--mend", help="Only put back what a smoke test that was killed left behind.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try on a deployed stack what no emulator shows. Deploys nothing, and puts back what it changes.

    For a stack that nobody depends on yet: for a minute its deliveries fail on purpose. Exit status 1 when a step
    failed.
    """
    if unknown := sorted(set(only or ()) - set(NAMES)):
        raise Misconfigured(f"There is no step {', '.join(unknown)}", hint=f"The steps are: {', '.join(NAMES)}")
    found = find_stack(stack)
    if table and table != found.table:
        raise Misconfigured(f"The stack {found.name} is of table {found.table}, not of {table}", hint="Check --stack")
    if is_mend and not dry_run:
        _mend(found, as_json)
        return
    steps = [one for one in steps_for(found, limit, export_limit) if not only or one.name in only]
    if dry_run:
        _print_plan(found, steps, as_json)
        return
    outcomes = []
    for outcome in perform(steps, SystemClock(), ShieldedExitStack):
        outcomes.append(outcome)
        if not as_json:
            echo(f"{outcome.state:<8}{outcome.name:<21}{outcome.seconds:>7.1f} s  {outcome.told}")
    if as_json:
        echo_json({"stack": found.name, "steps": [asdict(one) for one in outcomes]})
    else:
        _print_next(outcomes)
    if any(one.state == FAILED for one in outcomes):
        raise typer.Exit(1)


def _mend(stack: Stack, as_json: bool) -> None:
    mended = StreamDeliveries(stack, deployed.clients, SystemClock(), lambda: ingest_pipeline(stack)).mend()
    if as_json:
        echo_json({"stack": stack.name, "mended": mended})
    else:
        echo(f"{stack.output('StreamIngestName')} works again" if mended else "there was nothing to put back")
        echo(f"lakebound dlq redrive --from stream {stack.command}")


def steps_for(stack: Stack, limit: float, export_limit: float) -> list[Step]:
    """The steps for a stack, in order. Nothing is asked or changed before they act."""
    clock = SystemClock()
    token = secrets.token_hex(8)
    seen: list[str] = []

    def files(pipeline: IngestPipeline) -> LandedInFiles:
        started = clock.now_ms()

        def partitions() -> list[str]:
            hours = (started, clock.now_ms())
            return sorted({pipeline.rules.partition(ms, removed) for ms in hours for removed in (False, True)})

        return LandedInFiles(pipeline.store, stack.prefix, started, partitions)

    def item(undo: ExitStack) -> str:
        one, pipeline = SmokeItem(stack.source, deployed.clients("dynamodb")), ingest_pipeline(stack)
        return steps_of.item(one, smoke_keys(one.schema(), token), files(pipeline), clock, limit)

    def delivery(undo: ExitStack) -> str:
        one = SmokeItem(stack.source, deployed.clients("dynamodb"))
        keys = smoke_keys(one.schema(), secrets.token_hex(8))
        deliveries = StreamDeliveries(stack, deployed.clients, clock, lambda: ingest_pipeline(stack))
        deliveries.mend()
        pipeline = ingest_pipeline(stack)
        return steps_of.failed_delivery(one, keys, deliveries, files(pipeline), clock, limit, undo)

    def export(undo: ExitStack) -> str:
        runs = ExportRuns(stack, deployed.clients("stepfunctions"), deployed.store_of(stack))
        return steps_of.stopped_export(runs, f"smoke-{token}", clock, export_limit, undo)

    def alarms(undo: ExitStack) -> str:
        return steps_of.alarms(*alarm_actions(deployed.clients, stack))

    def key(undo: ExitStack) -> str:
        arn = stack.parameters.get("KmsKeyArn", "")
        if arn:
            seen[:] = [_newest(stack, ingest_pipeline(stack), clock)]
        return steps_of.customer_key(arn, encryption_keys(deployed.clients, stack, seen[0] or None) if arn else {})

    acts = (item, delivery, export, alarms, key)
    return [Step(name, does, act, after) for name, act, (does, after) in zip(NAMES, acts, _SAID, strict=True)]


_SAID = (
    (
        "puts, changes and removes one item, and waits until its three records are in files",
        "lakebound status; then docs/OPERATIONS.md#stream-behind",
    ),
    (
        "lets stream_ingest fail and its mapping retry nothing, writes one item, puts both back, redrives what Lambda "
        "gave up on",
        "lakebound doctor; lakebound dlq redrive --from stream; docs/OPERATIONS.md#failure-objects. Nothing under "
        "aws/lambda/: the role's right to write there, the bucket's policy",
    ),
    (
        "starts an export backfill of the whole table ($0.10 a GB), stops it, redrives it, waits for its end",
        "lakebound backfill list; docs/OPERATIONS.md#backfill-failed. Point-in-time recovery must be on",
    ),
    (
        "looks for each alarm of the stack by its name",
        "make deploy with AlarmTopicArn; a missing alarm was deleted by hand: docs/GO-LIVE.md",
    ),
    (
        "reads the key of queues, newest file and logs; only with KmsKeyArn",
        "docs/OPERATIONS.md#key-disabled; an existing bucket has its owner's encryption",
    ),
)


def _newest(stack: Stack, pipeline: IngestPipeline, clock: SystemClock) -> str:
    """The newest file of this hour and the one before; empty where there is none."""
    now = clock.now_ms()
    folders = {pipeline.rules.partition(ms, removed) for ms in (now, now - 3_600_000) for removed in (False, True)}
    found = [one for folder in sorted(folders) for one in pipeline.store.list(f"{stack.prefix}/{folder}/")]
    data = [one for one in found if DataKey.parse(stack.prefix, one.key) is not None]
    return max(data, key=lambda one: one.modified_ms).key if data else ""


def _print_plan(stack: Stack, steps: Sequence[Step], as_json: bool) -> None:
    if as_json:
        echo_json({"stack": stack.name, "steps": [{"name": one.name, "does": one.does} for one in steps]})
        return
    echo(f"Would try on stack {stack.name}, table {stack.table}:")
    for number, one in enumerate(steps, 1):
        echo(f"  {number}. {one.name}: {one.does}")


def _print_next(outcomes: Sequence[Outcome]) -> None:
    columns = (Column("step"), Column("state"), Column("seconds", is_number=True), Column("next"))
    echo_table(columns, [(one.name, one.state, f"{one.seconds:.1f}", one.next) for one in outcomes])
