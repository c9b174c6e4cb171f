"""The frame of every job's `main`: exit statuses, one sentence for a mistake, signals, the log."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.failure_causes import Cause, Retry, cause_of
from lakebound_spark.platform.lease import held_groups, leases_on_s3, needs_lease, this_driver
from lakebound_spark.platform.s3_client import s3_client
from lakebound_spark.platform.session import default_log, job_session
from lakebound_spark.platform.tables import in_spark_catalog, location

Commits: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""Tables, or groups of them by name."""


def run_job(
    name: str,
    work: Callable[[SparkSession, threading.Event], int],
    at: str,
    *others: str,
    commits: Commits | Callable[[SparkSession], Commits] = (),
    leave_out: Callable[[str, Misconfigured], None] | None = None,
    again: str = "goes on from where it was",
    keeps_log: bool = False,
) -> int:
    """Run ``work`` with a session and an event that Ctrl-C and SIGTERM set. Returns the process's exit status.

    The status is what ``work`` returns. It is 1 after a failure, which is printed with ``at``, the job's table. It is 2
    for a mistake: Misconfigured, and a failure that would recur until somebody corrects its cause. The session has a
    catalog that lasts when ``at`` or one of ``others``, the job's further tables, is a name in Spark's own. On S3 the
    job holds a lease of each table that it ``commits`` to; a function tells them where it takes the session to know
    them. Where ``leave_out`` is given these are groups by name: it gets the name of a group of which another driver
    holds a lease, and the job goes on without it. ``again`` says what the same command does the next time.
    ``keeps_log`` leaves Spark's log where the status is not 0: the work told a failure, and went on.
    """
    spark: SparkSession | None = None
    ours = False
    log: Path | None = default_log()
    try:
        spark, ours = job_session(f"lakebound {name}", catalog=any(map(in_spark_catalog, (at, *others))))
        with stop_signal() as stop, _sole_driver(spark, name, commits, leave_out, stop) as lost:
            status = work(spark, stop)
        if lost:
            status = refuse(name, Misconfigured(f"stopped: another driver took over the lease of {lost[0]}"))
    except Misconfigured as error:
        status = refuse(name, error)
        if spark is None:
            return status  # Spark did not start, and the sentence names the log
    except Exception as error:
        # The session must still run here, because only its Java process can describe Java's errors.
        cause = cause_of(error)
        words = log if ours and log is not None and log.exists() and log.stat().st_size else None
        print(f"{name}: {failure_message(cause, at, again, words)}", file=sys.stderr)
        log = None
        status = 2 if cause.next is Retry.STOPS_AGAIN else 1
    finally:
        if spark is not None and ours:
            end_session(spark)
    if log is not None and not (keeps_log and status):
        log.unlink(missing_ok=True)
    return status


def end_session(spark: SparkSession) -> None:
    """Stop a session of this process, unless its Java process is gone.

    A service manager ends every process of a service at once: Java may have ended before Python asks it to.
    """
    try:
        spark.stop()
    except Exception as failure:
        if not isinstance(failure, ConnectionError) and not type(failure).__module__.startswith("py4j"):
            raise


@contextmanager
def _sole_driver(
    spark: SparkSession,
    name: str,
    commits: Commits | Callable[[SparkSession], Commits],
    leave_out: Callable[[str, Misconfigured], None] | None,
    stop: threading.Event,
) -> Iterator[list[str]]:
    """Hold the leases of the tables that the job commits to. Yields a list that gets the table of a lost one."""
    lost = list[str]()

    def setting(key: str) -> str | None:
        return spark.conf.get(key, None)

    told = commits(spark) if callable(commits) else commits
    groups = told if isinstance(told, Mapping) else {"": told}
    places = {
        group: [place for table in tables if needs_lease(place := location(spark, table), setting)]
        for group, tables in groups.items()
    }
    if not any(places.values()):
        yield lost
        return
    leases = leases_on_s3(places, this_driver(name), s3_client(setting))

    def stop_streams(table: str) -> None:
        lost.append(table)
        for query in spark.streams.active:
            query.stop()

    def refused(group: str, error: Misconfigured) -> None:
        if leave_out is None or stop.is_set():
            raise error
        leave_out(group, error)

    with held_groups(leases, stop, stop_streams, refused):
        yield lost


def failure_message(cause: Cause, at: str, again: str, log: Path | None) -> str:
    """What stopped a job, and what to do next. ``log`` is the file of this process, where it has one."""
    words = f"Spark's own words: {log}" if log is not None else "Spark's own words are in the log of its driver"
    if cause.next is Retry.GOES_ON:
        return f"stopped by {cause} at {at}; nothing is lost, the same command {again}. {words}"
    if cause.next is Retry.STOPS_AGAIN:
        return f"stopped by {cause} at {at}: {cause.advice}. Nothing is lost: then the same command {again}. {words}"
    return (
        f"stopped by {cause} at {at}{cause.unsaid}. Nothing is lost: the same command {again}; should it stop here "
        f"again, waiting will not help. {words}"
    )


def refuse(name: str, error: Misconfigured) -> int:
    """Print a mistake. Returns the exit status for one."""
    print(f"{name}: {error}", file=sys.stderr)
    return 2


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the current micro-batch finishes before the job ends."""
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
