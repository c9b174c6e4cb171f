"""Purge, compact, cluster and clean silver and the tables beside it: `maintain.py --target … --config …`."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.tables import absolute_table, companion_table, exists
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, load_any_config, of_table
from lakebound_spark.upkeep.maintenance import MIN_RETENTION_HOURS, UpkeepJob, UpkeepTotals, maintain

_LEASES: Final = ("", "_history", "_audits")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when done, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    target = absolute_table(options.target)
    try:
        jobs = _jobs(options, target)
    except Misconfigured as error:
        return refuse("maintain", error)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        if jobs[-1].is_whole and not exists(spark, companion_table(target, "_metrics")):
            # A name that is mistyped is neither one of the tables nor the name for all of them.
            tables = ", ".join(job.target for job in jobs[:-1])
            raise Misconfigured(
                f"{target} is none of the tables of {options.config} ({tables}), and merge_changes has not run with it "
                "as the name for all; name one of them as --target, or the --target of merge_changes"
            )
        refusals = Refusals(lambda sentence: print(f"maintain: {sentence}", file=sys.stderr, flush=True))
        for job in jobs:
            started, totals = time.monotonic(), UpkeepTotals()
            for kept in maintain(spark, job, time.time_ns() // 1_000_000, refusals):
                print(json.dumps(asdict(kept)), flush=True)
                totals.add(kept)
            print(totals.sentence(job, time.monotonic() - started), flush=True)
        return 0

    tables = [job.target for job in jobs if not job.is_whole]
    # Each has a driver of its own: the merge or bronze, the history, the audit.
    commits = [companion_table(table, suffix) if suffix else table for table in tables for suffix in _LEASES]
    return run_job("maintain", work, target, *tables, commits=[] if options.dry_run else commits, again="goes on")


def _jobs(options: argparse.Namespace, target: str) -> list[UpkeepJob]:
    """One job of one table. For several tables one of each, and one of what stands beside the name for all."""
    hours, dry_run = options.retain_hours, options.dry_run
    config = load_any_config(options.config)
    if isinstance(config, EntitiesConfig) and target not in config.tables:
        each = [UpkeepJob(table, own, hours, dry_run) for table, own in config.tables.items()]
        return [*each, UpkeepJob(target, MergeConfig(config.source_table), hours, dry_run, is_whole=True)]
    return [UpkeepJob(target, of_table(config, options.config, target), hours, dry_run)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maintain", description=__doc__)
    parser.add_argument(
        "--target",
        required=True,
        help="silver table: a path (with a /) or a table's name; where --config has several tables, one of them, or "
        "the name for all",
    )
    parser.add_argument("--config", required=True, help="the YAML of merge_changes: its deletes decide what is purged")
    parser.add_argument(
        "--retain-hours",
        type=int,
        default=MIN_RETENTION_HOURS,
        help="age of unused files that VACUUM removes (%(default)s, which is the least)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    return parser
