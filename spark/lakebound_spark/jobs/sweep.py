"""Turn rows that the source no longer has into ABSENT records of the layout, with every precondition checked."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.tables import absolute_path, absolute_table
from lakebound_spark.silver.config import EntitiesConfig, load_any_config
from lakebound_spark.upkeep.sweep import SweepJob, SweepRefusal, sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when swept or nothing to sweep, 1 when refused or failed, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job = SweepJob(
            **run_arguments(options),
            max_deletes=options.max_deletes,
            dry_run=options.dry_run,
            partition_template=options.partition_template,
        )
    except Misconfigured as error:
        return refuse("sweep", error)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        try:
            swept = sweep(spark, job, time.time_ns() // 1_000_000)
        except SweepRefusal as refused:
            print(f"sweep: refused, nothing was written: {refused}", file=sys.stderr)
            return 1
        print(swept)
        rows = f"{swept.ghosts:,} of {count_text(swept.visible, 'row')}"
        if swept.files:
            print(
                f"wrote ABSENT records for {rows} of {job.target}; merge them with merge_changes.py; sweeping again "
                "then finds nothing"
            )
        elif swept.ghosts:
            print(f"would write ABSENT records for {rows} of {job.target}")
        else:
            print(f"nothing to sweep: every row of {job.target} is in the run, or newer")
        return 0

    return run_job("sweep", work, job.target, *job.silver.tables, again="looks again")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a backfill run and the silver table it is compared with."""
    parser.add_argument("--run", required=True, help="the backfill run: a complete scan or a full export")
    parser.add_argument("--table", required=True, help="source table")
    parser.add_argument("--source", required=True, help="data prefix: the folder that holds the hour partitions")
    parser.add_argument("--aside", required=True, help="the folder _lakebound/<table>, with manifests/ in it")
    parser.add_argument("--target", required=True, help="silver table: a path (with a /) or a table's name")
    parser.add_argument(
        "--config", help="the YAML of merge_changes where it has `tables`: all of them together are compared"
    )


def run_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_run_arguments` read, as fields of a SweepJob. Raises Misconfigured as `load_any_config` does."""
    config = load_any_config(options.config) if options.config else None
    places = {"source": absolute_path(options.source), "control_folder": absolute_path(options.aside)}
    named = {"run": options.run, "table": options.table, "target": absolute_table(options.target)}
    return named | places | {"config": config if isinstance(config, EntitiesConfig) else None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sweep", description=__doc__)
    add_run_arguments(parser)
    parser.add_argument("--max-deletes", type=int, default=0, help="approve so many deletions above the guard")
    parser.add_argument("--partition-template", default="dt=%Y-%m-%d/HH=%H", help="hour partition of the files written")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be removed, and write nothing")
    return parser
