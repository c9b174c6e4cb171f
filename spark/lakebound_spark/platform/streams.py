"""The streaming shell of every job: triggers, checkpoints that belong to one table, and stopping between two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from lakebound.errors import Misconfigured
from lakebound.times import interval_seconds
from lakebound_spark.platform.failure_causes import micro_batch_error, portable_error
from lakebound_spark.platform.metrics import Result, begin_results, prepare_metrics, read_results, record_result

HOUSEKEEPING_SECONDS: Final = 60
"""How often a stream that goes on does what is to be done between two micro-batches."""


def parse_trigger(text: str) -> dict[str, Any]:
    """`available-now` or `processing-time=30s` (s, m, h, d) as arguments of `DataStreamWriter.trigger`."""
    if text == "available-now":
        return {"availableNow": True}
    seconds = interval_seconds(text.removeprefix("processing-time="))
    if seconds is None or not text.startswith("processing-time="):
        raise Misconfigured(f"--trigger {text}: use available-now, or processing-time=30s")
    return {"processingTime": f"{seconds} seconds"}


@dataclass(frozen=True)
class MicroBatchWork:
    """What is done with each micro-batch, as a value: settings only, so that it can be sent.

    A classic session calls it in this process. Spark Connect runs a copy beside its server, where nothing that it
    changes here is ever seen: what it did is rows of `<target>_metrics`, and why it failed is the error's own text.
    """

    target: str
    run: str
    """The id of this run, which its rows bear."""
    kind: ClassVar[type[Result]]
    """The class of the results."""

    def results(self, batch: DataFrame, batch_id: int) -> Iterator[Result]:
        """Do the work, and give what was done after each step of it."""
        raise NotImplementedError

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        try:
            for part, result in enumerate(self.results(batch, batch_id)):
                record_result(batch.sparkSession, self.target, self.run, part, result)
        except Exception as error:
            raise portable_error(error) from error


def run_micro_batches(
    stream: DataFrame,
    work: MicroBatchWork,
    checkpoint: str,
    trigger: dict[str, Any],
    stop: threading.Event | None = None,
    *,
    report: Callable[[Any], None],
    between: Callable[[], None] = lambda: None,
    idle: Callable[[], None] = lambda: None,
) -> None:
    """Give ``work`` each micro-batch until caught up (available-now) or until ``stop`` is set.

    The id of ``work``'s run is a new one. ``report`` gets each result, soon after its micro-batch has ended.
    ``between`` is called once a minute, also while nothing comes in; a MERGE that it overtakes is tried again. ``idle``
    is called each second while the newest look of the stream at its source has found nothing. Raises Misconfigured and
    MicroBatchError of ``work``, and the error of the others as it was: nothing is lost then, since the next run takes
    the same input again.
    """
    spark = stream.sparkSession
    prepare_metrics(spark, work.target, work.kind)
    begin_results(work.target, work.run)
    newest, seconds = None, 0
    # The newest micro-batch of which something was reported, and how many of its results: a stream that goes on for
    # months would else read every result of the run again after each micro-batch.
    batch, reported = 0, 0

    def report_new() -> None:
        nonlocal batch, reported
        for result in read_results(spark, work.target, work.run, work.kind, since=batch)[reported:]:
            batch, reported = result.batch, reported + 1 if result.batch == batch else 1
            report(result)

    writer = stream.writeStream.foreachBatch(work).option("checkpointLocation", checkpoint)
    query = writer.trigger(**trigger).start()
    stop = stop or threading.Event()
    try:
        while not query.awaitTermination(1):
            seconds += 1
            done = _last_batch(query)
            if done != newest or seconds % HOUSEKEEPING_SECONDS == 0:
                newest = done
                _call_or_stop(report_new, query)
            if stop.is_set():
                _stop_after_batch(query)
                continue
            if seconds % HOUSEKEEPING_SECONDS == 0:
                _call_or_stop(between, query)
            if _is_idle(query):
                _call_or_stop(idle, query)
    except PySparkException as error:
        failure = micro_batch_error(error)
        if failure is not None:
            try:
                report_new()
            finally:
                raise failure from None
        if not stop.is_set():
            raise  # the stream that feeds the job: its cause is below Spark's wrapping
    report_new()


def _last_batch(query: StreamingQuery) -> int | None:
    progress = query.lastProgress
    return None if progress is None else int(progress["batchId"])


def _is_idle(query: StreamingQuery) -> bool:
    # While a source brings nothing, Spark leaves the progress at the last micro-batch; only the status moves on.
    status = query.status
    return not (status["isTriggerActive"] or status["isDataAvailable"])


def _stop_after_batch(query: StreamingQuery) -> None:
    """End the stream once the micro-batch under way has ended. The next run takes one that has just begun by then."""
    under_way = _last_batch(query)
    while query.isActive and query.status["isTriggerActive"] and _last_batch(query) == under_way:
        time.sleep(0.05)
    query.stop()


def _call_or_stop(work: Callable[[], None], query: StreamingQuery) -> None:
    """``work``, with the stream ended when it fails."""
    try:
        work()
    except Exception:
        query.stop()
        raise


def staging_folder(checkpoint: str) -> str:
    """The folder in which the rows of one micro-batch are held (see `tables.hold`): as much a stream's own as that."""
    return f"{checkpoint.rstrip('/')}/lakebound_staging"


def claim_checkpoint(
    spark: SparkSession, checkpoint: str, target: str, table_id: str, *, unless_used: bool = False
) -> None:
    """Tie the checkpoint to the table: its list of files already merged is true for that table only.

    A silver table dropped and made again would otherwise stay empty, and a second target would miss every
    file the first has had, both without a word. With ``unless_used`` a checkpoint of no ended micro-batch, which has
    passed no file yet, is tied anew.
    """
    claim = claimed_table(spark, checkpoint)
    if claim is None or (unless_used and not has_commits(spark, checkpoint)):
        claims = spark.createDataFrame([(table_id,)], "value STRING").coalesce(1)
        claims.write.mode("overwrite").text(_claim(checkpoint))
    elif claim != table_id:
        raise Misconfigured(
            f"--checkpoint {checkpoint} knows which files another table has, not {target} as it is now; "
            "give a new checkpoint, and every file is merged again"
        )


def claimed_table(spark: SparkSession, checkpoint: str) -> str | None:
    """The Delta id of the table that the checkpoint is tied to; None for a new one."""
    try:
        claim = spark.read.text(_claim(checkpoint)).head()
    except AnalysisException:
        return None
    return None if claim is None else str(claim["value"])


def has_commits(spark: SparkSession, checkpoint: str) -> bool:
    """Whether a micro-batch of this checkpoint has ended."""
    try:
        return spark.read.text(f"{checkpoint.rstrip('/')}/commits").head() is not None
    except AnalysisException:
        return False


def _claim(checkpoint: str) -> str:
    return f"{checkpoint.rstrip('/')}/lakebound_target"
