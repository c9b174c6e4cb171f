"""From the data prefix to records: which files are data, how a stream finds them, how each format is read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import StringType, StructField, StructType

from lakebound.errors import Misconfigured
from lakebound.transport.object_keys import DataKey
from lakebound_spark.platform.spark_compat import condition_of
from lakebound_spark.reading.schema import CORRUPT, FILE, RECORD, mark_whole

FILES_PER_MICRO_BATCH: Final = 256
"""How many batch files one micro-batch takes at most, so a first run over years of files stays bounded."""

BYTES_PER_MERGE: Final = 1 << 30
"""How many compressed bytes of batch files one MERGE takes at most (but always one file)."""

_LISTING: Final = "path STRING, modificationTime TIMESTAMP, length BIGINT, content BINARY"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One batch file: its path to open, the same path as `_metadata.file_path` spells it, its name's facts, its size.

    ``length`` is in bytes, 0 where nobody asked. ``digest`` is the beginning of the SHA-256 of the file's bytes.
    ``modified_ms`` is when the store says that it was written, 0 where nobody asked.
    """

    path: str
    url: str
    count: int
    ext: str
    length: int = 0
    origin: str = "stream"
    digest: str = ""
    modified_ms: int = 0


def parse_data_file(path: str, url: str, length: int = 0, modified_ms: int = 0) -> DataFile | None:
    """The batch file at ``path``, or None when its name is not ``<origin>-<time>-<count>-<digest>.<ext>``."""
    # The layout below the prefix is the writer's choice (PARTITION_TEMPLATE); only the name says what a file holds.
    name = DataKey.parse("data", f"data/hour/{path.rsplit('/', 1)[-1]}")
    if name is None:
        return None
    return DataFile(path, url, name.count, name.ext, length, name.origin, name.digest, modified_ms)


def stream_of_files(spark: SparkSession, source: str, reader: str, files_per_micro_batch: int) -> DataFrame:
    """A stream with one row (`path`, `url`, `length`, `modified_ms`) per file below ``source``.

    This is the only place that knows Auto Loader.

    The stream carries names, not records. A truncated gzip inside a stream of records would fail the
    micro-batch, and every later start would meet the same file again; with names the micro-batch can leave
    that file out and go on. Auto Loader and open Spark both list `binaryFile` with this fixed schema, and
    neither opens a file whose content is not selected. A file of zero bytes is in no listing of Spark's;
    the flusher never writes one, and `lakebound files check` finds it.

    Raises Misconfigured where there is no ``source``.
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
    try:
        files = stream.schema(_LISTING).option("recursiveFileLookup", "true").load(literal_path(source))
        modified = F.unix_millis("modificationTime").alias("modified_ms")
        files = files.select("path", F.col("_metadata.file_path").alias("url"), "length", modified)
        assert files.schema  # Spark Connect analyses a plan only when something is asked of it
    except AnalysisException as error:
        if condition_of(error) != "PATH_NOT_FOUND":
            raise
        raise Misconfigured(f"--source {source} is not there; give the folder that holds the hour partitions") from None
    return files


def default_reader() -> str:
    """`auto-loader` on Databricks, `files` elsewhere."""
    return "auto-loader" if "DATABRICKS_RUNTIME_VERSION" in os.environ else "files"


def data_files(
    listing: Iterable[tuple[str, str] | tuple[str, str, int] | tuple[str, str, int, int]],
) -> list[DataFile]:
    """The batch files among (path, url, length, time of writing in ms), sorted by path.

    Other names below the prefix are not data.
    """
    found = (parse_data_file(*listed) for listed in listing)
    return sorted((file for file in found if file is not None), key=lambda file: file.path)


def split_by_bytes(files: Sequence[DataFile], most_bytes: int) -> Iterator[list[DataFile]]:
    """The files in runs of at most ``most_bytes`` of compressed bytes, each of at least one file.

    The stream bounds a micro-batch by its number of files: Spark 3.5 cannot bound it by bytes, and 256 files of
    64 MB are 16 GB. Each run is checked and merged by itself.
    """
    run: list[DataFile] = []
    for file in files:
        if run and sum(one.length for one in run) + file.length > most_bytes:
            yield run
            run = []
        run.append(file)
    if run:
        yield run


def literal_path(path: str) -> str:
    """``path`` so that Hadoop opens it as it stands: it would take `[`, `{`, `*` and `?` for a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


_READ_OPTIONS: Final = {
    "ignoreCorruptFiles": "false",
    "ignoreMissingFiles": "false",
    "recursiveFileLookup": "true",
}
_Reader = Callable[[SparkSession, list[str], StructType], DataFrame]


def _read_ndjson(spark: SparkSession, paths: list[str], record: StructType) -> DataFrame:
    # No `encoding` option: with it, even as UTF-8, Spark turns 1.50 into 1.5 and 1E400 into "Infinity".
    with_corrupt = StructType([*record.fields, StructField(CORRUPT, StringType())])
    options = {**_READ_OPTIONS, "mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT, "lineSep": "\n"}
    return spark.read.schema(with_corrupt).options(**options).json(paths)


def _read_columnar(ext: str) -> _Reader:
    def read(spark: SparkSession, paths: list[str], record: StructType) -> DataFrame:
        records = spark.read.schema(record).options(**_READ_OPTIONS).format(ext).load(paths)
        return records.withColumn(CORRUPT, F.lit(None).cast("string"))

    return read


READERS: Final[dict[str, _Reader]] = {
    "ndjson.gz": _read_ndjson,
    "avro": _read_columnar("avro"),
    "parquet": _read_columnar("parquet"),
}
"""How the files of each extension become the columns of a record and `_corrupt`. A new format is one line here."""


def read_records(spark: SparkSession, files: Sequence[DataFile], record: StructType = RECORD) -> DataFrame:
    """All records of ``files`` (at least one): ``record``'s columns, `_corrupt`, `_whole`, and `_file`, the file's url.

    Reading is lazy. A damaged file raises when the rows are computed: see `files.find_damaged_files`.
    """
    by_format = groupby(sorted(files, key=lambda file: file.ext), key=lambda file: file.ext)
    parts = [
        READERS[ext](spark, [literal_path(file.path) for file in group], record)
        .select(*record.names, CORRUPT, F.col("_metadata.file_path").alias(FILE))
        .transform(mark_whole)
        for ext, group in by_format
    ]
    return reduce(DataFrame.unionByName, parts)
