"""Audit bronze: the old-image chain of every key, times in version order, versions with two images."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict

from pyspark.sql import SparkSession

from lakebound_spark.audits.chain_audit import audit, record_audit, records_to_audit
from lakebound_spark.audits.chain_metric import publish_chain_breaks
from lakebound_spark.bronze.bronze_table import source_table_of
from lakebound_spark.platform.job_main import run_job
from lakebound_spark.platform.tables import absolute_table, companion_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when nothing is wrong, 1 when something is or after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)

    bronze = absolute_table(options.bronze)

    def work(spark: SparkSession, stop: threading.Event) -> int:
        started = time.monotonic()
        table = source_table_of(spark, bronze)
        found = audit(records_to_audit(spark, bronze, options.days), examples=options.show)
        record_audit(spark, bronze, found)
        print(json.dumps({"source_table": table, **asdict(found)}), flush=True)
        if options.publish:
            publish_chain_breaks(table, found.chain_breaks)
        print(found)
        print(found.sentence(bronze, time.monotonic() - started))
        return 0 if found.is_clean else 1

    return run_job("audit", work, bronze, commits=[companion_table(bronze, "_audits")], again="audits again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="audit", description=__doc__)
    parser.add_argument("--bronze", required=True, help="bronze table: a path (with a /) or a table's name")
    parser.add_argument(
        "--days", type=int, default=0, help="only keys that a record ingested in the last DAYS touches (default: all)"
    )
    parser.add_argument("--show", type=int, default=20, help="broken keys named at most (%(default)s)")
    parser.add_argument(
        "--publish", action="store_true", help="put the metric ChainBreaks to CloudWatch, for its alarm"
    )
    return parser
