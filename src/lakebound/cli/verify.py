"""`lakebound verify`: is the lake equal to the source?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lakebound.adapters.backfill_table import BackfillTable
from lakebound.adapters.bootstrap import run_rules
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.folder import images_in_folder
from lakebound.adapters.spill_folder import Begun, open_spill
from lakebound.adapters.stack import function_environment
from lakebound.adapters.table_metrics import put_metric
from lakebound.adapters.verify_table import Compared, DynamoDBTable
from lakebound.backfill.run_context import RunRules
from lakebound.cli import silver_table
from lakebound.cli.deployed import StackName, find_stack, store_of, table_named
from lakebound.cli.entity_tables import load_rules
from lakebound.cli.given_options import refuse_beside
from lakebound.cli.moment import Moment
from lakebound.cli.output import AsJson, aws_client, bars, echo, echo_json
from lakebound.cli.paths import file_to_write, folder_to_fill
from lakebound.cli.silver_table import Engine, EngineName, Live
from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.operate.entity_sides import MatchedSource, SeveralTables
from lakebound.operate.first_look import PARTITIONS, parts_of
from lakebound.operate.read_cost import cost_lines, read_cost
from lakebound.operate.repair import RepairResult
from lakebound.operate.repair import repair as repair_keys
from lakebound.operate.sample import Selection, Stratum, parse_share
from lakebound.operate.sides import LakeTable
from lakebound.operate.verify import Patience, Wait, document, report_lines, verify
from lakebound.ports import Clock, ObjectStore
from lakebound.record.entity_rules import EntityRules
from lakebound.record.table_identity import Source
from lakebound.settings import BackfillSettings
from lakebound.times import format_time, iso, utc

_SIDES = {
    "source": "items of the source",
    "parts": "parts of the source",
    "lake": "rows of the lake",
    "compared": "partitions compared",
    "again": "keys read again",
}
_LINE_EVERY_MS = 60_000


def command(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(help="The silver table: a folder, an s3:// or s3a:// address, or a name.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The merge job's YAML with `tables`, in place of --target: all of them together are compared with the "
            "source, and a key in another table than its own differs.",
        ),
    ] = None,
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
    sample: Annotated[
        str | None,
        typer.Option(help="Compare a share of the keys, another each day: 1/30 has had all after 30 days; or 0.1%."),
    ] = None,
    sample_day: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="With --sample: the day (UTC) that chooses it, not today."),
    ] = None,
    since: Annotated[
        Moment | None,
        typer.Option(
            parser=Moment.parse,
            metavar="TIME",
            help="Compare only keys of which the lake has a change since then: a time, or 2h for so long ago.",
        ),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            callback=folder_to_fill,
            help="Keep what is read in this folder; the same command goes on with it after a kill. "
            "Without it a temporary folder holds it.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Read what differs again and write it as files for the merge job.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell what comparing would cost; with --repair, what it would write."),
    ] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Also put the metric Unequal, which two alarms watch (VerifyAlarms)."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=file_to_write,
            help="Also write what --json says to this file, for `lakebound report`.",
        ),
    ] = None,
    engine: EngineName = None,
    live: Live = True,
    segments: Annotated[int, typer.Option(min=1, max=64, help="Parts of the table scanned side by side.")] = 4,
    show: Annotated[int, typer.Option(min=0, help="Keys shown of each list; --json gives them all.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Compare the table with the lake, key by key and item by item as values, and name what differs.

    Consistent reads of the whole table: one read unit for 4 KB; --dry-run tells how many. --sample scans one share of
    the table and looks up another share of the lake's keys, one unit or more each. --since looks up keys only. What is
    read goes to the disk, about 75 bytes a key and side. A key that differs is read again on both sides until
    it is equal, or has rested for two lags. Exit status 1 when anything differs or over 1 % of the keys were left out.

    With a stack, items are compared as DropAttributes and HashAttributes let them land, and the queue is its buffer
    queue. --repair reads the keys that differ once more and writes what the source holds of them, or that it holds
    nothing, as batch files of origin `reread`; merge them, then verify again.
    """
    rules, named = _tables(target, config)
    if no_wait:
        refuse_beside(context, "--no-wait", "lag", "limit")
    patience = _patience(lag, limit, no_wait=no_wait, repair=repair)
    clock = SystemClock()
    selection = _selection(sample, sample_day, since, clock)
    subject = Subject.find(table, stack, repair=repair)
    compared = subject.open(clock, segments)
    source, parts = compared.source, compared.parts(selection, segments)
    matched = MatchedSource(source, rules) if rules is not None else None
    queue_url = queue or subject.queue_url
    plan = {
        "table": subject.source.asked,
        "target": named,
        "live": live,
        "compared": str(selection),
    }
    with ExitStack() as kept:
        with ExitStack() as opened:
            silver = _open(opened, rules, named, engine, live=live)
            if dry_run and not repair:
                _print_cost(compared, silver, selection, as_json=as_json)
                return
            spill, begun = kept.enter_context(open_spill(work, plan, Begun(clock.now_ms(), parts)))
            here, _ = parts_of(selection.stratum, begun.parts)
            if done := len([part for part in spill.whole_parts() if part.startswith("source-")]):
                read = f"{done:,} of {count_text(len(here), 'part')} of the source"
                print(f"goes on with what was read since {iso(begun.began_ms)}: {read}", file=sys.stderr)
            totals = {_SIDES["parts"]: len(here) - done, _SIDES["compared"]: PARTITIONS}
            count = opened.enter_context(bars(quiet=as_json, totals=totals))
            report = verify(
                matched or source,
                silver,
                clock,
                spill=spill,
                parts=begun.parts,
                selection=selection,
                in_flight=partial(_count_messages, queue_url) if queue_url else lambda: 0,
                history=partial(images_in_folder, files) if files else lambda keys: (),
                patience=patience,
                progress=lambda side, more: count(_SIDES[side], more),
                waiting=WaitLines(Console(stderr=True, highlight=False), clock),
            )
            keys = report.unequal if repair else []
            repaired = None
            if keys and not dry_run:
                repaired = subject.repair(keys, source.key_names, clock, lambda more: count("keys read again", more))
        result = document(subject.source.table, named, report, selection)
        if out is not None:
            out.write_text(json.dumps(result) + "\n", "utf-8")
        if as_json:
            echo_json(
                result | ({"dry_run": dry_run, "repair": asdict(repaired) if repaired else None} if repair else {})
            )
        else:
            for line in report_lines(report, show, selection):
                echo(line)
            if matched is not None and matched.left_out:
                echo(f"  not compared: {count_text(matched.left_out, 'item')} of the source, of no table")
            if repair:
                _print_repair(repaired, len(keys), dry_run=dry_run)
        # Only now: who loses the report to a kill can ask again.
        spill.empty()
    if publish:
        put_metric(aws_client("cloudwatch"), subject.source.table, "Unequal", float(report.wrong))
    if not report.is_equal:
        raise typer.Exit(1)


