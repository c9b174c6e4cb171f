"""The command `lakebound` and what all its verbs share: exit status, and how an error is told.

Exit status: 0 ok, 1 found a problem, 2 usage. An error is one sentence on stderr, never a traceback, with what to
do next; results go to stdout, for a person or, with `--json`, for a program.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from lakebound.cli import backfill, close, config, cost, dlq, doctor, files, init, replay, report, status, trace, verify
from lakebound.errors import LakeboundError, Misconfigured

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2

app = typer.Typer(
    name="lakebound",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(f"lakebound {version('lakebound')}")
        raise typer.Exit


@app.callback()
def top(
    asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version, and end.")
    ] = False,
) -> None:
    """Keeps a lakehouse table equal to a DynamoDB table. Endpoint, region and credentials come from the environment, as
    for the AWS CLI (AWS_ENDPOINT_URL for a local stack).
    """


app.command("init")(init.command)
app.command("doctor")(doctor.command)
app.command("status")(status.command)
app.command("verify")(verify.command)
app.command("trace")(trace.command)
app.command("replay")(replay.command)
app.command("cost")(cost.command)
app.command("report")(report.command)
app.add_typer(files.app, name="files")
backfill.app.command("close")(close.command)
app.add_typer(backfill.app, name="backfill")
app.add_typer(dlq.app, name="dlq")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the command of this process's arguments, then exit."""
    try:
        app()
    except LakeboundError as error:
        print(f"lakebound: {error}", file=sys.stderr)
        sys.exit(USAGE if isinstance(error, Misconfigured) else PROBLEM)
