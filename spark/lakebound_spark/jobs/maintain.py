"""Purge, compact, cluster and clean silver and the tables beside it: `maintain.py --target … --config …`."""

from __future__ import annotations

import argparse
import functools
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_table import is_bronze
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
        config = load_any_config(options.config)
    except Misconfigured as error:
        return refuse("maintain", error)

    @functools.cache  # the leases and the work ask for them, and each answer costs questions to the catalog
    def jobs(spark: SparkSession) -> list[UpkeepJob]:
        return _jobs(spark, options, config, target)

    def commits(spark: SparkSession) -> list[str]:
        # Each has a driver of its own: the merge or bronze, the history, the audit.
        tables = [job.target for job in jobs(spark) if not job.is_whole]
        return [companion_table(table, suffix) if suffix else table for table in tables for suffix in _LEASES]

    def work(spark: SparkSession, stop: threading.Event) -> int:
        refusals = Refusals(lambda sentence: print(f"maintain: {sentence}", file=sys.stderr, flush=True))
        for job in jobs(spark):
            started, totals = time.monotonic(), UpkeepTotals()
            for kept in maintain(spark, job, time.time_ns() // 1_000_000, refusals):
                print(json.dumps(asdict(kept)), flush=True)
                totals.add(kept)
            print(totals.sentence(job, time.monotonic() - started), flush=True)
        return 0

    tables = list(config.tables) if isinstance(config, EntitiesConfig) else []
    return run_job("maintain", work, target, *tables, commits=() if options.dry_run else commits, again="goes on")


def _jobs(
    spark: SparkSession, options: argparse.Namespace, config: MergeConfig | EntitiesConfig, target: str
) -> list[UpkeepJob]:
    """One job of one table. With the name for several tables one of each, and one of what stands beside that name.

    Raises Misconfigured where the target is neither one of the tables, nor their bronze, nor the name for all.
    """
    hours, dry_run = options.retain_hours, options.dry_run
    if not isinstance(config, EntitiesConfig) or target in config.tables:
        return [UpkeepJob(target, of_table(config, options.config, target), hours, dry_run)]
    about_all = MergeConfig(config.source_table)
    is_table = exists(spark, target)
    if is_table and is_bronze(spark, target):
        return [UpkeepJob(target, about_all, hours, dry_run)]
    if is_table or not exists(spark, companion_table(target, "_metrics")):
        # A name that is mistyped is none of the three; a history has a `_metrics` too, and is a table.
        raise Misconfigured(
            f"{target} is none of the tables of {options.config} ({', '.join(config.tables)}) and no bronze table, and "
            "merge_changes has not run with it as the name for all; name one of them as --target, or the --target of "
            "ingest_bronze or merge_changes"
        )
    each = [UpkeepJob(table, own, hours, dry_run) for table, own in config.tables.items()]
    return [*each, UpkeepJob(target, about_all, hours, dry_run, is_whole=True)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maintain", description=__doc__)
    parser.add_argument(
        "--target",
        required=True,
        help="silver or bronze table: a path (with a /) or a table's name; where --config has several silver tables, "
        "one of them, their bronze, or the name for all",
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
