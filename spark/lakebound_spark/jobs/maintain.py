"""Purge, compact, cluster and clean silver and the tables beside it: `maintain.py --target … --config …`."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.tables import absolute_table, companion_table
from lakebound_spark.silver.config import load_config
from lakebound_spark.upkeep.maintenance import MIN_RETENTION_HOURS, UpkeepJob, UpkeepTotals, maintain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when done, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job = UpkeepJob(
            absolute_table(options.target),
            load_config(options.config, options.target),
            options.retain_hours,
            options.dry_run,
        )
    except Misconfigured as error:
        return refuse("maintain", error)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        started, totals = time.monotonic(), UpkeepTotals()
        refusals = Refusals(lambda sentence: print(f"maintain: {sentence}", file=sys.stderr, flush=True))
        for kept in maintain(spark, job, time.time_ns() // 1_000_000, refusals):
            print(json.dumps(asdict(kept)), flush=True)
            totals.add(kept)
        print(totals.sentence(job, time.monotonic() - started))
        return 0

    # Each has a driver of its own: the merge or bronze, the history, the audit.
    commits = [job.target, *(companion_table(job.target, suffix) for suffix in ("_history", "_audits"))]
    return run_job("maintain", work, job.target, commits=[] if job.dry_run else commits, again="goes on")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maintain", description=__doc__)
    parser.add_argument("--target", required=True, help="silver table: a path (with a /) or a table's name")
    parser.add_argument("--config", required=True, help="the YAML of merge_changes: its deletes decide what is purged")
    parser.add_argument(
        "--retain-hours",
        type=int,
        default=MIN_RETENTION_HOURS,
        help="age of unused files that VACUUM removes (%(default)s, which is the least)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    return parser
