"""The command `lakebound` and what all its verbs share: exit status, and how an error is told.

Exit status: 0 ok, 1 found a problem, 2 usage, 130 stopped by Ctrl-C.
An error is one sentence on stderr, never a traceback, with what to
do next; results go to stdout, for a person or, with `--json`, for a program.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from lakebound.cli import backfill, close, config, cost, dlq, doctor, files, init, replay, report, status, trace, verify
from lakebound.errors import LakeboundError, Misconfigured

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2

INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as a shell tells it."""


class _Interrupted(BaseException):
    """Ctrl-C, past Click: which would end without a word."""


class _Verbs(TyperGroup):
    """All verbs; Ctrl-C in any of them, and what breaks because of it, is one thing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            pass
        except Exception as broken:
            if not _was_interrupted(broken):
                raise
        raise _Interrupted from None


def _was_interrupted(broken: BaseException) -> bool:
    """Whether Ctrl-C stands behind an error: Spark's own link breaks when its Java is stopped first."""
    seen: BaseException | None = broken
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__context__ or seen.__cause__
    return False


app = typer.Typer(
    cls=_Verbs,
    name="lakebound",
    help="Keeps a lakehouse table equal to a DynamoDB table. Endpoint, region and credentials come from the "
    "environment, as for the AWS CLI (AWS_ENDPOINT_URL for a local stack).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
    # What a library logs for its own people (a broken link to Spark, a retry) is no part of what a verb tells.
    logging.disable(logging.CRITICAL)
    try:
        app()
    except (_Interrupted, KeyboardInterrupt):
        print("lakebound: Stopped by Ctrl-C. Run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except LakeboundError as error:
        print(f"lakebound: {error}", file=sys.stderr)
        sys.exit(USAGE if isinstance(error, Misconfigured) else PROBLEM)
    except OSError as error:
        print(f"lakebound: {_of_system(error)}", file=sys.stderr)
        sys.exit(USAGE)


def _of_system(error: OSError) -> str:
    """A file that cannot be read or written, as a sentence."""
    place = f"{error.filename}: " if error.filename else ""
    why = error.strerror or type(error).__name__
    return f"{place}{why}. Check that the folder exists, may be written and has room"
