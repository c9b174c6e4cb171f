"""Turn rows that the source no longer has into ABSENT records of the layout, with every precondition checked."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from lakebound_spark.errors import Misconfigured
from lakebound_spark.session import default_log, job_session
from lakebound_spark.sweep import Refused, Sweep, Swept, sweep
from lakebound_spark.tables import is_path
from lakebound_spark.versions import condition_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when swept or nothing to sweep, 1 when refused or failed, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        swept = _sweep(options)
    except Misconfigured as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except Refused as refused:
        print(f"sweep: refused, nothing was written: {refused}", file=sys.stderr)
        return 1
    except Exception as error:
        # The class and Spark's error name only: a message can quote an item's values.
        name = condition_of(error)
        print(f"sweep: stopped by {name}; sweeping again is safe. Spark's own words: {default_log()}", file=sys.stderr)
        return 1
    default_log().unlink(missing_ok=True)
    print(swept)
    if swept.files:
        print("merge them with merge_changes.py; sweeping again then finds nothing")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sweep", description=__doc__)
    parser.add_argument("--run", required=True, help="the backfill run: a complete scan or a full export")
    parser.add_argument("--table", required=True, help="source table")
    parser.add_argument("--source", required=True, help="data prefix: the folder that holds the hour partitions")
    parser.add_argument("--aside", required=True, help="the folder _lakebound/<table>, with manifests/ in it")
    parser.add_argument("--target", required=True, help="silver table: a path (with a /) or a table's name")
    parser.add_argument("--max-deletes", type=int, default=0, help="approve so many deletions above the guard")
    parser.add_argument("--partition-template", default="dt=%Y-%m-%d/HH=%H", help="hour partition of the files written")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be removed, and write nothing")
    return parser


def _sweep(options: argparse.Namespace) -> Swept:
    job = Sweep(
        run=options.run,
        table=options.table,
        source=options.source,
        aside=options.aside,
        target=options.target,
        max_deletes=options.max_deletes,
        dry_run=options.dry_run,
        partition_template=options.partition_template,
    )
    spark, ours = job_session("lakebound sweep", catalog=not is_path(job.target))
    try:
        return sweep(spark, job, time.time_ns() // 1_000_000)
    finally:
        if ours:
            spark.stop()
