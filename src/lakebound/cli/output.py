"""How a verb tells its result and its progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import orjson
import typer
from botocore.exceptions import BotoCoreError, NoRegionError
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from lakebound.adapters.aws_calls import cause_of, code_of
from lakebound.adapters.clients import client, region
from lakebound.cli import tables
from lakebound.errors import Misconfigured

AsJson = Annotated[bool, typer.Option("--json", help="Tell the result as one JSON document on stdout.")]

Count = Callable[[str, int], None]
"""Adds to the count of a bar, named as it is shown."""


def echo_json(document: Mapping[str, Any]) -> None:
    """One JSON document on stdout."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@contextmanager
def bars(*, quiet: bool, totals: Mapping[str, int] | None = None) -> Iterator[Count]:
    """Progress on stderr: bars, made when first counted; a line a minute where nobody watches. With ``quiet`` none."""
    console = Console(stderr=True)
    if quiet:
        yield lambda name, count: None
        return
    if not console.is_terminal:
        yield CountLines(totals or {}, lambda line: print(line, file=sys.stderr, flush=True), time.monotonic)
        return
    with Progress(*bar_columns(console.width), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def count(name: str, more: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=(totals or {}).get(name))
            progress.update(tasks[name], advance=more)

        yield count


class CountLines:
    """For a log: each count once a minute, and how long it will take still where its end is known."""

    def __init__(self, totals: Mapping[str, int], write: Callable[[str], None], seconds: Callable[[], float]) -> None:
        self._totals = totals
        self._write = write
        self._seconds = seconds
        self._told: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._began: dict[str, float] = {}

    def __call__(self, name: str, more: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + more
        now = self._seconds()
        began = self._began.setdefault(name, now)
        if now - self._told.setdefault(name, began) < _LINE_EVERY_S:
            return
        self._told[name] = now
        done, total = self._counts[name], self._totals.get(name)
        if total is None:
            self._write(f"{name} {done:,}")
        else:
            left = (total - done) * (now - began) / done if done else 0.0
            told = f", about {timedelta(seconds=round(left))} left" if 0 < done < total else ""
            self._write(f"{name} {done:,} of {total:,}{told}")


_LINE_EVERY_S = 60
_ROOM_FOR_A_BAR = 80
_BAR = 24


class CountColumn(ProgressColumn):
    """What is counted and how far it is: `records 11,161 of 20,000`. Wraps between words, and cuts no number.

    rich's MofNCompleteColumn ends in an ellipsis where the terminal is narrow: `1116…` of 11,161.
    """

    def render(self, task: Task) -> Text:
        """The cell."""
        of = "" if task.total is None else f" of {int(task.total):,}"
        return Text(f"{task.description} {int(task.completed):,}{of}")


class RemainingColumn(TimeRemainingColumn):
    """How long what is counted will take still, where its end is known: `0:12:40 left`."""

    def render(self, task: Task) -> Text:
        """The cell."""
        if task.total is None or task.finished or task.time_remaining is None:
            return Text()
        return Text.assemble(super().render(task), " left")


def bar_columns(width: int) -> tuple[ProgressColumn, ...]:
    """The columns of a progress bar on a terminal of that width: a narrow one gets the figures alone."""
    # Without a column of its own rich gives it no_wrap, and cuts what does not fit.
    counts = CountColumn(table_column=Column(no_wrap=False, overflow="fold"))
    if width < _ROOM_FOR_A_BAR:
        return (counts,)
    return (counts, BarColumn(_BAR), TimeElapsedColumn(), RemainingColumn())


def aws_client(service: str) -> Any:
    """A client of the environment. Raises what `cause_of` gives, so that a missing region is a sentence."""
    try:
        if region() is None:
            # S3 alone would take a region of its own choice, and fail later with a sentence about something else.
            raise NoRegionError
        return client(service)
    except BotoCoreError as failure:
        error = cause_of(failure) or Misconfigured(
            f"No client for {service} can be made ({code_of(failure)})",
            hint="Check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL",
        )
    except ValueError:
        error = Misconfigured(
            "AWS_ENDPOINT_URL is no address of a service", hint="Write it as http://HOST:PORT, or unset it"
        )
    raise error


def echo_table(columns: Sequence[tables.Column], rows: Sequence[Sequence[str]]) -> None:
    """A table of the result on stdout, as wide as the terminal, with no cell cut."""
    for line in tables.table(columns, rows, tables.terminal_width()):
        echo(line)


def echo(line: str) -> None:
    """A line of the result on stdout."""
    print(line, file=sys.stdout)