def _tables(target: str | None, config: Path | None) -> tuple[EntityRules | None, str]:
    """The rules where there are several tables, and how what is compared is called."""
    if (target is None) == (config is None):
        raise Misconfigured("Nothing to compare with, or two things", hint="Give either --target or --config")
    if config is None:
        return None, target or ""
    rules = load_rules(config)
    return rules, ", ".join(rule.table for rule in rules.rules)


def _open(opened: ExitStack, rules: EntityRules | None, named: str, engine: Engine | None, *, live: bool) -> LakeTable:
    if rules is None:
        return opened.enter_context(silver_table.open_silver(named, engine, live=live))
    tables = {
        rule.table: opened.enter_context(silver_table.open_silver(rule.table, engine, live=live))
        for rule in rules.rules
    }
    return SeveralTables(rules, tables)


def _selection(sample: str | None, day: datetime | None, since: Moment | None, clock: Clock) -> Selection:
    """Raises Misconfigured for options that contradict each other, and for a share that is none."""
    if since is not None and sample is not None:
        raise Misconfigured("--since and --sample choose keys in two ways", hint="Leave one of the two out")
    if day is not None and sample is None:
        raise Misconfigured("--sample-day chooses a share", hint="Give --sample too, for example 1/30")
    if sample is None:
        return Selection(since_ms=since.ms if since else None)
    return Selection(Stratum.on(day.date() if day else utc(clock.now_ms()).date(), parse_share(sample)))


def _print_cost(compared: Compared, silver: LakeTable, selection: Selection, *, as_json: bool) -> None:
    changed = 0
    if selection.since_ms is not None:
        changed = sum(1 for _ in silver.rows(selection))
    cost = read_cost(compared.table.item_count, compared.table.table_bytes, selection, changed)
    if as_json:
        echo_json(asdict(cost) | {"compared": str(selection), "dollars": cost.dollars, "spill_bytes": cost.spill_bytes})
        return
    for line in cost_lines(cost):
        echo(line)


