"""Keep the history of each item (`<target>_history`, SCD2) from bronze."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from uuid import uuid4

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_source import stream_of_bronze
from lakebound_spark.bronze.bronze_table import source_table_of
from lakebound_spark.history.history_table import (
    BRONZE_FIELDS,
    HistoryResult,
    HistoryWork,
    prepare_history,
    rebuild,
)
from lakebound_spark.platform.job_main import refuse, run_job
from lakebound_spark.platform.metrics import count_text
from lakebound_spark.platform.streams import claim_checkpoint, parse_trigger, run_micro_batches, staging_folder
from lakebound_spark.platform.tables import absolute_path, absolute_table, companion_table
from lakebound_spark.reading.source import BYTES_PER_MERGE
from lakebound_spark.silver.config import load_config

FILES_PER_MICRO_BATCH = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when caught up or stopped by a signal, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        config, trigger = load_config(options.config), parse_trigger(options.trigger)
        if config.history != "scd2":
            raise Misconfigured(f"{options.config} says `history: {config.history}`; set `history: scd2`")
        if not options.rebuild and not options.checkpoint:
            raise Misconfigured("--checkpoint is missing; only --rebuild works without")
    except Misconfigured as error:
        return refuse("build_history", error)
    bronze, target = absolute_table(options.bronze), companion_table(absolute_table(options.target), "_history")
    checkpoint = absolute_path(options.checkpoint) if options.checkpoint else ""

    def work(spark: SparkSession, stop: threading.Event) -> int:
        began = time.monotonic()
        there = source_table_of(spark, bronze)
        if there != config.source_table:
            raise Misconfigured(f"{bronze} holds the records of {there}, not of {config.source_table}")
        table_id = prepare_history(spark, target, config.source_table)
        if options.rebuild:
            rows = rebuild(spark, target, bronze)
            print(f"rows={rows}")
            print(f"rebuilt {target}: {count_text(rows, 'row')}, {time.monotonic() - began:.0f} s")
            return 0
        claim_checkpoint(spark, checkpoint, target, table_id)
        rows = 0

        def tell(done: HistoryResult) -> None:
            nonlocal rows
            rows += done.rows
            print(json.dumps(asdict(done)), flush=True)

        stream = stream_of_bronze(spark, bronze, options.max_files, options.max_bytes).select(*BRONZE_FIELDS)
        work = HistoryWork(target, uuid4().hex, bronze, staging_folder(checkpoint))
        run_micro_batches(stream, work, checkpoint, trigger, stop, report=tell)
        print(f"rows={rows}")
        seconds = time.monotonic() - began
        print(f"told {count_text(rows, 'row')} of {target}, {seconds:.0f} s" if rows else f"nothing new for {target}")
        return 0

    return run_job("build_history", work, target, bronze, commits=[target])


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
