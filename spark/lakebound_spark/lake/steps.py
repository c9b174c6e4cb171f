"""What each step of a table does: the very work of the job of that name, until it is caught up or told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pyspark.sql import SparkSession

from lakebound_spark.audits.chain_audit import audit, record_audit, records_to_audit
from lakebound_spark.audits.chain_metric import publish_chain_breaks
from lakebound_spark.bronze import bronze_table
from lakebound_spark.bronze.bronze_table import run_bronze, source_table_of
from lakebound_spark.bronze.flat_views import make_views
from lakebound_spark.history.history_job import HistoryTotals, run_history
from lakebound_spark.lake.lake_config import LakeTable
from lakebound_spark.platform.metrics import add_counts
from lakebound_spark.platform.refusals import VIEWS, Refusals
from lakebound_spark.silver.merge_run import SilverJob, run_merge
from lakebound_spark.upkeep.maintenance import UpkeepTotals, maintain


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a turn of a step did: a sentence, its counts, lines for standard error, and whether a person must look."""

    said: str
    counts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    is_problem: bool = False


def run_step(spark: SparkSession, table: LakeTable, step: str, stop: threading.Event) -> Outcome:
    """Run one step. Raises whatever the job of that name does; nothing is lost then, the next turn goes on."""
    return _WORK[step](spark, table, stop)


def _bronze(spark: SparkSession, table: LakeTable, stop: threading.Event) -> Outcome:
    started, job, warnings = time.monotonic(), table.bronze, list[str]()
    assert job is not None
    totals = run_bronze(spark, job, report=_keep_quiet, stop=stop)
    if table.views and totals.records:  # attributes that are new come with records only
        refusals, instead = Refusals(warnings.append), "the records are appended all the same"
        refusals.attempt(VIEWS, job.target, instead, lambda: make_views(spark, job.target))
    if totals.all_refused:
        warnings.append(bronze_table.refusal_message(job, totals))
    said = totals.sentence(job.target, time.monotonic() - started)
    return Outcome(said, asdict(totals), tuple(warnings), totals.all_refused)


def _silver(spark: SparkSession, table: LakeTable, stop: threading.Event) -> Outcome:
    started, warnings = time.monotonic(), list[str]()
    job: SilverJob[Any] = table.entities or table.silver
    totals = run_merge(
        spark,
        job,
        report=_keep_quiet,
        warn=warnings.append,
        stop=stop,
        is_repeated=True,
        freshness=table.freshness,
    )
    if totals.all_refused and totals.results > 1:  # otherwise it has been said
        warnings.append(job.refusal_message(totals))
    said = totals.sentence(table.target, time.monotonic() - started)
    is_problem = totals.all_refused or totals.merge_fails
    return Outcome(said, asdict(totals), (*warnings, *totals.gaps(table.target)), is_problem)


def _history(spark: SparkSession, table: LakeTable, stop: threading.Event) -> Outcome:
    said, sums = list[str](), HistoryTotals()
    for job in table.histories:
        started = time.monotonic()
        totals = run_history(spark, job, report=_keep_quiet, stop=stop)
        add_counts(sums, totals)
        said.append(totals.sentence(job.target, time.monotonic() - started))
        if stop.is_set():
            break
    return Outcome("; ".join(said), asdict(sums))


def _maintain(spark: SparkSession, table: LakeTable, stop: threading.Event) -> Outcome:
    said, sums, warnings = list[str](), UpkeepTotals(), list[str]()
    for job in table.upkeep:
        started, totals = time.monotonic(), UpkeepTotals()
        for kept in maintain(spark, job, time.time_ns() // 1_000_000, Refusals(warnings.append)):
            totals.add(kept)
            sums.add(kept)
            if stop.is_set():
                break
        said.append(totals.sentence(job, time.monotonic() - started))
        if stop.is_set():
            break
    return Outcome("; ".join(said), asdict(sums), tuple(warnings))


def _audit(spark: SparkSession, table: LakeTable, stop: threading.Event) -> Outcome:
    started, job = time.monotonic(), table.audit
    assert job is not None
    source_table = source_table_of(spark, job.bronze)
    # Keys are values: they do not belong into a driver's log. The job `audit` names them.
    found = audit(records_to_audit(spark, job.bronze, job.days), examples=0)
    record_audit(spark, job.bronze, found)
    if job.publish:
        publish_chain_breaks(source_table, found.chain_breaks)
    counts = {name: count for name, count in asdict(found).items() if name != "examples"}
    said = found.sentence(job.bronze, time.monotonic() - started)
    return Outcome(said, counts, () if found.is_clean else (str(found),), not found.is_clean)


def _keep_quiet(done: object) -> None:
    """A micro-batch's result is a row of `<table>_metrics`; the driver prints a line a step."""


_WORK: Final[Mapping[str, Callable[[SparkSession, LakeTable, threading.Event], Outcome]]] = {
    "bronze": _bronze,
    "silver": _silver,
    "history": _history,
    "maintain": _maintain,
    "audit": _audit,
}
