"""Merge batch files into a silver table: `merge_changes.py --source … --checkpoint … --target … --config …`."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import absolute_path, absolute_table
from lakebound_spark.reading.source import BYTES_PER_MERGE, FILES_PER_MICRO_BATCH, default_reader
from lakebound_spark.silver.config import load_config
from lakebound_spark.silver.due_merge import MERGE_BYTES, MERGE_ROWS, MergeSchedule, parse_interval
from lakebound_spark.silver.freshness import Freshness
from lakebound_spark.silver.merge_job import BRONZE, MergeJob, refusal_message, run_merge
from lakebound_spark.silver.stale_mark import default_control_folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when caught up or stopped by a signal, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job = _job(options)
    except Misconfigured as error:
        return refuse("merge_changes", error)

    def warn(text: str) -> None:
        print(f"merge_changes: {text}", file=sys.stderr, flush=True)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        started = time.monotonic()
        totals = run_merge(
            spark,
            job,
            report=lambda line: print(line, flush=True),
            warn=warn,
            stop=stop,
            freshness=Freshness(job.config.source_table) if options.publish else None,
        )
        for gap in totals.gaps(job.target):
            print(gap, file=sys.stderr)
        print(totals)
        if totals.all_refused:
            if totals.merges > 1:  # otherwise the warning has been printed
                warn(refusal_message(job, totals))
            return 1
        print(totals.sentence(job.target, time.monotonic() - started))
        return 0

    return run_job("merge_changes", work, job.target, commits=[job.target])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="merge_changes", description=__doc__)
    parser.add_argument(
        "--source", required=True, help="data prefix: the folder that holds the hour partitions; or the bronze table"
    )
    parser.add_argument("--checkpoint", required=True, help="folder of the stream's progress, one per target")
    parser.add_argument("--target", required=True, help="silver table: a path (with a /) or a table's name")
    parser.add_argument("--config", required=True, help="YAML: source_table, columns, deletes, history, …")
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
        "--merge-rows", type=int, default=MERGE_ROWS, help="merge earlier once so many rows wait (%(default)s)"
    )
    parser.add_argument(
        "--merge-bytes", type=int, default=MERGE_BYTES, help="merge earlier once so many bytes wait (%(default)s)"
    )
    parser.add_argument(
        "--publish",
        action="store_true",
        help="put how far silver is behind to CloudWatch, once a minute, for the alarms SilverLag, SilverPending and "
        "MergeMissing",
    )
    return parser


def _job(options: argparse.Namespace) -> MergeJob:
    config = load_config(options.config)
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
