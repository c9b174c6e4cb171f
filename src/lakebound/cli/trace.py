"""`lakebound trace KEY`: every record of one key, and why the visible item won."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from lakebound.adapters.folder import read_folder
from lakebound.adapters.stack import Stack
from lakebound.cli.deployed import StackName, find_stack, store_of
from lakebound.cli.moment import Moment
from lakebound.cli.output import AsJson, bars, echo, echo_json
from lakebound.errors import Poison
from lakebound.operate.file_check import MAX_FILE_BYTES, records_before_damage
from lakebound.operate.trace import QuarantineEntry, Trace, trace
from lakebound.operate.typed_key import KeyQuery
from lakebound.record.attributes import canonical_key
from lakebound.times import iso
from lakebound.transport.object_keys import DataKey
from lakebound.transport.undelivered import pending_quarantine, read_quarantine

_MOST_TOLD = 6


def command(
    key: Annotated[
        str,
        typer.Argument(
            help='The key: "pk=a,sk=1", a JSON object, silver\'s `_key` such as "pk=S:a|sk=N:1", or the bare value '
            "where the key has one attribute."
        ),
    ],
    stack: StackName = "",
    files: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Read this mirror of the files, not the bucket.")
    ] = None,
    since: Annotated[Moment | None, typer.Option(parser=Moment.parse, help="Files written from then on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every record of one key in order: file, version, label, and why the visible image won.

    Reads every batch file, or with --since those of a stretch of time. Names and times only: no item's value. Exit
    status 1 when nothing is found of the key, or the chain of its old images is broken.
    """
    search = Search(KeyQuery(key))
    with bars(quiet=as_json) as count:
        if files is not None:
            search.where = f"{files}/"
            records = list(search.of_records(read_folder(files), lambda: count("files", 1)))
        else:
            found = find_stack(stack)
            search.where = f"s3://{found.bucket}/{found.prefix}/"
            records = list(search.of_records(_from_bucket(found, since), lambda: count("files", 1)))
            search.of_quarantine(found)
    wanted = search.wanted
    records = [one for one in records if one[1]["key"] == wanted.key]
    traced = trace(wanted.key, records, [kept for at, kept in search.kept if at == wanted.key])
    if as_json:
        searched = {"where": search.where, "files": search.files, "records": search.records}
        searched["quarantined"] = search.quarantined
        more = {"is_visible": traced.is_visible, "looked_for": wanted.looked_for, "searched": searched}
        echo_json(asdict(traced) | more)
    elif traced.winner is None and not traced.quarantined:
        _print_nothing(search, since)
    else:
        _print(traced)
    if traced.winner is None or traced.breaks:
        raise typer.Exit(1)


@dataclass(slots=True)
class Search:
    """What was looked for, where, and how much was looked through."""

    wanted: KeyQuery
    where: str = ""
    files: int = 0
    records: int = 0
    quarantined: int = 0
    kept: list[tuple[str, QuarantineEntry]] = field(default_factory=list)

    def of_records(
        self, files: Iterator[tuple[str, Iterator[dict[str, Any]]]], counted: Callable[[], None]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The records, with their file, of what the text may mean."""
        for name, records in files:
            for record in records:
                self.records += 1
                if self.wanted.meets(record["key"], record["keys"]):
                    yield name, record
            self.files += 1
            counted()

    def of_quarantine(self, stack: Stack) -> None:
        """Quarantined records whose own Keys are meant; one without readable Keys cannot be told to be of a key."""
        store = store_of(stack)
        for one in read_quarantine(store, pending_quarantine(store, stack.table).objects):
            self.quarantined += 1
            try:
                keys = orjson.loads(one.payload)["dynamodb"]["Keys"]
                canonical = canonical_key(keys)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, Poison):
                continue
            if self.wanted.meets(canonical, keys):
                kept = QuarantineEntry(one.key, one.reason, str(one.source.get("sequence_number") or ""))
                self.kept.append((canonical, kept))


def _from_bucket(stack: Stack, since: Moment | None) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    store = store_of(stack)
    for stored in store.list(f"{stack.prefix}/"):
        data = DataKey.parse(stack.prefix, stored.key)
        if data is None or (since is not None and data.time_ms < since.ms):
            continue
        yield stored.key, records_before_damage(data.ext, store.get(stored.key, MAX_FILE_BYTES))


def _print_nothing(search: Search, since: Moment | None) -> None:
    wanted = search.wanted
    echo(f"nothing found of {wanted.text}")
    for place, key in enumerate(wanted.looked_for[:_MOST_TOLD]):
        echo(f"  {'' if place else 'looked for':<12} {key}")
    written = "" if since is None else f" written since {_time(since.ms)}"
    echo(
        f"  {'looked in':<12} {search.files:,} batch files{written} with {search.records:,} records, in {search.where}"
    )
    if search.where.startswith("s3:"):
        echo(f"  {'':<12} {search.quarantined:,} records in quarantine")
    if wanted.schema is None:
        echo("  No record was there, so the table's key is not known. Is it the right stack or folder?")
        return
    names = " and ".join(f"{name} ({tag})" for name, tag in wanted.schema)
    echo(f"  {'key':<12} {names}")
    example = ",".join(f"{name}=…" for name, _ in wanted.schema)
    if wanted.begun:
        echo(f"  Keys with that value in one of the two: {', '.join(wanted.begun)}. Give both: {example}")
    else:
        echo(f"  Give it as {example}, or as silver's _key has it. What changed just now may be in no file yet.")


def _print(traced: Trace) -> None:
    echo(traced.key)
    for title, steps in (
        ("records of the stream, by version", traced.stream),
        ("records of backfills and reads, by label (the time that stands for their age)", traced.base),
    ):
        echo(f"{len(steps):,} {title}")
        for step in steps:
            mark = "►" if step == traced.winner else " "
            order = step.version if step.is_stream else f"label {_time(step.label_ms)}, run {step.run}"
            copies = f"  {step.copies} copies" if step.copies > 1 else ""
            created = f"  created {_time(step.created_ms)}" if step.created_ms is not None else ""
            echo(f" {mark} {step.event_name:<8} {order}{created}{copies}")
            echo(f"     {step.file}")
    for kept in traced.quarantined:
        echo(f"quarantine: {kept.reason}, sequence number {kept.sequence_number or 'none'}\n     {kept.object_key}")
    for version in traced.breaks:
        echo(f"chain broken before {version}: a record is missing there, or the order is wrong")
    echo(f"{'visible' if traced.is_visible else 'not visible'}: {traced.why}")


def _time(ms: int | None) -> str:
    return "–" if ms is None else iso(ms)
