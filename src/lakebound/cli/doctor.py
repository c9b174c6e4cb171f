"""`lakebound doctor`: whether everything is as it must be, before and after a deployment."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.doctor_facts import SmokeItem, VersionCounter, examine_stack, examine_table
from lakebound.adapters.probes import Clients
from lakebound.adapters.samconfig import configured_table
from lakebound.adapters.stack import Stack
from lakebound.cli import deployed, silver_table
from lakebound.cli.deployed import SAMCONFIG, StackName, find_stack, followed_table, ingest_pipeline
from lakebound.cli.fleet import OfAll, echo_lines, end, leave, read_all, refuse_beside_all
from lakebound.cli.given_options import refuse_without
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.cli.silver_table import Engine, EngineName
from lakebound.errors import Misconfigured
from lakebound.operate.doctor import BAD, GOOD, UNKNOWN, Check, Smoke, check_stack, check_table, smoke, smoke_keys
from lakebound.operate.fleet import FleetLine, checks_line, worst_first
from lakebound.record.table_identity import Refused, TableArn

_MARKS = {"good": "✓", "warn": "!", "unknown": "?", "bad": "✗"}


def command(
    context: typer.Context,
    stack: StackName = "",
    of_all: OfAll = False,
    is_before: Annotated[
        bool, typer.Option("--before", help="Look at a table before its first deployment; needs --table.")
    ] = False,
    table: Annotated[str, typer.Option(help="With --before: the table, by name or ARN.")] = "",
    stream: Annotated[
        str, typer.Option(help="With --before: the TableStreamArn to deploy with, if samconfig.toml does not have it.")
    ] = "",
    is_new: Annotated[
        bool, typer.Option("--new-table", help="With --before: the stack will create the table, so none may exist.")
    ] = False,
    key: Annotated[str, typer.Option(help="With --before: ARN of the KMS key that the stack will use.")] = "",
    is_smoke: Annotated[
        bool, typer.Option("--smoke", help="Put, change and remove one test item, and time its way to a file.")
    ] = False,
    target: Annotated[
        str, typer.Option(help="With --smoke: the silver table (path or name), to time the way to it as well.")
    ] = "",
    engine: EngineName = None,
    limit: Annotated[float, typer.Option(min=1, help="With --smoke: seconds to wait for the item.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Check everything that the pipeline needs, and print the fix for what is wrong.

    ✓ is good. ! works, but needs attention. ? could not be checked. ✗ is wrong. Exit status 1 when something is wrong,
    or could not be checked although the pipeline needs it; with --all, when that is so of any stack.
    """
    if of_all:
        refuse_beside_all(
            context, "is_before", "table", "stream", "is_new", "key", "is_smoke", "target", "engine", "limit"
        )
        _of_all(as_json=as_json)
        return
    if not is_before:
        refuse_without(context, "--before", "table", "stream", "is_new", "key")
    if is_before and is_smoke:
        raise Misconfigured("--smoke needs a deployed stack", hint="Leave --before out")
    if not is_smoke:
        refuse_without(context, "--smoke", "target", "engine", "limit")
    timed: Smoke | None = None
    if is_before:
        checks = _before(table, stream, stack, key, is_new=is_new)
    else:
        found = find_stack(stack)
        checks = list(check_stack(examine_stack(deployed.clients, found, look_for_tag=True)))
        if is_smoke:
            timed = _smoke(found, limit, target, engine)
            checks.append(_smoke_check(timed, limit, target))
    if as_json:
        echo_json({"checks": [asdict(one) for one in checks], "smoke": asdict(timed) if timed else None})
    else:
        for check in checks:
            echo(f"{_MARKS[check.level]} {check.name:<20} {check.told}")
            if check.fix:
                echo(f"  {'':<20} → {check.fix}")
    if any(check.level in (BAD, UNKNOWN) for check in checks):
        raise typer.Exit(1)


def _of_all(*, as_json: bool) -> None:
    def read(stack: Stack, clients: Clients) -> list[Check]:
        return list(check_stack(examine_stack(clients, stack)))

    readings = read_all(read)
    lines = worst_first(map(checks_line, readings))
    if as_json:
        told = {one.stack: one.found for one in readings}
        echo_json({"stacks": [_stack_document(line, told[line.stack]) for line in lines]})
        leave(lines)
        return
    marks = [replace(line, state=_MARKS.get(line.state, _MARKS[UNKNOWN])) for line in lines]
    echo_lines(marks, state="")
    end(lines, "have nothing wrong")


def _stack_document(line: FleetLine, checks: Sequence[Check] | None) -> dict[str, object]:
    return {
        "stack": line.stack,
        "table": line.table,
        "level": UNKNOWN if checks is None else line.state,
        "checks": [asdict(one) for one in checks or ()],
        "refused": line.told if checks is None else "",
    }


def _before(table: str, stream: str, stack: str, key: str, *, is_new: bool) -> list[Check]:
    configured, configured_stream = configured_table(SAMCONFIG)
    name = table or (find_stack(stack).source.asked if stack else configured)
    if not name:
        raise Misconfigured("No table is named", hint="Give --table")
    arn = TableArn.parse(name)
    bare = arn.table if arn else name
    # samconfig.toml may deploy another table: its stream says nothing about this one.
    given = stream or (configured_stream if configured == bare else "")
    source = followed_table(name, given)
    if isinstance(source, Refused):
        return [Check("source", BAD, source.what, source.hint)]
    try:
        return list(check_table(examine_table(deployed.clients, source, key), is_new=is_new))
    except Misconfigured as refused:
        if not source.is_foreign:
            raise
        # DynamoDB answers so for a table without a policy, too: it tells nobody else whether the table exists.
        fix = f"let its owner put the policies that lakebound init --table {source.asked} prints"
        return [Check("table", BAD, refused.what, fix)]


def _smoke(stack: Stack, limit: float, target: str, engine: Engine | None) -> Smoke:
    clock = SystemClock()
    pipeline = ingest_pipeline(stack)
    item = SmokeItem(stack.source, deployed.clients("dynamodb"))
    files = VersionCounter(pipeline.store, stack.prefix, pipeline.rules.partition, clock)
    keys = smoke_keys(item.schema(), secrets.token_hex(8))
    if not target:
        return smoke(item, keys, files, clock, limit_s=limit)
    with silver_table.open_silver(target, engine) as silver:

        def tombstones(key: str) -> int:
            return sum(row.item is None for row in silver.read([key]))

        return smoke(item, keys, files, clock, count_in_silver=tombstones, limit_s=limit)


def _smoke_check(timed: Smoke, limit: float, target: str) -> Check:
    if timed.to_file is None:
        fix = "lakebound status; then docs/OPERATIONS.md#stream-behind"
        return Check("smoke", BAD, f"the test item's changes were in no file after {limit:g} s", fix)
    times = f"{timed.to_file:.1f} s from the item's first change to the file with its last"
    if target and timed.to_silver is None:
        return Check("smoke", BAD, f"{times}, not in silver after {limit:g} s", "does the merge job run?")
    if timed.to_silver is not None:
        times += f", {timed.to_silver:.1f} s to silver"
    return Check("smoke", GOOD, times)
