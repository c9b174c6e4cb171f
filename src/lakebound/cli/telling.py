"""How a verb tells its result and its progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lakebound.adapters.clients import client, region
from lakebound.adapters.faults import no_client, no_region, told

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
    """A client of the environment whose faults are sentences. Raises Misconfigured without region or profile."""
    try:
        where = region()
        made = client(service)
    except (BotoCoreError, ValueError) as error:
        failure = error
    else:
        if where is None:
            # S3 alone would take a region of its own choice, and fail later with a sentence about something else.
            raise no_region()
        return told(made, service)
    raise no_client(failure, service)


def tell(line: str) -> None:
    """A line of the result on stdout."""
    print(line, file=sys.stdout)
