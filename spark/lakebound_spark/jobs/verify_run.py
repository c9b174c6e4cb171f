"""Compare the files of a finished backfill run with silver, key by key and item by item as values."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound.operate.verify import document, report_lines
from lakebound_spark.audits.verify_run import verify_run
from lakebound_spark.jobs.sweep import add_run_arguments, run_arguments
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.tables import absolute_table
from lakebound_spark.upkeep.sweep import SweepJob, SweepRefusal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when equal, 1 when not, refused or failed, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        run = SweepJob(**run_arguments(options))
    except Misconfigured as error:
        return refuse("verify_run", error)
    bronze = absolute_table(options.bronze) if options.bronze else ""

    def work(spark: SparkSession, stop: threading.Event) -> int:
        try:
            report = verify_run(spark, run, bronze=bronze, live=options.live)
        except SweepRefusal as refused:
            print(f"verify_run: refused: {refused}", file=sys.stderr)
            return 1
        if options.json:
            print(json.dumps(document(run.table, run.target, report)))
        else:
            print("\n".join(report_lines(report, options.show)))
        return 0 if report.is_equal else 1

    return run_job("verify_run", work, run.target, *run.silver.tables, again="compares again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="verify_run", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--bronze", default="", help="bronze table, to tell stale from different")
    parser.add_argument("--live", action="store_true", help="count changes that wait for a merge as merged")
    parser.add_argument("--show", type=int, default=20, help="keys shown of each list (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the report as one JSON document, every list whole")
    return parser
