"""Spark's settings for the length of a MERGE, by which it joins few rows of a large table and not all of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.tables import read_table, table_detail

_PREFIX: Final = "spark.sql.optimizer.runtime.bloomFilter."
_COPY_OF_SOURCE: Final = "spark.databricks.delta.merge.materializeSource"
_LEAST_BITS: Final = 8 << 20
_MOST_BITS: Final = 64 << 20
"""Spark's default of `maxNumBits`: 8 MiB, enough for 8 million keys."""

_LARGE: Final = 64 << 20
"""Bytes to read at which the filter pays. It costs a MERGE about 2 s of processor time, and saves 20 s at 300 MB."""
_LASTS_S: Final = 600.0

_SIZES: Final[dict[str, tuple[float, int, int]]] = {}
"""For each target of this process, when it was asked last, and its bytes and files."""

_MERGING: Final[dict[SparkSession, tuple[int, dict[str, str | None]]]] = {}
"""How many MERGEs of a session have the settings now, and its values before the first of them.

`run --parallel` merges several tables at a time in one session. If each put back what it had found, the first to begin
and to end would leave the settings of the second behind for good, and every later MERGE would read its source twice.
"""
_LOCK: Final = threading.Lock()


def pays(spark: SparkSession, target: str, first: str, last: str) -> bool:
    """Whether the filter makes a MERGE of keys from ``first`` to ``last`` cheaper.

    It does where many bytes lie in files that may hold such a key. The table's size is asked every ten minutes, and
    those files each time, of Delta's log alone. Databricks' own MERGE moves only the rows that it changes.
    """
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return False
    asked, size, files = _SIZES.get(target, (-_LASTS_S, 0, 0))
    if time.monotonic() - asked >= _LASTS_S:
        detail = table_detail(spark, target)
        size, files = int(detail["sizeInBytes"]), int(detail["numFiles"])
        _SIZES[target] = time.monotonic(), size, files
    if size < _LARGE:
        return False
    read = read_table(spark, target).where(F.col("_key").between(first, last)).inputFiles()
    return size * len(read) >= _LARGE * files


@contextmanager
def allowed(spark: SparkSession, keys: int, text: int) -> Iterator[None]:
    """Let Spark drop most rows of the target that no row of a MERGE matches, before it shuffles and sorts them.

    A MERGE that updates and inserts is an outer join, of which neither side can be sent to every executor, so every
    column of every row in each file with a match was shuffled: half of its time where keys come from the whole table.
    Spark can make a Bloom filter of the keys that the MERGE brings (``keys`` of them) and test the table's rows by it
    as they are read. It does so for a source that it reads from files and filters; see `merge.merge_rows`.

    The source is read again for each pass of the MERGE, so it must not change: held rows, no query. ``text`` is the
    number of characters of its images; its files, which are compressed, have fewer bytes than twice that. Nothing is
    set on a server that refuses one of the settings; the MERGE is right without them. Of MERGEs at the same time in one
    session, the last to end puts back what the session had before the first.
    """
    settings = {
        f"{_PREFIX}enabled": "true",
        f"{_PREFIX}applicationSideScanSizeThreshold": "0",
        # Spark makes the filter from whichever side is below this first. Of a larger target it must not make one.
        f"{_PREFIX}creationSideThreshold": str(max(16 << 20, 2 * text)),
        f"{_PREFIX}expectedNumItems": str(max(1, keys)),
        f"{_PREFIX}numBits": str(min(_MOST_BITS, max(_LEAST_BITS, 8 * keys))),
        # It makes none for a source so small that it could be sent to every executor, though an outer join cannot.
        "spark.sql.autoBroadcastJoinThreshold": "-1",
        # A copy of the source in memory has no filter over files.
        _COPY_OF_SOURCE: "none",
    }
    is_set = _begin(spark, settings)
    try:
        yield
    finally:
        if is_set:
            _end(spark)


def _begin(spark: SparkSession, settings: Mapping[str, str]) -> bool:
    """Set them for one MERGE more; False, and none is set, when the server refuses one."""
    with _LOCK:
        merges, before = _MERGING.get(spark, (0, {}))
        try:
            if not merges:
                before |= {name: spark.conf.get(name, None) for name in settings}
            for name, value in settings.items():
                spark.conf.set(name, value)
        except PySparkException:
            # Such as CONFIG_NOT_AVAILABLE of serverless compute, to which this program may connect.
            if not merges:
                _restore(spark, before)
            return False
        _MERGING[spark] = merges + 1, before
        return True


def _end(spark: SparkSession) -> None:
    with _LOCK:
        merges, before = _MERGING.pop(spark)
        if merges > 1:
            _MERGING[spark] = merges - 1, before
        else:
            _restore(spark, before)


def _restore(spark: SparkSession, before: dict[str, str | None]) -> None:
    for name, value in before.items():
        try:
            if value is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, value)
        except PySparkException:  # it was refused before
            continue
