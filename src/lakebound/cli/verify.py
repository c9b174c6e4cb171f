"""`lakebound verify`: is the lake equal to the source?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lakebound.adapters.backfill_table import BackfillTable
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.stack import function_environment
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.cli.deployed import StackName, find_stack, road_of, store_of, table_named
from lakebound.cli.history import FolderHistory
from lakebound.cli.output import AsJson, aws_client, bars, tell, tell_json
from lakebound.cli.pipeline import QueuePipeline
from lakebound.errors import Misconfigured
from lakebound.operate.repair import Repaired, RepairRules
from lakebound.operate.repair import repair as write_again
from lakebound.operate.verify import AsLanded, Patience, Report, SourceTable, Waiting, document, told_lines, verify
from lakebound.ports import Clock, ObjectStore
from lakebound.record.table_identity import Source
from lakebound.settings import BackfillSettings
from lakebound.times import format_time

_SIDES = {"source": "items of the source", "lake": "rows of the lake", "again": "keys read again"}
_LINE_EVERY_MS = 60_000


def command(
    target: Annotated[str, typer.Option(help="The silver table: a Delta path, or a table's name.", show_default=False)],
    table: Annotated[
        str | None,
        typer.Option(help="The DynamoDB table by name or ARN, where no stack is named.", show_default=False),
    ] = None,
    stack: StackName = "",
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
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="Judge at the second look: what is on its way now counts as a difference."),
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read what differs again and write it as files for the merge job.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: tell what it would write.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Also write what --json says to this file, for `lakebound report`."),
    ] = None,
    segments: Annotated[int, typer.Option(min=1, max=64, help="Parts of the table scanned side by side.")] = 4,
    show: Annotated[int, typer.Option(min=0, help="Keys shown of each list; --json gives them all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare the whole table with the lake, key by key and item by item as values, and name what differs.

    Consistent reads of the whole table: one read unit for 4 KB. A key that differs is read again on both sides until
    it is equal, or has rested for two lags. Exit status 1 when anything differs or over 1 % of the keys were left out.

    With a stack, items are compared as DropAttributes and HashAttributes let them land, and the queue is its buffer
    queue. --repair reads the keys that differ once more and writes what the source holds of them, or that it holds
    nothing, as batch files of origin `reread`; merge them, then verify again.
    """
    place = _Place.of(table, stack, repair=repair)
    if no_wait and repair:
        raise Misconfigured(
            "--no-wait tells what is on its way as a difference, and --repair would write all of it again",
            hint="Leave one of the two out",
        )
    if limit <= 2 * lag and not no_wait:
        raise Misconfigured(
            f"--limit {limit:g} leaves no key the time to rest for two lags of {lag:g} s",
            hint=f"Give more than {2 * lag:g} seconds, or a smaller --lag",
        )
    clock = SystemClock()
    source: SourceTable = DynamoDBTable(place.source, aws_client("dynamodb"), clock, segments=segments)
    if place.rules is not None and place.rules.redaction is not None:
        if place.rules.redaction.hashes_any(source.key_names):
            raise Misconfigured(
                "HashAttributes names a key attribute: no key of the lake can be read again in the source",
                hint="Compare such a table in Spark, with the files of a finished backfill",
            )
        source = AsLanded(source, place.rules.redaction)
    queue = queue or place.queue
    pipeline = QueuePipeline(queue, aws_client("sqs")) if queue else None
    history = FolderHistory(files) if files else None
    from lakebound.cli.silver_table import open_silver  # Spark takes seconds to load, and only this verb needs it

    with ExitStack() as opened:
        silver = opened.enter_context(open_silver(target))
        count = opened.enter_context(bars(quiet=as_json))
        told_wait = Waits(Console(stderr=True, highlight=False), clock)
        report = verify(
            source,
            silver,
            clock,
            pipeline=pipeline,
            history=history,
            patience=Patience(lag=0, limit=0) if no_wait else Patience(lag=lag, limit=limit),
            progress=lambda side, more: count(_SIDES[side], more),
            waiting=told_wait,
        )
        keys = sorted({*report.missing, *report.ghost, *report.stale, *report.different}) if repair else []
        done = None
        if keys and not dry_run:
            done = place.repair(keys, source.key_names, clock, lambda more: count("keys read again", more))
    told = document(place.source.table, target, report)
    if out is not None:
        out.write_text(json.dumps(told) + "\n", "utf-8")
    if as_json:
        tell_json(told | ({"dry_run": dry_run, "repair": asdict(done) if done else None} if repair else {}))
    else:
        _tell(report, show)
        if repair:
            _tell_repair(done, len(keys), dry_run=dry_run)
    if not report.is_equal:
        raise typer.Exit(1)


