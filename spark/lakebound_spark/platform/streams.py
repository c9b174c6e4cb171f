"""The streaming shell of every job: triggers, checkpoints that belong to one table, and stopping between two."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lakebound.errors import Misconfigured

HOUSEKEEPING_SECONDS: Final = 60
"""How often a stream that goes on does what is to be done between two micro-batches."""

_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}


def parse_trigger(text: str) -> dict[str, Any]:
    """`available-now` or `processing-time=30s` (ms, s, m, h) as arguments of `DataStreamWriter.trigger`."""
    if text == "available-now":
        return {"availableNow": True}
    interval = re.fullmatch(r"processing-time=(\d+)(ms|s|m|h)", text)
    if interval is None:
        raise Misconfigured(f"--trigger {text}: use available-now, or processing-time=30s")
    return {"processingTime": f"{interval[1]} {_UNITS[interval[2]]}"}


def run_micro_batches(
    stream: DataFrame,
    work: Callable[[DataFrame, int], None],
    checkpoint: str,
    trigger: dict[str, Any],
    stop: threading.Event | None = None,
    *,
    between: Callable[[], None] | None = None,
) -> None:
    """Give ``work`` each micro-batch until caught up (available-now) or until ``stop`` is set.

    ``between`` is called once a minute and never beside ``work``, also while nothing comes in. Raises the error of
    either as it was: nothing is lost then, since the next run takes the same input again.
    """
    busy = threading.Lock()
    failures: list[Exception] = []

    def each(batch: DataFrame, batch_id: int) -> None:
        with busy:
            try:
                work(batch, batch_id)
            except Exception as error:
                failures.append(error)
                raise

    writer = stream.writeStream.foreachBatch(each).option("checkpointLocation", checkpoint)
    query = writer.trigger(**trigger).start()
    stop = stop or threading.Event()
    seconds = 0
    try:
        while not query.awaitTermination(1):
            seconds += 1
            if stop.is_set():
                with busy:  # lets the micro-batch under way finish
                    query.stop()
            elif between is not None and seconds % HOUSEKEEPING_SECONDS == 0:
                with busy:
                    _call_or_stop(between, query)
    except PySparkException:
        if stop.is_set() and not failures:
            return
        if failures:
            raise failures[0] from None
        raise  # the stream that feeds the job: its cause is below Spark's wrapping


def _call_or_stop(between: Callable[[], None], query: StreamingQuery) -> None:
    """``between``, with the stream ended when it fails."""
    try:
        between()
    except Exception:
        query.stop()
        raise


def path_exists(spark: SparkSession, path: str) -> bool | None:
    """None where the session has no Java gateway (Spark Connect): there the stream itself says what is missing."""
    gateway: Any = getattr(spark, "_jvm", None)
    if gateway is None:
        return None
    place = gateway.org.apache.hadoop.fs.Path(path)
    configuration = spark._jsparkSession.sessionState().newHadoopConf()
    return bool(place.getFileSystem(configuration).exists(place))


def claim_checkpoint(spark: SparkSession, checkpoint: str, target: str, table_id: str) -> None:
    """Tie the checkpoint to the table: its list of files already merged is true for that table only.

    A silver table dropped and made again would otherwise stay empty, and a second target would miss every
    file the first has had, both without a word.
    """
    place = f"{checkpoint.rstrip('/')}/lakebound_target"
    try:
        claim = spark.read.text(place).head()
    except AnalysisException:
        claim = None
    if claim is None:
        spark.createDataFrame([(table_id,)], "value STRING").coalesce(1).write.mode("overwrite").text(place)
    elif claim["value"] != table_id:
        raise Misconfigured(
            f"--checkpoint {checkpoint} knows which files another table has, not {target} as it is now; "
            "give a new checkpoint, and every file is merged again"
        )
