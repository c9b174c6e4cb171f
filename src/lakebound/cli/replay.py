"""`lakebound replay`: merge files again."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.cli.deployed import DryRun, StackName, find_stack, store_of
from lakebound.cli.moment import Moment
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.operate.replay import plan_replay, stage_replay
from lakebound.times import format_time


def command(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Keys or names of batch files.")
    ] = None,
    stack: StackName = "",
    since: Annotated[
        Moment | None,
        typer.Option("--from", parser=Moment.parse, help="Files written from then on: a time, or 2h for so long ago."),
    ] = None,
    to: Annotated[Moment | None, typer.Option(parser=Moment.parse, help="… and before then.")] = None,
    target: Annotated[
        str, typer.Option(help="Silver table (path or name), for the command that is printed.")
    ] = "<target>",
    config: Annotated[str, typer.Option(help="The merge job's YAML, for the command that is printed.")] = "<config>",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put batch files, or those of a stretch of time, into a folder of their own, and tell the job that merges them.

    What was merged already changes nothing. The folder is `_lakebound/<table>/replays/<time>`; remove it afterwards.
    """
    if not files and since is None:
        raise Misconfigured("Nothing is named", hint="Give files, or --from with a time")
    if files and (since is not None or to is not None):
        raise Misconfigured("Files and a stretch of time are named", hint="Give one of the two")
    if since is not None and to is not None and to.ms <= since.ms:
        raise Misconfigured("--to is not after --from, so no file was written between them", hint="Give a later --to")
    found = find_stack(stack)
    store = store_of(found)
    plan = plan_replay(
        store.list(f"{found.prefix}/"),
        found.prefix,
        from_ms=since.ms if since else 0,
        to_ms=to.ms if to else None,
        names=files or (),
    )
    name = format_time(SystemClock().now_ms())
    folder = "" if dry_run or not plan.files else stage_replay(store, plan, found.prefix, found.table, name)
    source = f"s3://{found.bucket}/{folder or f'_lakebound/{found.table}/replays/{name}'}"
    job = ["lakebound-merge-changes", "--source", source, "--checkpoint", f"<new folder {name}>"]
    job += ["--target", target, "--config", config, "--trigger", "available-now"]
    command_line = " ".join(part if part.startswith("<") else shlex.quote(part) for part in job)
    if as_json:
        echo_json(
            {
                "dry_run": dry_run,
                "files": [one.key for one in plan.files],
                "records": plan.records,
                "bytes": plan.size,
                "folder": folder,
                "command": command_line,
            }
        )
        return
    verb = "would put" if dry_run else "put"
    echo(
        f"{verb} {count_text(len(plan.files), 'file')} with {count_text(plan.records, 'record')}, "
        f"{count_text(plan.size, 'byte')}, into {source}"
    )
    if plan.files:
        echo(command_line)
