"""`lakebound backfill close`: the last step of a heal. Everything it wrote is merged, so its gaps are healed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.documents import S3Documents
from lakebound.adapters.table_metrics import put_metric
from lakebound.backfill.gap_closing import Closing, decide_closing
from lakebound.backfill.manifest import Manifest
from lakebound.backfill.margin import wait_ms
from lakebound.cli import silver_table
from lakebound.cli.deployed import DryRun, StackName, find_stack, store_of
from lakebound.cli.entity_tables import load_rules
from lakebound.cli.output import AsJson, aws_client, echo, echo_json
from lakebound.cli.silver_table import EngineName
from lakebound.counts import count_text
from lakebound.errors import Misconfigured, ObjectMissing
from lakebound.ports import ObjectStore
from lakebound.source.gaps import Gap, GapBook
from lakebound.times import iso
from lakebound.transport.object_keys import RunFolder
from lakebound.transport.undelivered import pending_failures

_MAX_MANIFEST_BYTES = 256 * 1024 * 1024


def command(
    run: Annotated[str, typer.Option(help="The heal's run.", show_default=False)],
    source: Annotated[
        str,
        typer.Option(
            help="The data prefix as the merge job reads it (output MergeSource, or a mirror).", show_default=False
        ),
    ],
    target: Annotated[
        str, typer.Option(help="The silver table: a folder, an s3:// or s3a:// address, or a name.", show_default=False)
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The merge job's YAML with `tables`: the heal has to be merged into all of them, and --target is the "
            "name for all.",
        ),
    ] = None,
    stack: StackName = "",
    engine: EngineName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Check that a heal is fully merged, then close the gaps that it healed; else say what comes before.

    Every file of the run has landed and is whole, every record is merged, after a scan or full export no ghost is
    left, and nothing waits to be redriven. Exit status 1 when a gap stays open.

    Silver stays marked stale until the merge job next reads the gaps: at its start, or within a minute while it runs.
    """
    rules = load_rules(config) if config is not None else None
    found = find_stack(stack)
    store = store_of(found)
    manifest = _manifest(store, found.table, run)
    book = GapBook(found.table, store, S3Documents(found.bucket, aws_client("s3")))
    with silver_table.open_healed(target, engine, rules) as silver:
        merged = silver.check_merge(source, manifest)
    dead = sum(count_messages(aws_client("sqs"), found.output("DeadLetterQueueUrl")))
    failures = len(pending_failures(store, found.table, found.stream_mapping).objects)
    margin_ms = 1000 * int(found.parameters.get("SnapshotMarginSeconds") or 60)
    closing = decide_closing(manifest, book.all(), wait_ms(margin_ms), merged, dead, failures)
    if not dry_run and not closing.is_refused:
        for gap in closing.gaps:
            book.close(gap, run)
        put_metric(aws_client("cloudwatch"), found.table, "Gap", float(bool(book.open())))
    document = _document(closing, run, dry_run, book.open())
    if as_json:
        echo_json(document)
    else:
        _print(document)
    if closing.is_refused:
        raise typer.Exit(1)


def _manifest(store: ObjectStore, table: str, run: str) -> Manifest:
    key = RunFolder.of(table, run).manifest()
    try:
        return Manifest.decode(key, store.get(key, _MAX_MANIFEST_BYTES))
    except ObjectMissing:
        raise Misconfigured(
            f"There is no manifest of a run {run} of {table}",
            hint="`lakebound backfill watch` tells whether it has ended, `lakebound backfill list` names the runs",
        ) from None


def _document(closing: Closing, run: str, dry_run: bool, still_open: list[Gap]) -> dict[str, Any]:
    return {
        "run": run,
        "dry_run": dry_run,
        "closed": [_gap(gap) for gap in closing.gaps],
        "refused": [{"what": one.what, "command": one.command} for one in closing.refusals],
        "still_open": [_gap(gap) for gap in still_open],
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "from": iso(gap.from_ms),
        "to": None if gap.to_ms is None else iso(gap.to_ms),
        "cause": gap.cause,
    }


def _print(document: dict[str, Any]) -> None:
    for one in document["refused"]:
        echo(f"not closed: {one['what']}")
        echo(f"  run: {one['command']}")
    verb = "would close" if document["dry_run"] else "closed"
    for gap in document["closed"]:
        echo(f"{verb} the gap from {gap['from']} to {gap['to']} ({gap['cause']})")
    if not document["refused"] and not document["closed"]:
        echo("its gaps are closed already")
    if document["dry_run"]:
        return
    if document["still_open"]:
        echo(f"{count_text(len(document['still_open']), 'gap', 'is', 'are')} open: lakebound status")
    elif document["closed"]:
        echo("silver's stale mark goes when merge_changes next reads the gaps: at its start, or within a minute")
