"""Checks that a file holds the bytes that its name was made from, before any line of it is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.operate.file_check import MAX_FILE_BYTES
from lakebound_spark.reading.source import DataFile, literal_path

_OPTIONS: Final = {
    "ignoreCorruptFiles": "false",
    "ignoreMissingFiles": "false",
    "recursiveFileLookup": "true",
}


def files_of_other_bytes(spark: SparkSession, files: Sequence[DataFile]) -> list[DataFile]:
    """Those of the files (at least one) that were cut, edited, renamed or copied: their bytes have another digest.

    The pass over the compressed bytes holds one file per task in memory: at most 128 MiB and a message, at which our
    writers close a file. A file above MAX_FILE_BYTES is not read and counts as one of other bytes. Raises Spark's error
    when a file is missing or cannot be read.

    The records are read after this pass. None of our writers can change a file in between, because the key holds the
    digest of the bytes. If somebody else replaces a file at that moment, its records are still counted.
    """
    listing = spark.read.format("binaryFile").options(**_OPTIONS).load([literal_path(file.path) for file in files])
    digest = F.sha2("content", 256).alias("digest")
    rows = listing.where(F.col("length") <= MAX_FILE_BYTES).select(F.col("_metadata.file_path").alias("url"), digest)
    found = {row["url"]: str(row["digest"]) for row in rows.collect()}
    return [file for file in files if not found.get(file.url, "other").startswith(file.digest)]
