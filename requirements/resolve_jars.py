"""Fetch the jars of Delta and of Spark's Avro source into Spark's own Ivy cache, once, so that no test waits for them.

Run by `make setup`. It starts a local Spark session with the packages that the jobs ask for, and stops it: Spark's
resolver downloads what is missing and leaves the rest alone.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession


def main() -> int:
    """Return 0 when every jar is in the cache."""
    builder = (
        SparkSession.builder.appName("lakebound-setup")
        .master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
    )
    avro = f"org.apache.spark:spark-avro_2.13:{version('pyspark')}"
    session = configure_spark_with_delta_pip(builder, extra_packages=[avro]).getOrCreate()
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
