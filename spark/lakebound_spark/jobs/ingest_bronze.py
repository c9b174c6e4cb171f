"""Append every record of the batch files to the bronze table, once."""

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
from lakebound_spark.bronze.bronze_table import BronzeJob, refusal_message, run_bronze
from lakebound_spark.bronze.flat_views import make_views
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.refusals import VIEWS, Refusals
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import absolute_path, absolute_table, is_path
from lakebound_spark.reading.source import FILES_PER_MICRO_BATCH, default_reader
from lakebound_spark.silver.config import load_any_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when caught up or stopped by a signal, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job = BronzeJob(
            source=absolute_path(options.source),
            checkpoint=absolute_path(options.checkpoint),
            target=absolute_table(options.target),
            source_table=load_any_config(options.config).source_table,
            trigger=parse_trigger(options.trigger),
            reader=options.reader,
            files_per_micro_batch=options.max_files,
        )
    except Misconfigured as error:
        return refuse("ingest_bronze", error)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        started = time.monotonic()
        totals = run_bronze(spark, job, report=lambda done: print(json.dumps(asdict(done)), flush=True), stop=stop)
        if options.views:
            refusals = Refusals(lambda sentence: print(f"ingest_bronze: {sentence}", file=sys.stderr))
            instead = "the records are appended all the same"
            statements = refusals.attempt(VIEWS, job.target, instead, lambda: make_views(spark, job.target))
            if statements and is_path(job.target):
                print(*(f"{statement};" for statement in statements), sep="\n")
        print(totals)
        if totals.all_refused:
            print(f"ingest_bronze: {refusal_message(job, totals)}", file=sys.stderr)
            return 1
        print(totals.sentence(job.target, time.monotonic() - started))
        return 0

    return run_job("ingest_bronze", work, job.target, commits=[job.target])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ingest_bronze", description=__doc__)
    parser.add_argument("--source", required=True, help="data prefix: the folder that holds the hour partitions")
    parser.add_argument("--checkpoint", required=True, help="folder of the stream's progress, one per target")
    parser.add_argument("--target", required=True, help="bronze table: a path (with a /) or a table's name")
    parser.add_argument("--config", required=True, help="the YAML of merge_changes; bronze reads source_table of it")
    parser.add_argument("--trigger", default="available-now", help="available-now (default) or processing-time=30s")
    parser.add_argument("--reader", choices=("auto-loader", "files"), default=default_reader())
    parser.add_argument(
        "--max-files", type=int, default=FILES_PER_MICRO_BATCH, help="files per micro-batch at most (%(default)s)"
    )
    parser.add_argument(
        "--views",
        action="store_true",
        help="make <target>_flat and <target>_changes at the end; of a path as temporary views of this session, and "
        "print the two statements that make them in another",
    )
    return parser