class Waits:
    """Tells on stderr what a run waits for and how long: at once, and a line each minute."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._told_ms: int | None = None

    def __call__(self, what: Waiting) -> None:
        now = self._clock.now_ms()
        if self._told_ms is None:
            self._say(f"{_wait(what)}; at most {what.left_s:,.0f} s. --no-wait judges at once")
        elif now - self._told_ms >= _LINE_EVERY_MS:
            self._say(f"{_wait(what)}; {what.left_s:,.0f} s left")
        else:
            return
        self._told_ms = now

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


def _wait(what: Waiting) -> str:
    keys = "1 key differs" if what.keys == 1 else f"{what.keys:,} keys differ"
    rest = f"until nothing of it has changed for {what.rest_s:,.0f} s"
    if not what.in_flight:
        return f"{keys}: waiting {rest}"
    held = "1 message is" if what.in_flight == 1 else f"{what.in_flight:,} messages are"
    return f"{keys}, and {held} in the buffer queue: waiting {rest} with the queue empty"


@dataclass(frozen=True, slots=True)
class _Place:
    """What is compared, and with a stack also by which rules its records land."""

    source: Source
    queue: str | None = None
    store: ObjectStore | None = None
    rules: RepairRules | None = None

    @staticmethod
    def of(table: str | None, name: str, *, repair: bool) -> _Place:
        """Raises Misconfigured where neither a table nor a stack is named."""
        if table and not name and not repair:
            return _Place(table_named(table))
        found = find_stack(name)
        if table and table_named(table) != found.source:
            raise Misconfigured(f"The stack {found.name} is of table {found.source.asked}", hint="Leave --table out")
        road = road_of(found).rules
        settings = BackfillSettings.read(function_environment(aws_client("lambda"), found.output("BackfillName")))
        rules = RepairRules(
            found.table, found.prefix, road.partition, settings.margin_ms, road.file_format, road.redaction
        )
        return _Place(found.source, found.output("BufferQueueUrl"), store_of(found), rules)

    def repair(
        self, keys: Sequence[str], key_names: Sequence[str], clock: Clock, progress: Callable[[int], None]
    ) -> Repaired:
        """Write what the source holds of these keys now."""
        assert self.rules is not None
        assert self.store is not None
        reader = BackfillTable(self.source, aws_client("dynamodb"), clock)
        run = f"repair-{format_time(clock.now_ms())}"
        return write_again(keys, run, self.rules, key_names, reader, self.store, clock, progress)


def _tell_repair(done: Repaired | None, keys: int, *, dry_run: bool) -> None:
    if dry_run:
        tell(f"would read {keys:,} keys again and write a record of each")
    elif done is None:
        tell("nothing to repair")
    else:
        kept = f", {done.quarantined:,} in quarantine" if done.quarantined else ""
        tell(f"run {done.run}: {done.items:,} items and {done.absent:,} absent keys in {len(done.files)} files{kept}")
        tell("merge them with spark/jobs/merge_changes.py, then verify again")


def _tell(report: Report, show: int) -> None:
    for line in told_lines(report, show):
        tell(line)
