"""Run bronze, silver, history, upkeep and the audit of one or several tables in one driver, each on its schedule."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound.times import interval_seconds
from lakebound_spark.lake.driver import plan_lake, run_lake
from lakebound_spark.lake.fleet_config import LeftOut, load_fleet
from lakebound_spark.lake.telling import tell_left_out
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.tables import absolute_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when each step's last turn went well, 1 when not, 2 for what a person has to set right."""
    options = _parser().parse_args(arguments)
    try:
        fleet = load_fleet(options.config)
    except Misconfigured as error:
        return refuse("run", error)

    left_out = list(fleet.left_out)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        absent = {one.table for one in left_out}
        tables = [table for table in fleet.tables if table.target not in absent]
        if options.dry_run:
            tell_left_out(left_out, as_json=options.json)
            print(plan_lake(spark, tables, once=options.once, as_json=options.json, now=time.time()))
            return 2 if left_out else 0
        if not tables:
            raise Misconfigured(f"no table can run: {left_out[0].why}")
        return run_lake(
            spark,
            tables,
            stop,
            once=options.once,
            parallel=options.parallel,
            as_json=options.json,
            fail_after=options.fail_after,
            left_out=left_out,
        )

    def leave_out(target: str, error: Misconfigured) -> None:
        left_out.append(LeftOut(target, str(error)))

    commits = {table.target: table.commits() for table in fleet.tables}
    return run_job(
        "run",
        work,
        absolute_path(options.config),
        *(place for places in commits.values() for place in places),
        commits={} if options.dry_run else commits,
        leave_out=leave_out if fleet.has_lakes else None,
        keeps_log=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML: tables, a list with an entry for each table, or lakes")
    parser.add_argument("--once", action="store_true", help="run each step that is due once and to its end, then end")
    parser.add_argument(
        "--parallel", type=_positive, default=1, metavar="N", help="tables worked on at the same time (%(default)s)"
    )
    parser.add_argument(
        "--fail-after",
        type=_interval,
        default="0",
        metavar="INTERVAL",
        help="end with status 1 once a step has failed for so long (30m, 1h), so that the platform tells somebody and "
        "starts the job again; 0 (default): never",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a step, for machines")
    parser.add_argument("--dry-run", action="store_true", help="print when each step is due, and do nothing")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return int(text)


def _interval(text: str) -> int:
    seconds = interval_seconds(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{text} is no interval; write 30s, 5m, 2h, 1d or 0")
    return seconds
