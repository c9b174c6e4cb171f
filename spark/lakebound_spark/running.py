"""What every job's `main` does around its work: exit statuses, one sentence for a mistake, signals, the log."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from lakebound_spark.errors import Misconfigured
from lakebound_spark.session import default_log, job_session
from lakebound_spark.tables import is_path
from lakebound_spark.versions import condition_of


def run_job(name: str, work: Callable[[SparkSession, threading.Event], int], at: str, *others: str) -> int:
    """Run ``work`` with a session and an event that Ctrl-C and SIGTERM set; the process's exit status.

    It is what ``work`` returns, 1 after a failure (told with ``at``, the table it was about), 2 for what a person set
    wrong (Misconfigured). The session has a catalog when ``at`` or one of ``others``, the further tables of the job, is
    a name and not a path.
    """
    try:
        spark, ours = job_session(f"lakebound {name}", catalog=not all(map(is_path, (at, *others))))
        try:
            with until_told() as stop:
                status = work(spark, stop)
        finally:
            if ours:
                spark.stop()
    except Misconfigured as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        # The class and Spark's error name only: a message can quote an item's values.
        print(
            f"{name}: stopped by {condition_of(error)} at {at}; nothing is lost, the same command goes on from where "
            f"it was. Spark's own words: {default_log()}",
            file=sys.stderr,
        )
        return 1
    default_log().unlink(missing_ok=True)
    return status


def refuse(name: str, error: Misconfigured) -> int:
    """Tell a mistake that was found before Spark started; the exit status."""
    print(f"{name}: {error}", file=sys.stderr)
    return 2


@contextmanager
def until_told() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the micro-batch under way finishes before the job ends."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
