"""Keep the history of each item (`<target>_history`, SCD2) from bronze."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from pyspark.sql import SparkSession

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound_spark.history.history_job import FILES_PER_MICRO_BATCH, HistoryJob, rebuild_history, run_history
from lakebound_spark.history.key_selection import EVERY_KEY, KeySelection
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.streams import parse_trigger
from lakebound_spark.platform.tables import absolute_path, absolute_table, companion_table
from lakebound_spark.reading.source import BYTES_PER_MERGE
from lakebound_spark.silver.config import EntitiesConfig, load_any_config, of_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when caught up or stopped by a signal, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        job = _job(options)
    except Misconfigured as error:
        return refuse("build_history", error)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        began = time.monotonic()
        if options.rebuild:
            rows = rebuild_history(spark, job)
            print(f"rows={rows}")
            print(f"rebuilt {job.target}: {count_text(rows, 'row')}, {time.monotonic() - began:.0f} s")
            return 0
        totals = run_history(spark, job, report=lambda done: print(json.dumps(asdict(done)), flush=True), stop=stop)
        print(totals)
        print(totals.sentence(job.target, time.monotonic() - began))
        return 0

    return run_job("build_history", work, job.target, job.bronze, commits=[job.target])


def _job(options: argparse.Namespace) -> HistoryJob:
    written, keys = load_any_config(options.config), EVERY_KEY
    config = of_table(written, options.config, options.target)
    if isinstance(written, EntitiesConfig):
        keys = KeySelection.of_table(written, absolute_table(options.target))
    if config.history != "scd2":
        raise Misconfigured(f"{options.config} says `history: {config.history}`; set `history: scd2`")
    if not options.rebuild and not options.checkpoint:
        raise Misconfigured("--checkpoint is missing; only --rebuild works without")
    return HistoryJob(
        bronze=absolute_table(options.bronze),
        checkpoint=absolute_path(options.checkpoint) if options.checkpoint else "",
        target=companion_table(absolute_table(options.target), "_history"),
        source_table=config.source_table,
        trigger=parse_trigger(options.trigger),
        keys=keys,
        files_per_micro_batch=options.max_files,
        bytes_per_micro_batch=options.max_bytes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="build_history", description=__doc__)
    parser.add_argument("--bronze", required=True, help="bronze table: a path (with a /) or a table's name")
    parser.add_argument("--target", required=True, help="silver table, whose name the history bears with _history")
    parser.add_argument("--checkpoint", help="folder of the stream's progress, one per target")
    parser.add_argument("--config", required=True, help="the YAML of merge_changes, with history: scd2")
    parser.add_argument("--trigger", default="available-now", help="available-now (default) or processing-time=10m")
    parser.add_argument(
        "--max-files",
        type=int,
        default=FILES_PER_MICRO_BATCH,
        help="files of bronze per micro-batch at most (%(default)s)",
    )
    parser.add_argument(
        "--max-bytes", type=int, default=BYTES_PER_MERGE, help="bytes of these files at most (%(default)s)"
    )
    parser.add_argument("--rebuild", action="store_true", help="replace the history by what the whole bronze says")
    return parser
