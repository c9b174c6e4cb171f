"""`lakebound verify`: is the lake equal to the source?"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.dynamodb import DynamoDBTable
from lakebound.cli.history import FolderHistory
from lakebound.cli.pipeline import QueuePipeline
from lakebound.cli.telling import AsJson, aws_client, bars, tell, tell_json
from lakebound.errors import Misconfigured
from lakebound.verify import Patience, Report, document, told_lines, verify

_SIDES = {"source": "items of the source", "lake": "rows of the lake", "again": "keys still suspected"}


def command(
    table: Annotated[str, typer.Option(help="The DynamoDB table.", show_default=False)],
    target: Annotated[str, typer.Option(help="The silver table: a Delta path, or a table's name.", show_default=False)],
    lag: Annotated[
        float, typer.Option(min=0.1, help="Seconds from a change to silver (p99). Two of them at rest decide.")
    ] = 90.0,
    limit: Annotated[
        float, typer.Option(min=1, help="Seconds after which keys that still change are left out.")
    ] = 900.0,
    queue: Annotated[
        str | None, typer.Option(help="URL of the buffer queue: nothing is judged while messages are in it.")
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A mirror of the batch files, to tell stale from different."),
    ] = None,
    segments: Annotated[int, typer.Option(min=1, max=64, help="Parts of the table scanned side by side.")] = 4,
    show: Annotated[int, typer.Option(min=0, help="Keys shown of each list; --json gives them all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare the whole table with the lake, key by key and item by item as values, and name what differs.

    Consistent reads of the whole table: one read unit for 4 KB. A key that differs is read again on both sides until
    it is equal, or has rested for two lags. Exit status 1 when anything differs or over 1 % of the keys were left out.
    """
    if limit <= 2 * lag:
        raise Misconfigured(
            f"--limit {limit:g} leaves no key the time to rest for two lags of {lag:g} s",
            hint=f"Give more than {2 * lag:g} seconds, or a smaller --lag",
        )
    clock = SystemClock()
    source = DynamoDBTable(table, aws_client("dynamodb"), clock, segments=segments)
    pipeline = QueuePipeline(queue, aws_client("sqs")) if queue else None
    history = FolderHistory(files) if files else None
    from lakebound.cli.silver import open_silver  # Spark takes seconds to load, and only this verb needs it

    with ExitStack() as stack:
        silver = stack.enter_context(open_silver(target))
        count = stack.enter_context(bars(quiet=as_json))
        report = verify(
            source,
            silver,
            clock,
            pipeline=pipeline,
            history=history,
            patience=Patience(lag=lag, limit=limit),
            progress=lambda side, more: count(_SIDES[side], more),
        )
    if as_json:
        tell_json(document(table, target, report))
    else:
        _tell(report, show)
    if not report.is_equal:
        raise typer.Exit(1)


def _tell(report: Report, show: int) -> None:
    for line in told_lines(report, show):
        tell(line)
