"""The command `lakebound` and what all its verbs share: exit status, and how an error is told.

Exit status: 0 ok, 1 found a problem, 2 usage, 130 stopped by Ctrl-C (entry.py). An error is one sentence on stderr,
never a traceback, with what to do next; results go to stdout, for a person or, with `--json`, for a program.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Annotated, Final

import typer

from lakebound.cli.extras import missing_package
from lakebound.cli.verbs import VerbGroup
from lakebound.errors import LakeboundError

OK: Final = 0
PROBLEM: Final = 1
USAGE: Final = 2

app = typer.Typer(
    name="lakebound",
    cls=VerbGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

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


def run() -> int:
    """Run the command of this process's arguments; its exit status.

    Typer's own statuses come through: 2 for a usage error, 130 for Ctrl-C.
    """
    try:
        try:
            app()
        finally:
            # What is still in the buffer meets a full disk here, where it is told, and not at the interpreter's end.
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has.
        _drop_output()
        return PROBLEM
    except LakeboundError as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from None
        print(f"lakebound: {error}", file=sys.stderr)
        # `files check` ends with 1 for a damaged file: a login that has expired must not look like one.
        return USAGE if error.is_misconfigured else PROBLEM
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else OK if ended.code is None else PROBLEM
    except ModuleNotFoundError as absent:
        missing = missing_package(absent.name or "")
        if missing is None:
            raise
        print(f"lakebound: {missing}", file=sys.stderr)
        return USAGE
    except _aws_failures() as failure:
        from lakebound.adapters.aws_calls import cause_of, code_of

        # A call that no adapter has translated: the cause is told all the same, and nothing of what was asked.
        cause = cause_of(failure) or LakeboundError(
            f"AWS answered {code_of(failure)}", hint="Repeat the command; `lakebound doctor` looks at the stack's parts"
        )
        print(f"lakebound: {cause}", file=sys.stderr)
        return USAGE if cause.is_misconfigured else PROBLEM
    except OSError as failure:
        # A folder that is not there, a file that may not be written: the path is the person's own.
        where = f": {failure.filename}" if failure.filename else ""
        if not failure.filename:
            _drop_output()
        print(f"lakebound: {failure.strerror or type(failure).__name__}{where}. {_advice(failure)}", file=sys.stderr)
        return USAGE
    return OK


def _drop_output() -> None:
    """Let go what could not be written to stdout: the interpreter would try again at its end, and fail loudly."""
    with suppress(ValueError, OSError):  # a stdout that is no file of the system, or is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _advice(failure: OSError) -> str:
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free some, then repeat the command: it goes on"
    if failure.filename and failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check your rights there, or give another path"
    return "Check the path" if failure.filename else "Check the paths, and where the output goes"


def _aws_failures() -> tuple[type[Exception], ...]:
    """What botocore raises. Asked for only where something was raised: botocore takes 0.15 s of processor time."""
    from lakebound.adapters.aws_calls import FAILURES

    return FAILURES


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C stands behind an error: Spark's own link breaks when its Java is stopped first."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__context__ or seen.__cause__
    return False


def main() -> None:
    """Run the command of this process's arguments, then exit."""
    sys.exit(run())
