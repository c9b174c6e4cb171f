"""`lakebound deploy`: refuses what would deploy something else than was asked for, builds, deploys, then keeps the
settings. `make deploy` of a clone is this verb."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from lakebound.adapters import samconfig, stack_files
from lakebound.adapters.aws_calls import Unanswered
from lakebound.adapters.clients import client, region
from lakebound.adapters.sam_cli import SamCli
from lakebound.adapters.stack import stack_status
from lakebound.cli.deployed import DryRun
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.errors import Misconfigured
from lakebound.operate.deploy_plan import SAMCONFIG, Asked, Plan, plan, refuse_stuck
from lakebound.operate.sam_parameters import given, named, refused

_FOLDER: Final = Path(".lakebound") / "stack"


def command(
    stack: Annotated[str, typer.Option(help="Name of the stack; without it, the one that samconfig.toml keeps.")] = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="Name=value of the template, as often as needed; kept for next time."),
    ] = None,
    parameters: Annotated[
        str,
        typer.Option(help="The same in one text, as make deploy takes it: 'TableName=cars DropAttributes=\"a b\"'."),
    ] = "",
    runtime: Annotated[str, typer.Option(help="The Lambda runtime; python3.13 when none was kept.")] = "",
    architecture: Annotated[str, typer.Option(help="arm64 or x86_64; arm64 when none was kept.")] = "",
    source: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A clone to deploy from; without it, what the installed package carries.",
        ),
    ] = None,
    sam: Annotated[str, typer.Option(help="The program SAM CLI, if it is not sam on the path.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, for CI.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Build the stack and deploy it to the AWS account of your credentials, once with parameters, then as it was.

    SAM CLI does both, and shows the change set before it is carried out. samconfig.toml of this folder gets the stack's
    name and its parameters when the deployment has succeeded, so that the next one needs none. Exit status: 2 where
    nothing was begun, else SAM's own.
    """
    kept = Path.cwd() / SAMCONFIG
    if source and not (source / stack_files.TEMPLATE).is_file():
        raise refused(f"{source} is no clone: there is no {stack_files.TEMPLATE} in it", "Give its root")
    root = source.resolve() if source else stack_files.clone() or Path.cwd() / _FOLDER
    parts = stack_files.parameters_of(root / stack_files.TEMPLATE) if source else stack_files.template_parameters()
    asked = Asked(
        stack.strip(),
        given(parameters) | named(parameter or []),
        runtime.strip(),
        architecture.strip(),
        yes,
        "PARAMETERS" if parameters else "-p",
    )
    settings = _kept_settings(kept)
    todo = plan(asked, settings.deploy, parts, terminal=dry_run or sys.stdin.isatty())
    program = SamCli(root, sam)
    if dry_run or as_json:
        _tell(todo, root, program, as_json=as_json)
    if not dry_run:
        _look_first(todo, settings, program)
        raise typer.Exit(
            _deploy(todo, root, kept, program, todo.layer(parts), str(settings.deploy.get("stack_name", "")))
        )


def _kept_settings(kept: Path) -> samconfig.Kept:
    if not kept.exists():
        # SAM gets the file that comes with the template, which lets it ask. Nobody there to answer: minutes of building
        # would end with its "Aborted!".
        return samconfig.Kept({"confirm_changeset": True})
    try:
        return samconfig.read(kept)
    except Misconfigured as broken:
        raise refused(broken.what, broken.hint) from None


def _look_first(todo: Plan, settings: samconfig.Kept, program: SamCli) -> None:
    """Raises Misconfigured for what would only come out after the build: no login, or a stack that cannot be changed.

    SAM asks for what is not said (a stack's name, a region), and a profile that samconfig.toml names is SAM's alone.
    """
    profile, place = settings.account
    place = place or region() or ""
    if profile or not place or not todo.stack:
        return
    try:
        status = stack_status(client("cloudformation", region_name=place), todo.stack)
    except Unanswered:
        return  # a call that may go through for SAM in a minute
    refuse_stuck(todo.stack, status, program.program)


def _tell(todo: Plan, root: Path, program: SamCli, *, as_json: bool) -> None:
    commands = [[program.program, "build"], [program.program, "deploy", *todo.arguments]]
    if as_json:
        echo_json({"stack": todo.stack, "parameters": todo.parameters, "folder": str(root), "commands": commands})
        return
    echo(f"in {root}:")
    for one in commands:
        echo(f"  {shlex.join(one)}")


def _deploy(todo: Plan, root: Path, kept: Path, program: SamCli, layer: dict[str, str], before: str) -> int:
    """SAM's exit status. Where it fails, samconfig.toml stays as it was."""
    carried = root.is_relative_to(kept.parent / _FOLDER)
    if carried:
        stack_files.lay_out(root)
    used = root / SAMCONFIG
    if kept != used and kept.exists():
        shutil.copyfile(kept, used)
    text = used.read_bytes() if used.exists() else None
    status = program.build(layer)
    if status == 0 and not program.has_bytecode:
        runtime = layer["LAKEBOUND_RUNTIME"]
        print(
            f"lakebound deploy: there is no {runtime} on the path to compile the layer with, so cold starts take two"
            " to three times the processor time. With one (uv python install"
            f" {runtime.removeprefix('python')}) deploy again.",
            file=sys.stderr,
        )
    if status == 0:
        status = program.deploy(todo.arguments, layer)
    if status != 0:
        # Asked by SAM a person may have let it keep the answers, before it knew what they lead to.
        if text is not None and used.read_bytes() != text:
            used.write_bytes(text)
        print(f"lakebound deploy: SAM ended with status {status}; {SAMCONFIG} is as it was.", file=sys.stderr)
        if todo.stack and before != todo.stack:
            # CloudFormation takes no second try for a stack whose creation it rolled back.
            told = f"{program.program} delete --stack-name {shlex.quote(todo.stack)}"
            print(
                f"Was this its first deployment, and is it ROLLBACK_COMPLETE now? Then, before again: {told}",
                file=sys.stderr,
            )
        return status
    if kept != used and used.exists():
        shutil.copyfile(used, kept)
    if todo.stack:
        samconfig.keep(kept, todo.stack, todo.parameters)
    return 0
