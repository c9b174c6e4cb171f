"""`lakebound trace KEY`: every record of one key, and why the visible item is the visible one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lakebound.adapters.folder import read_folder
from lakebound.cli.deployed import StackName, find_stack, store_of
from lakebound.cli.entity_tables import load_rules
from lakebound.cli.given_options import refuse_beside
from lakebound.cli.moment import Moment
from lakebound.cli.output import AsJson, bars, echo, echo_json
from lakebound.counts import count_text
from lakebound.operate.trace import KeySearch, Trace, read_bucket, trace
from lakebound.operate.typed_key import KeyQuery
from lakebound.record.attributes import parse_key
from lakebound.record.entity_rules import EntityRules
from lakebound.times import iso

_MOST_READINGS = 6


def command(
    context: typer.Context,
    key: Annotated[
        str,
        typer.Argument(
            help='The key: "pk=a,sk=1", a JSON object, silver\'s `_key` such as "pk=S:a|sk=N:1", or the bare value '
            "where the key has one attribute."
        ),
    ],
    stack: StackName = "",
    files: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Read this mirror of the files instead of the bucket."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The merge job's YAML with `tables`: tell which of them the key is in, and why.",
        ),
    ] = None,
    since: Annotated[
        Moment | None,
        typer.Option(parser=Moment.parse, help="Read only files written from then on: a time, or 2h for so long ago."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print every record of one key in order: its file, version and label, and why the visible image won.

    Reads every batch file, or with --since only the newer ones. Prints names and times, never an item's value. Exit
    status 1 when no record of the key is found, or the chain of its old images is broken.
    """
    if files is not None:
        refuse_beside(context, "--files", "stack")
    rules = load_rules(config) if config is not None else None
    since_ms = since.ms if since else 0
    search = KeySearch(KeyQuery(key))
    quarantined = []
    with bars(quiet=as_json) as count:
        if files is not None:
            where = f"{files}/"
            records = list(search.in_files(read_folder(files, since_ms), lambda: count("files", 1)))
        else:
            found = find_stack(stack)
            where, store = f"s3://{found.bucket}/{found.prefix}/", store_of(found)
            batch_files = read_bucket(store, found.prefix, since_ms)
            records = list(search.in_files(batch_files, lambda: count("files", 1)))
            quarantined = list(search.in_quarantine(store, found.table))
    query = search.query
    traced = trace(query.key, records, [entry for key, entry in quarantined if key == query.key])
    if as_json:
        searched = {"where": where, "files": search.files, "records": search.records}
        searched["quarantined"] = search.quarantined
        more = {"is_visible": traced.is_visible, "looked_for": query.looked_for, "searched": searched}
        if rules is not None and traced.winner is not None:
            rule = rules.rule_of(parse_key(traced.key))
            more |= {"table": rule.table if rule else None, "where": str(rule) if rule else None}
        echo_json(asdict(traced) | more)
    elif traced.winner is None and not traced.quarantined:
        _print_nothing(search, where, since)
    else:
        _print(traced)
        if rules is not None and traced.winner is not None:
            echo(placement_text(rules, traced.key))
    if traced.winner is None or traced.breaks:
        raise typer.Exit(1)


def placement_text(rules: EntityRules, key: str) -> str:
    """Which table a key belongs to, and why, for a person."""
    rule = rules.rule_of(parse_key(key))
    if rule is None:
        return "table: none, since no `where` takes the key"
    if rule.is_rest:
        return f"table: {rule.table}, the rest, since no other `where` takes the key"
    before = rules.rules.index(rule)
    others = (
        f"; none of the {count_text(before, 'rule')} before it does" if before > 1 else "; the rule before it does not"
    )
    return f"table: {rule.table}, whose where {rule} takes the key{others if before else ''}"


def _print_nothing(search: KeySearch, where: str, since: Moment | None) -> None:
    query = search.query
    echo(f"nothing found of {query.text}")
    for place, key in enumerate(query.looked_for[:_MOST_READINGS]):
        echo(f"  {'' if place else 'searched for':<12} {key}")
    written = "" if since is None else f" written since {_time(since.ms)}"
    echo(
        f"  {'searched in':<12} {count_text(search.files, 'batch file')}{written} with "
        f"{count_text(search.records, 'record')}, in {where}"
    )
    if where.startswith("s3:"):
        echo(f"  {'':<12} {count_text(search.quarantined, 'record')} in quarantine")
    if query.schema is None:
        echo("  No record was there, so the table's key is not known. Is it the right stack or folder?")
        return
    names = " and ".join(f"{name} ({tag})" for name, tag in query.schema)
    echo(f"  {'key':<12} {names}")
    example = ",".join(f"{name}=…" for name, _ in query.schema)
    if query.begun:
        echo(f"  Keys with that value in one of the two: {', '.join(query.begun)}. Give both: {example}")
    else:
        echo(f"  Give it as {example}, or as silver's _key has it. What changed just now may be in no file yet.")


def _print(traced: Trace) -> None:
    echo(traced.key)
    for title, steps in (
        ("of the stream, by version", traced.stream),
        ("of backfills and reads, by label (the time that stands for their age)", traced.base),
    ):
        echo(f"{count_text(len(steps), 'record')} {title}")
        for step in steps:
            mark = "►" if step == traced.winner else " "
            order = step.version if step.is_stream else f"label {_time(step.label_ms)}, run {step.run}"
            copies = f"  {count_text(step.copies, 'copy')}" if step.copies > 1 else ""
            created = f"  created {_time(step.created_ms)}" if step.created_ms is not None else ""
            echo(f" {mark} {step.event_name:<8} {order}{created}{copies}")
            echo(f"     {step.file}")
    for entry in traced.quarantined:
        echo(f"quarantine: {entry.reason}, sequence number {entry.sequence_number or 'none'}\n     {entry.object_key}")
    for version in traced.breaks:
        echo(f"chain broken before {version}: a record is missing there, or the order is wrong")
    echo(f"{'visible' if traced.is_visible else 'not visible'}: {traced.why}")


def _time(ms: int | None) -> str:
    return "–" if ms is None else iso(ms)
