"""`lakebound trace KEY`: every record of one key, and why the visible item won."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from lakebound.adapters.stack import Stack
from lakebound.attributes import canonical_key
from lakebound.cli.stacks import StackName, find_stack, store_of
from lakebound.cli.telling import AsJson, bars, tell, tell_json
from lakebound.cli.times import Moment
from lakebound.encoders.choice import reader_of
from lakebound.errors import Poison
from lakebound.layout import FORMATS, DataKey
from lakebound.redrive import pending_quarantine, read_quarantine
from lakebound.trace import Kept, Trace, trace

MAX_FILE_BYTES = 512 * 1024 * 1024


def command(
    key: Annotated[str, typer.Argument(help='The canonical key as silver\'s `_key` has it, such as "id=S:UA 1545".')],
    stack: StackName = "",
    files: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Read this mirror of the files, not the bucket.")
    ] = None,
    since: Annotated[Moment | None, typer.Option(parser=Moment.parse, help="Files written from then on.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every record of one key in order: file, version, label, and why the visible image won.

    Reads every batch file, or with --since those of a stretch of time. Names and times only: no item's value.
    """
    quarantined: list[Kept] = []
    with bars(quiet=as_json) as count:
        if files is not None:
            records = _from_folder(files)
        else:
            found = find_stack(stack)
            quarantined = list(_kept(found, key))
            records = _from_bucket(found, since, lambda: count("files", 1))
        traced = trace(key, records, quarantined)
    if as_json:
        tell_json(asdict(traced) | {"is_visible": traced.is_visible})
    else:
        _tell(traced)
    if traced.winner is None or traced.breaks:
        raise typer.Exit(1)


def _from_bucket(stack: Stack, since: Moment | None, counted: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    store = store_of(stack)
    for stored in store.list(f"{stack.prefix}/"):
        data = DataKey.parse(stack.prefix, stored.key)
        if data is None or (since is not None and data.time_ms < since.ms):
            continue
        yield from _records(stored.key, store.get(stored.key, MAX_FILE_BYTES))
        counted()


def _from_folder(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(FORMATS) and not path.name.startswith("."):
            yield from _records(path.relative_to(folder).as_posix(), path.read_bytes())


def _records(name: str, body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for record in reader_of(next(ext for ext in FORMATS if name.endswith(f".{ext}")))(body):
            yield name, record
    except Poison:
        return  # `files check` tells what is wrong; the records before that place were good


def _kept(stack: Stack, key: str) -> Iterator[Kept]:
    """Quarantined records whose own Keys give this key; one that has no readable Keys cannot be told to be of it."""
    store = store_of(stack)
    for one in read_quarantine(store, pending_quarantine(store, stack.table).objects):
        try:
            if canonical_key(orjson.loads(one.payload)["dynamodb"]["Keys"]) == key:
                yield Kept(one.key, one.reason, str(one.source.get("sequence_number") or ""))
        except (orjson.JSONDecodeError, KeyError, TypeError, Poison):
            continue


def _tell(traced: Trace) -> None:
    for title, steps in (("stream", traced.stream), ("base", traced.base)):
        tell(f"{title}: {len(steps)} records")
        for step in steps:
            mark = "►" if step == traced.winner else " "
            order = step.version if step.is_stream else f"label {_time(step.label_ms)}, run {step.run}"
            copies = f"  {step.copies} copies" if step.copies > 1 else ""
            tell(f" {mark} {step.event_name:<8} {order}  created {_time(step.created_ms)}{copies}")
            tell(f"     {step.file}")
    for kept in traced.quarantined:
        tell(f"quarantine: {kept.reason}, sequence number {kept.sequence_number or 'none'}\n     {kept.object_key}")
    for version in traced.breaks:
        tell(f"chain broken before {version}: a record is missing there, or the order is wrong")
    tell(f"{'visible' if traced.is_visible else 'not visible'}: {traced.why}")


def _time(ms: int | None) -> str:
    return "–" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
