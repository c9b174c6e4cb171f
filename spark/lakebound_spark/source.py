"""From the data prefix to records: which files are data, how a stream finds them, how each format is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakebound.layout import DataKey
from lakebound_spark.schema import CORRUPT, FILE, RECORD, mark_whole

FILES_PER_MICRO_BATCH: Final = 256
"""How many batch files one micro-batch takes at most, so a first run over years of files stays bounded."""

_LISTING: Final = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One batch file: its path to open, the same path as `_metadata.file_path` spells it, and its name's facts."""

    path: str
    url: str
    count: int
    ext: str


def parse_data_file(path: str, url: str) -> DataFile | None:
    """The batch file at ``path``, or None when its name is not ``<origin>-<time>-<count>-<digest>.<ext>``."""
    # The layout below the prefix is the writer's choice (PARTITION_TEMPLATE); only the name says what a file holds.
    name = DataKey.parse("data", f"data/hour/{path.rsplit('/', 1)[-1]}")
    return None if name is None else DataFile(path, url, name.count, name.ext)


def stream_of_files(spark: SparkSession, source: str, reader: str, files_per_micro_batch: int) -> DataFrame:
    """A stream with one row (`path`, `url`) per file below ``source``: the only place that knows Auto Loader.

    The stream carries names, not records. A truncated gzip inside a stream of records would fail the
    micro-batch, and every later start would meet the same file again; with names the micro-batch can leave
    that file out and go on. Auto Loader and open Spark both list `binaryFile` with this fixed schema, and
    neither opens a file whose content is not selected. A file of zero bytes is in no listing of Spark's;
    the flusher never writes one, and `lakebound files check` finds it.
    """
    if reader == "auto-loader":
        stream = (
            spark.readStream.format("cloudFiles")
            .option("cloudFiles.format", "binaryFile")
            .option("cloudFiles.maxFilesPerTrigger", files_per_micro_batch)
        )
    else:
        stream = (
            spark.readStream.format("binaryFile")
            .option("maxFilesPerTrigger", files_per_micro_batch)
            # Spark ignores a file whose modification time is a week older than the newest it has seen. A
            # mirrored or restored file keeps its old time and would be lost without a word.
            .option("maxFileAge", "36500d")
        )
    # Without recursive look-up Spark infers columns from `dt=/HH=` and refuses two layouts below one prefix.
    return (
        stream.schema(_LISTING)
        .option("recursiveFileLookup", "true")
        .load(literal_path(source))
        .select("path", F.col("_metadata.file_path").alias("url"))
    )


def default_reader() -> str:
    """`auto-loader` on Databricks, `files` elsewhere."""
    return "auto-loader" if "DATABRICKS_RUNTIME_VERSION" in os.environ else "files"


def data_files(listing: Iterable[tuple[str, str]]) -> list[DataFile]:
    """The batch files among (path, url) pairs, sorted by path. Other names below the prefix are not data."""
    found = (parse_data_file(path, url) for path, url in listing)
    return sorted((file for file in found if file is not None), key=lambda file: file.path)


def literal_path(path: str) -> str:
    """``path`` so that Hadoop opens it as it stands: it would take `[`, `{`, `*` and `?` for a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


_Reader = Callable[[SparkSession, list[str], StructType], DataFrame]


def _read_ndjson(spark: SparkSession, paths: list[str], record: StructType) -> DataFrame:
    # No `encoding` option: with it, even as UTF-8, Spark turns 1.50 into 1.5 and 1E400 into "Infinity".
    return (
        spark.read.schema(StructType([*record.fields, StructField(CORRUPT, StringType())]))
        .option("mode", "PERMISSIVE")
        .option("columnNameOfCorruptRecord", CORRUPT)
        .option("lineSep", "\n")
        .option("ignoreCorruptFiles", "false")
        .option("ignoreMissingFiles", "false")
        .option("recursiveFileLookup", "true")
        .json(paths)
    )


def _read_columnar(ext: str) -> _Reader:
    def read(spark: SparkSession, paths: list[str], record: StructType) -> DataFrame:
        return (
            spark.read.schema(record)
            .option("ignoreCorruptFiles", "false")
            .option("ignoreMissingFiles", "false")
            .option("recursiveFileLookup", "true")
            .format(ext)
            .load(paths)
            .withColumn(CORRUPT, F.lit(None).cast("string"))
        )

    return read


READERS: Final[dict[str, _Reader]] = {
    "ndjson.gz": _read_ndjson,
    "avro": _read_columnar("avro"),
    "parquet": _read_columnar("parquet"),
}
"""How the files of each extension become the columns of a record and `_corrupt`. A new format is one line here."""


def read_records(spark: SparkSession, files: Sequence[DataFile], record: StructType = RECORD) -> DataFrame:
    """All records of ``files`` (at least one): ``record``'s columns, `_corrupt`, `_whole`, and `_file`, the file's url.

    Reading is lazy. A damaged file raises when the rows are computed: see `files.find_damaged`.
    """
    by_format = groupby(sorted(files, key=lambda file: file.ext), key=lambda file: file.ext)
    parts = [
        READERS[ext](spark, [literal_path(file.path) for file in group], record)
        .select(*record.names, CORRUPT, F.col("_metadata.file_path").alias(FILE))
        .transform(mark_whole)
        for ext, group in by_format
    ]
    return reduce(DataFrame.unionByName, parts)