def _patience(lag: float, limit: float, *, no_wait: bool, repair: bool) -> Patience:
    """Raises Misconfigured for options that contradict each other."""
    if no_wait and repair:
        raise Misconfigured(
            "--no-wait reports changes on their way as differences, and --repair would write all of them again",
            hint="Leave one of the two out",
        )
    if no_wait:
        return Patience(lag=0, limit=0)
    if limit <= 2 * lag:
        raise Misconfigured(
            f"--limit {limit:g} leaves no key the time to rest for two lags of {lag:g} s",
            hint=f"Give more than {count_text(2 * lag, 'second')}, or a smaller --lag",
        )
    return Patience(lag=lag, limit=limit)


def _count_messages(queue_url: str) -> int:
    return sum(count_messages(aws_client("sqs"), queue_url))


class WaitLines:
    """Prints what a run waits for, and how long: at once, and then once a minute."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._printed_ms: int | None = None

    def __call__(self, wait: Wait) -> None:
        now = self._clock.now_ms()
        if self._printed_ms is None:
            line = f"{_reason(wait)}; at most {wait.left_s:,.0f} s. --no-wait judges at once"
        elif now - self._printed_ms >= _LINE_EVERY_MS:
            line = f"{_reason(wait)}; {wait.left_s:,.0f} s left"
        else:
            return
        self._console.print(line, markup=False, soft_wrap=True)
        self._printed_ms = now


def _reason(wait: Wait) -> str:
    keys = count_text(wait.keys, "key", "differs", "differ")
    rest = f"until nothing of it has changed for {wait.rest_s:,.0f} s"
    if not wait.in_flight:
        return f"{keys}: waiting {rest}"
    messages = count_text(wait.in_flight, "message", "is", "are")
    return f"{keys}, and {messages} in the buffer queue: waiting {rest} with the queue empty"


@dataclass(frozen=True, slots=True)
class Subject:
    """The table to compare, and with a stack its buffer queue, its bucket, and the rules by which records land."""

    source: Source
    queue_url: str | None = None
    store: ObjectStore | None = None
    rules: RunRules | None = None

    @staticmethod
    def find(table: str | None, stack: str, *, repair: bool) -> Subject:
        """Raises Misconfigured where neither a table nor a stack is named."""
        if table and not stack and not repair:
            return Subject(table_named(table))
        found = find_stack(stack)
        if table and table_named(table) != found.source:
            raise Misconfigured(f"The stack {found.name} is of table {found.source.asked}", hint="Leave --table out")
        settings = BackfillSettings.read(function_environment(aws_client("lambda"), found.output("BackfillName")))
        rules = run_rules(settings, aws_client)
        return Subject(found.source, found.output("BufferQueueUrl"), store_of(found), rules)

    def open(self, clock: Clock, segments: int) -> Compared:
        """The table, its items as they land. Raises Misconfigured where its keys land hashed."""
        table = DynamoDBTable(self.source, aws_client("dynamodb"), clock, segments=segments)
        return Compared.of(table, self.rules.redaction if self.rules else None)

    def repair(
        self, keys: Sequence[str], key_names: Sequence[str], clock: Clock, progress: Callable[[int], None]
    ) -> RepairResult:
        """Write what the source holds of these keys now. Only for a subject that was found by its stack."""
        assert self.rules is not None
        assert self.store is not None
        reader = BackfillTable(self.source, aws_client("dynamodb"), clock)
        run = f"repair-{format_time(clock.now_ms())}"
        return repair_keys(keys, run, self.rules, key_names, reader, self.store, clock, progress)


def _print_repair(repaired: RepairResult | None, keys: int, *, dry_run: bool) -> None:
    if dry_run:
        echo(f"would read {count_text(keys, 'key')} again and write a record of each")
    elif repaired is None:
        echo("nothing to repair")
    else:
        poison = f", {repaired.quarantined:,} in quarantine" if repaired.quarantined else ""
        written = (
            f"{count_text(repaired.items, 'item')} and {count_text(repaired.absent, 'absent key')} "
            f"in {count_text(len(repaired.files), 'file')}"
        )
        echo(f"run {repaired.run}: {written}{poison}")
        echo("merge them with lakebound-merge-changes, then verify again")
