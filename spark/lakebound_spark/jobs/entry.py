"""The wheel's entry points, one per job.

A `python_wheel_task` of Databricks calls the function and takes whatever it returns for success, so a status that is
not 0 has to leave as an exit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module


def _entry(job: str) -> Callable[[], None]:
    def start() -> None:
        try:
            module = import_module(f"lakebound_spark.jobs.{job}")
        except ModuleNotFoundError as absent:
            # Whoever installs `lakebound` for its command has the jobs' programs on the path too.
            if (absent.name or "").partition(".")[0] != "pyspark":
                raise
            print(f"{job}: the Python package pyspark is missing; pip install 'lakebound[spark]'", file=sys.stderr)
            raise SystemExit(2) from None
        status = module.main()
        if status:
            raise SystemExit(status)

    return start


run = _entry("run")
ingest_bronze = _entry("ingest_bronze")
merge_changes = _entry("merge_changes")
build_history = _entry("build_history")
sweep = _entry("sweep")
maintain = _entry("maintain")
audit = _entry("audit")
verify_run = _entry("verify_run")
