"""`lakebound config`: the merge job's YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.cli.deployed import table_named
from lakebound.cli.files import named, open_source
from lakebound.cli.given_options import refuse_without
from lakebound.cli.output import AsJson, aws_client, bars, echo, echo_json
from lakebound.cli.paths import file_to_write
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured, Poison
from lakebound.operate.file_check import MAX_FILE_BYTES, whole_records
from lakebound.operate.infer_columns import ColumnProposal, Inference, path_text
from lakebound.operate.infer_entities import EntityInference
from lakebound.transport.object_keys import DataKey

app = typer.Typer(no_args_is_help=True, help="The merge job's YAML.")


@app.callback()
def _group() -> None:
    """Keeps `infer` a verb of its own while it is the only one."""


@app.command()
def infer(
    context: typer.Context,
    table: Annotated[str | None, typer.Option(help="The DynamoDB table by name or ARN, to look at its items.")] = None,
    files: Annotated[
        str | None, typer.Option(help="Batch files instead: the data prefix (s3://BUCKET/PREFIX), or a folder.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, max=10**9, help="Items looked at, at most.")] = 10_000,
    segments: Annotated[
        int, typer.Option(min=1, max=64, help="With --table: parts of it that items are taken from.")
    ] = 16,
    output: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=file_to_write, help="Where the YAML goes; without it to stdout."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --output: show the YAML, write nothing.")] = False,
    entities: Annotated[
        bool,
        typer.Option("--entities", help="Propose a table for each kind of item, by the patterns of the keys."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Propose the columns of the merge job's YAML from items of a table or from batch files.

    Each type comes with how many of the values seen would not fit it. With --entities each kind of item becomes a
    table, and the proposal tells how many items have a key of no pattern. A table is read consistently, one read unit
    for 4 KB; DynamoDB spreads items over its parts by their keys' hash, so a few pages of each part are a fair sample.
    """
    if (table is None) == (files is None):
        raise Misconfigured("Nothing to look at, or two things", hint="Give either --table or --files")
    if table is None:
        refuse_without(context, "--table", "segments")
    if output is not None and output.exists() and not dry_run:
        raise Misconfigured(f"{output} exists", hint="Name another file, or move it away")
    inference, by_kind = Inference(), EntityInference()
    source_table = table
    found = _items_of_table(table, segments) if table is not None else _items_of_files(files or "")
    with bars(quiet=as_json, totals={"items": sample}) as count:
        for name, item, keys in islice(found, sample):
            source_table = name
            if entities:
                by_kind.add(item, keys)
            else:
                inference.add(item)
            count("items", 1)
    items = by_kind.items or inference.items
    if source_table is None or not items:
        raise Misconfigured(f"{table or files} holds no item", hint="Look at a table with items, or at its batch files")
    text = by_kind.yaml(source_table) if entities else inference.yaml(source_table)
    if output is not None and not dry_run:
        output.write_text(text, encoding="utf-8")
    if as_json:
        proposed = {"tables": _tables(by_kind)} if entities else {"columns": _columns(inference.columns())}
        echo_json({"source_table": source_table, "items": items, "yaml": text, **proposed})
    elif output is None or dry_run:
        echo(text.rstrip())
    elif entities:
        *kinds, rest = by_kind.tables()
        tables = f"{count_text(len(kinds), 'table')} from {count_text(items, 'item')}"
        echo(f"{output}: {tables}, of which {rest.items:,} {'has' if rest.items == 1 else 'have'} a key of no pattern")
    else:
        echo(f"{output}: {count_text(len(inference.columns()), 'column')} from {count_text(items, 'item')}")


def _tables(inference: EntityInference) -> list[dict[str, Any]]:
    return [
        {
            "table": one.rule.table,
            "where": str(one.rule),
            "items": one.items,
            "parts": {part.name: part.how for part in one.parts},
            "columns": _columns(one.columns),
        }
        for one in inference.tables()
    ]


def _columns(columns: Sequence[ColumnProposal]) -> list[dict[str, Any]]:
    return [
        {
            "path": path_text(one.path),
            **one.how,
            "name": one.name or path_text(one.path),
            "seen": one.seen,
            "exceptions": one.exceptions,
        }
        for one in columns
    ]


_Items = Iterator[tuple[str, dict[str, Any], Sequence[str]]]
"""Items, each with its source table and the names of its key attributes."""


def _items_of_table(table: str, segments: int) -> _Items:
    source = table_named(table)
    scanned = DynamoDBTable(source, aws_client("dynamodb"), SystemClock(), segments=segments)
    for item in scanned.scan():
        yield source.table, item, scanned.key_names


def _items_of_files(source: str) -> _Items:
    """New images of the records, with their source table; deletes have none. Raises LakeboundError for damage."""
    store, prefix = open_source(source)
    for stored in store.list(prefix + "/"):
        key = DataKey.parse(prefix, stored.key)
        if key is None:
            continue
        try:
            for record in whole_records(key.ext, store.get(stored.key, MAX_FILE_BYTES)):
                if record["new_image"] is not None:
                    yield record["source_table"], record["new_image"], tuple(record["keys"])
        except Poison as poison:
            raise LakeboundError(
                f"{named(source, stored.key)} is damaged ({poison.code}: {poison.detail})",
                hint=f"`lakebound files check {source}` names every such file; look at a folder without them, or at the"
                " table",
            ) from None
