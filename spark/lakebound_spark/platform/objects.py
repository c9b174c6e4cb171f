"""Small objects beside and among the data: written whole or not at all, into a folder or a bucket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession


def write_object(spark: SparkSession, path: str, body: bytes) -> None:
    """Write a new object; a path with `://` through Hadoop's file system, which refuses one that is there."""
    if "://" in path:
        _write_remote(spark, path, body)
    else:
        _write_local(path, body)


def _write_local(path: str, body: bytes) -> None:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Spark passes over names that begin with a dot: a reader sees the whole file or none.
    hidden = place.with_name(f".{place.name}.{os.getpid()}")
    hidden.write_bytes(body)
    hidden.replace(place)


def _write_remote(spark: SparkSession, path: str, body: bytes) -> None:
    context: Any = spark.sparkContext
    place = context._jvm.org.apache.hadoop.fs.Path(path)
    stream = place.getFileSystem(context._jsc.hadoopConfiguration()).create(place, False)
    try:
        stream.write(bytearray(body))
    finally:
        stream.close()
