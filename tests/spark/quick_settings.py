"""Spark's settings for many small tables, which the tests' sessions, servers and clusters share."""

from __future__ import annotations

from typing import Final

QUICK: Final = {
    # Compiling a plan of its own for each handful of rows took a third of the run; the job's own process, which
    # test_job starts, compiles as users' jobs do.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # A third of what was left: plans made again between stages, tasks without a row, a sum of each table's state.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    # Minutes in one process pay for the second-tier compiler, which `local.conf` leaves out for short runs.
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
}
