"""Does a file hold the bytes that its name was made from? Asked before a line of it is parsed."""

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
    """The files (at least one) whose name bears another digest than their bytes have: cut, edited, renamed, copied.

    One pass over the compressed bytes, which holds one file of each task in memory: 128 MiB and a message, for no
    writer of ours closes a file later. A larger one than MAX_FILE_BYTES is not read and counts as one of other bytes.
    Raises Spark's error when a file is missing or cannot be read.

    The records are read after this pass. Nothing of ours can change a file in between: whoever writes the same key
    again writes the same bytes, since the key holds their digest. A file that another hand replaces just then is still
    counted, as any file is.
    """
    listing = spark.read.format("binaryFile").options(**_OPTIONS).load([literal_path(file.path) for file in files])
    digest = F.sha2("content", 256).alias("digest")
    rows = listing.where(F.col("length") <= MAX_FILE_BYTES).select(F.col("_metadata.file_path").alias("url"), digest)
    found = {row["url"]: str(row["digest"]) for row in rows.collect()}
    return [file for file in files if not found.get(file.url, "other").startswith(file.digest)]
