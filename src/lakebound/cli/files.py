"""`lakebound files`: the batch files of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.s3 import S3Store
from lakebound.cli.mirror import MirrorPlan, copy_missing, plan_mirror
from lakebound.cli.telling import AsJson, aws_client, bars, tell, tell_json

app = typer.Typer(no_args_is_help=True, help="The batch files of a stack.")


@dataclass(frozen=True, slots=True)
class Location:
    """`s3://bucket/prefix`."""

    bucket: str
    prefix: str

    @staticmethod
    def parse(text: str) -> Location:
        """Raises BadParameter, which is a usage error."""
        scheme, _, rest = text.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not bucket or not prefix.strip("/"):
            raise typer.BadParameter(f"{text} is not like s3://bucket/prefix")
        return Location(bucket, prefix.strip("/"))

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


@app.callback()
def _files() -> None:
    """Keeps `files` a group while it has one verb."""


@app.command()
def mirror(
    source: Annotated[
        Location, typer.Argument(parser=Location.parse, metavar="s3://BUCKET/PREFIX", help="The data prefix.")
    ],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where the copies go; made when it is not there.")],
    follow: Annotated[bool, typer.Option(help="Go on with new files until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks with --follow.")] = 2.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be copied, and copy nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a stack's batch files that FOLDER lacks, each whole or not at all.

    Files never change, so this can be repeated at any time and Spark can read FOLDER meanwhile.
    """
    store = S3Store(source.bucket, aws_client("s3"))
    clock = SystemClock()
    while True:
        plan = plan_mirror(store, source.prefix, folder)
        if not dry_run:
            with bars(quiet=as_json, totals={"files": len(plan.missing)}) as count:
                copy_missing(store, plan, folder, copied=lambda stored: count("files", 1))
        if plan.missing or not follow:
            _tell(source, folder, plan, dry_run=dry_run, as_json=as_json)
        if not follow or dry_run:
            return
        clock.sleep(every)


def _tell(source: Location, folder: Path, plan: MirrorPlan, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        tell_json(
            {
                "source": str(source),
                "folder": str(folder),
                "dry_run": dry_run,
                "copied": 0 if dry_run else len(plan.missing),
                "to_copy": [stored.key for stored in plan.missing] if dry_run else [],
                "bytes": plan.size,
                "present": plan.present,
            }
        )
        return
    if dry_run:
        for stored in plan.missing:
            tell(f"would copy {stored.key} ({stored.size:,} bytes)")
    verb = "would copy" if dry_run else "copied"
    tell(f"{verb} {len(plan.missing):,} files, {plan.size:,} bytes, into {folder}; {plan.present:,} were there")
