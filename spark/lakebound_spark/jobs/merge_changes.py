"""Merge batch files into silver: `merge_changes.py --source … --checkpoint … --target … --config …`."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import absolute_path, absolute_table
from lakebound_spark.reading.source import BYTES_PER_MERGE, FILES_PER_MICRO_BATCH, default_reader
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, load_any_config
from lakebound_spark.silver.due_merge import MERGE_BYTES, MERGE_ROWS, MergeSchedule, parse_interval
from lakebound_spark.silver.entity_job import EntityJob
from lakebound_spark.silver.freshness import Freshness
from lakebound_spark.silver.merge_job import BRONZE, MergeJob
from lakebound_spark.silver.merge_run import SilverJob, run_merge
from lakebound_spark.silver.stale_mark import default_control_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when caught up or stopped by a signal, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job: SilverJob[Any] = _job(options)
    except Misconfigured as error:
        return refuse("merge_changes", error)

    def report(line: str) -> None:
        print(line, flush=True)

    def warn(text: str) -> None:
        print(f"merge_changes: {text}", file=sys.stderr, flush=True)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        started = time.monotonic()
        freshness = Freshness(job.whole.config.source_table) if options.publish else None
        totals = run_merge(spark, job, report=report, warn=warn, stop=stop, freshness=freshness)
        for gap in totals.gaps(absolute_table(options.target)):
            print(gap, file=sys.stderr)
        print(totals)
        if totals.all_refused:
            if totals.merges > 1:  # otherwise the warning has been printed
                warn(job.refusal_message(totals))
            return 1
        print(totals.sentence(absolute_table(options.target), time.monotonic() - started))
        return 0

    at = absolute_table(options.target)
    tables = [table.target for table in job.tables()]
    return run_job("merge_changes", work, at, *tables, commits=tables)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="merge_changes", description=__doc__)
    parser.add_argument(
        "--source", required=True, help="data prefix: the folder that holds the hour partitions; or the bronze table"
    )
    parser.add_argument("--checkpoint", required=True, help="folder of the stream's progress, one per target")
    parser.add_argument(
        "--target",
        required=True,
        help="silver table: a path (with a /) or a table's name; where the configuration has `tables`, a name for all "
        "of them, beside which <target>_metrics and <target>_bad_files stand",
    )
    parser.add_argument("--config", required=True, help="YAML: source_table, columns, deletes, history, … or tables")
    parser.add_argument(
        "--rules-changed",
        action="store_true",
        help="keys may move between the configuration's `tables`: remove rows from the tables that they leave, and "
        "with a new checkpoint bring them to the others",
    )
    parser.add_argument("--trigger", default="available-now", help="available-now (default) or processing-time=30s")
    parser.add_argument("--reader", choices=("auto-loader", "files", BRONZE), default=default_reader())
    parser.add_argument(
        "--aside",
        help="the folder _lakebound/<table>, whose gaps mark silver stale (default: that of the bucket of an s3:// or "
        "s3a:// source; '' for none)",
    )
    parser.add_argument(
        "--max-files", type=int, default=FILES_PER_MICRO_BATCH, help="files per micro-batch at most (%(default)s)"
    )
    parser.add_argument(
        "--max-bytes", type=int, default=BYTES_PER_MERGE, help="compressed bytes per MERGE at most (%(default)s)"
    )
    parser.add_argument(
        "--merge-every",
        default="0",
        help="0 (default): each micro-batch is merged at once. 10m: it is appended to <target>_changes and visible in "
        "<target>_live within seconds, and merged with others ten minutes after the last merge (s, m, h)",
    )
    parser.add_argument(
        "--merge-rows",
        type=int,
        default=MERGE_ROWS,
        help="merge earlier once so many rows of <target>_changes wait (%(default)s)",
    )
    parser.add_argument(
        "--merge-bytes",
        type=int,
        default=MERGE_BYTES,
        help="merge earlier once so many bytes of <target>_changes wait (%(default)s)",
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="put how far silver is behind to CloudWatch, once a minute, for the alarms SilverLag, SilverPending and "
        "MergeMissing",
    )
    return parser


def _job(options: argparse.Namespace) -> MergeJob | EntityJob:
    config = load_any_config(options.config)
    if isinstance(config, EntitiesConfig):
        whole = _merge_job(options, MergeConfig(config.source_table))
        return EntityJob.of(whole, config, accepts_rules=options.rules_changed)
    if options.rules_changed:
        raise Misconfigured(f"--rules-changed: {options.config} is about one table, which has every key")
    return _merge_job(options, config)


def _merge_job(options: argparse.Namespace, config: MergeConfig) -> MergeJob:
    folder = default_control_folder(options.source, config.source_table) if options.aside is None else options.aside
    return MergeJob(
        source=absolute_table(options.source) if options.reader == BRONZE else absolute_path(options.source),
        checkpoint=absolute_path(options.checkpoint),
        target=absolute_table(options.target),
        config=config,
        trigger=parse_trigger(options.trigger),
        reader=options.reader,
        files_per_micro_batch=options.max_files,
        bytes_per_merge=options.max_bytes,
        control_folder=absolute_path(folder) if folder else "",
        schedule=MergeSchedule(parse_interval(options.merge_every), options.merge_rows, options.merge_bytes),
    )
