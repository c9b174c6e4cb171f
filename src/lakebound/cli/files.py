"""`lakebound files`: the batch files of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.folder import PREFIX, FolderFiles
from lakebound.adapters.s3 import S3Store
from lakebound.cli.given_options import refuse_without
from lakebound.cli.output import AsJson, aws_client, bars, echo, echo_json
from lakebound.cli.paths import folder_to_fill
from lakebound.counts import count_text
from lakebound.operate.file_check import CheckReport, Files, check
from lakebound.operate.flatten_files import flatten_all
from lakebound.operate.mirror import MirrorPlan, copy_missing, plan_mirror

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


@app.command()
def mirror(
    context: typer.Context,
    source: Annotated[
        Location, typer.Argument(parser=Location.parse, metavar="s3://BUCKET/PREFIX", help="The data prefix.")
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            file_okay=False, callback=folder_to_fill, help="Where the copies go; made when it is not there."
        ),
    ],
    follow: Annotated[bool, typer.Option(help="Go on with new files until interrupted.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="With --follow: seconds between two looks.")] = 2.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be copied, and copy nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a stack's batch files that FOLDER lacks, each whole or not at all.

    Files never change, so this can be repeated at any time and Spark can read FOLDER meanwhile. Exit status 1 when
    there is no batch file below the prefix; --follow waits for the first.
    """
    if not follow:
        refuse_without(context, "--follow", "every")
    store = S3Store(source.bucket, aws_client("s3"))
    clock = SystemClock()
    has_said = False
    while True:
        plan = plan_mirror(store, source.prefix, folder)
        if not dry_run:
            with bars(quiet=as_json, totals={"files": len(plan.missing)}) as count:
                copy_missing(store, plan, folder, copied=lambda stored: count("files", 1))
        is_empty = not (plan.missing or plan.present)
        if plan.missing or not follow or (is_empty and not has_said):
            _print(source, folder, plan, dry_run=dry_run, as_json=as_json)
            has_said = True
        if not follow or dry_run:
            raise typer.Exit(int(is_empty))
        clock.sleep(every)


def _print(source: Location, folder: Path, plan: MirrorPlan, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        echo_json(
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
            echo(f"would copy {stored.key} ({count_text(stored.size, 'byte')})")
    if not (plan.missing or plan.present):
        echo(_none_below(source))
        return
    verb = "would copy" if dry_run else "copied"
    amount = f"{count_text(len(plan.missing), 'file')}, {count_text(plan.size, 'byte')}"
    echo(f"{verb} {amount}, into {folder}; {_were_there(plan.present)}")


def _none_below(source: str | Location) -> str:
    return f"no batch file below {source}; the data prefix of a stack is its output DataPrefix, s3://BUCKET/ddb/TABLE"


def _were_there(number: int) -> str:
    return f"{number:,} {'was' if number == 1 else 'were'} there"


Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="The data prefix (s3://BUCKET/PREFIX), or a folder of batch files.")
]


@app.command("check")
def check_files(
    source: Source,
    threads: Annotated[int, typer.Option(min=1, max=32, help="Files read at the same time.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Read every batch file to its end and prove it against its name: digest, every member, every record, count, time.

    Exit status 1 with the list when one is not whole, and when there is none: a wrong prefix proves nothing.
    """
    files, prefix = open_source(source)
    with bars(quiet=as_json) as count:

        def checked(more_files: int, records: int) -> None:
            count("files", more_files)
            count("records", records)

        report = check(files, prefix, checked=checked, threads=threads)
    _print_check(source, report, as_json=as_json)
    if report.damaged or not report.files:
        raise typer.Exit(1)


@app.command("flatten")
def flatten_files(
    source: Source,
    folder: Annotated[
        Path | None,
        typer.Argument(
            file_okay=False,
            callback=folder_to_fill,
            help="Where the plain files go. Without it: everything to stdout.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be written, and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write batch files of any format as plain JSON lines: exact numbers, sets as sorted lists, binary as base64.

    docs/FORMAT.md lists what can then no longer be told apart. Exit status 1 when a file is not whole, which is left
    out, and when there is none.
    """
    files, prefix = open_source(source)
    with bars(quiet=as_json or folder is None) as count:
        result = flatten_all(files, prefix, folder, dry_run=dry_run, flattened=lambda: count("files", 1))
    is_empty = not (result.files or result.present or result.damaged)
    if as_json:
        echo_json(
            {
                "source": source,
                "folder": None if folder is None else str(folder),
                "dry_run": dry_run,
                "files": result.files,
                "records": result.records,
                "present": result.present,
                "damaged": result.damaged,
            }
        )
    else:
        verb = "would write" if dry_run else "wrote"
        where = "to stdout" if folder is None else f"into {folder}"
        lines = [f"{named(source, key)}: {reason}" for key, reason in result.damaged.items()]
        amount = f"{count_text(result.files, 'file')}, {count_text(result.records, 'record')}"
        lines.append(f"{verb} {amount}, {where}; {_were_there(result.present)}")
        if is_empty:
            lines = [_none_below(source)]
        for line in lines:
            typer.echo(line, err=folder is None)
    if result.damaged or is_empty:
        raise typer.Exit(1)


def open_source(source: str) -> tuple[Files, str]:
    """What to read and under which prefix. Raises BadParameter, which is a usage error."""
    if "://" in source:
        location = Location.parse(source)
        return S3Store(location.bucket, aws_client("s3")), location.prefix
    # An empty text, as a shell makes it of a variable that is not set, would be the folder of the process.
    if not source or not Path(source).is_dir():
        raise typer.BadParameter(f"{source or 'an empty text'} is neither s3://bucket/prefix nor a folder")
    return FolderFiles(Path(source)), PREFIX


def named(source: str, key: str) -> str:
    """What a person calls the file of this key: its path in their folder, or its key in the bucket."""
    return key if "://" in source else str(Path(source) / key.removeprefix(f"{PREFIX}/"))


def _print_check(source: str, report: CheckReport, *, as_json: bool) -> None:
    if as_json:
        echo_json(
            {
                "source": source,
                "files": report.files,
                "records": report.records,
                "bytes": report.bytes,
                "others": report.others,
                "damaged": [{"key": one.key, "code": one.code, "detail": one.detail} for one in report.damaged],
            }
        )
        return
    for one in report.damaged:
        echo(f"{named(source, one.key)}: {one.code}, {one.detail}")
    if not report.files:
        echo(_none_below(source))
        return
    whole = report.files - len(report.damaged)
    amount = f"{count_text(report.records, 'record')}, {count_text(report.bytes, 'byte')}"
    files = count_text(report.files, "file")
    echo(f"{whole:,} of {files} whole, {amount}; {count_text(report.others, 'other object')} passed over")
