"""How a verb tells its result and its progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lakebound.adapters.clients import client
from lakebound.cli.tables import Column, table, terminal_width
from lakebound.errors import Misconfigured

AsJson = Annotated[bool, typer.Option("--json", help="Tell the result as one JSON document on stdout.")]

Count = Callable[[str, int], None]
"""Adds to the count of a bar, named as it is shown."""


def tell_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def bars(*, quiet: bool, totals: Mapping[str, int] | None = None) -> Iterator[Count]:
    """Progress bars on stderr, made when first counted; none where nobody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda name, count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def count(name: str, more: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=(totals or {}).get(name))
            progress.update(tasks[name], advance=more)

        yield count


def aws_client(service: str) -> Any:
    """A boto3 client of the environment. Raises Misconfigured, so that a missing region is a sentence."""
    try:
        return client(service)
    except (BotoCoreError, ValueError) as error:
        raise Misconfigured(
            f"No client for {service} can be made: {str(error).rstrip('.')}",
            hint="Set AWS_REGION and, for a local stack, AWS_ENDPOINT_URL",
        ) from None


def tell_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """A table of the result on stdout, as wide as the terminal, with no cell cut."""
    for line in table(columns, rows, terminal_width()):
        tell(line)


def tell(line: str) -> None:
    """A line of the result on stdout."""
    print(line, file=sys.stdout)
