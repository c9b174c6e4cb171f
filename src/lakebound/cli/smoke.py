"""`lakebound smoke`: tries on a deployed stack what only a real account can show."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.smoke import STEPS, StreamDeliveries, smoke_steps
from lakebound.adapters.stack import Stack
from lakebound.cli import deployed
from lakebound.cli.deployed import DryRun, StackName, find_stack, ingest_pipeline
from lakebound.cli.output import AsJson, echo, echo_json, echo_table
from lakebound.cli.tables import Column
from lakebound.errors import Misconfigured
from lakebound.operate.smoke import FAILED, Step, perform


class ShieldedExitStack(ExitStack):
    """Ignores Ctrl-C while it undoes: a second one must not leave a function behind that is set to fail."""

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
    table: Annotated[str, typer.Option(help="Refuse to run unless the stack is this table's.")] = "",
    only: Annotated[
        list[str] | None, typer.Option(help=f"Run only this step. Repeat it for more: {', '.join(STEPS)}.")
    ] = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds to wait for an item or a delivery.")] = 600.0,
    export_limit: Annotated[float, typer.Option(min=1, help="Seconds to wait for the export.")] = 3600.0,
    is_mend: Annotated[
        bool, typer.Option("--mend", help="Only restore what a killed smoke test left changed.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try on a deployed stack what no emulator can show. Deploys nothing, and restores what it changes.

    Use it on a stack that nobody depends on yet: its deliveries fail on purpose for a minute. Exit status 1 when a
    step fails.
    """
    if unknown := sorted(set(only or ()) - set(STEPS)):
        raise Misconfigured(f"There is no step {', '.join(unknown)}", hint=f"The steps are: {', '.join(STEPS)}")
    found = find_stack(stack)
    if table and table != found.table:
        raise Misconfigured(f"The stack {found.name} is of table {found.table}, not of {table}", hint="Check --stack")
    if is_mend and not dry_run:
        _mend(found, as_json)
        return
    pipeline = partial(ingest_pipeline, found)
    steps = [
        one
        for one in smoke_steps(found, deployed.clients, pipeline, SystemClock(), limit, export_limit)
        if not only or one.name in only
    ]
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
        columns = (Column("step"), Column("state"), Column("seconds", is_number=True), Column("next"))
        echo_table(columns, [(one.name, one.state, f"{one.seconds:.1f}", one.next) for one in outcomes])
    if any(one.state == FAILED for one in outcomes):
        raise typer.Exit(1)


def _mend(stack: Stack, as_json: bool) -> None:
    mended = StreamDeliveries(stack, deployed.clients, SystemClock(), partial(ingest_pipeline, stack)).mend()
    if as_json:
        echo_json({"stack": stack.name, "mended": mended})
    else:
        echo(f"{stack.output('StreamIngestName')} works again" if mended else "there was nothing to put back")
        echo(f"lakebound dlq redrive --from stream {stack.command}")


def _print_plan(stack: Stack, steps: Sequence[Step], as_json: bool) -> None:
    if as_json:
        echo_json({"stack": stack.name, "steps": [{"name": one.name, "does": one.does} for one in steps]})
        return
    echo(f"Would try on stack {stack.name}, table {stack.table}:")
    for number, one in enumerate(steps, 1):
        echo(f"  {number}. {one.name}: {one.does}")
