"""Purge, compact, cluster and clean silver and the tables beside it: `maintain.py --target … --config …`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from lakebound_spark.config import load_config
from lakebound_spark.errors import Misconfigured
from lakebound_spark.maintenance import LEAST_RETENTION_HOURS, Upkeep, maintain
from lakebound_spark.session import default_log, job_session
from lakebound_spark.tables import is_path
from lakebound_spark.versions import condition_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job: 0 when done, 1 after a failure, 2 for what a person set wrong."""
    options = _parser().parse_args(arguments)
    try:
        _maintain(options)
    except Misconfigured as error:
        print(f"maintain: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        # The class and Spark's error name only: a message can quote an item's values.
        print(
            f"maintain: stopped by {condition_of(error)} at {options.target}; running it again is safe. "
            f"Spark's own words: {default_log()}",
            file=sys.stderr,
        )
        return 1
    default_log().unlink(missing_ok=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="maintain", description=__doc__)
    parser.add_argument("--target", required=True, help="silver table: a path (with a /) or a table's name")
    parser.add_argument("--config", required=True, help="the YAML of merge_changes: its deletes decide what is purged")
    parser.add_argument(
        "--retain-hours",
        type=int,
        default=LEAST_RETENTION_HOURS,
        help="age of unused files that VACUUM removes (%(default)s, which is the least)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")
    return parser


def _maintain(options: argparse.Namespace) -> None:
    job = Upkeep(options.target, load_config(options.config), options.retain_hours, options.dry_run)
    spark, ours = job_session("lakebound maintain", catalog=not is_path(job.target))
    try:
        for kept in maintain(spark, job, time.time_ns() // 1_000_000):
            print(json.dumps(asdict(kept)), flush=True)
    finally:
        if ours:
            spark.stop()
