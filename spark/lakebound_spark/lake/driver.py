"""The driver of a lake: reads what was done, runs each step when it is due, and notes the daily ones."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakebound_spark.lake.done_steps import read_done, record_done
from lakebound_spark.lake.fleet_config import LeftOut
from lakebound_spark.lake.lake_config import LakeTable
from lakebound_spark.lake.patience import Patience
from lakebound_spark.lake.schedule import Agenda, Daily, Step
from lakebound_spark.lake.steps import Outcome, run_step
from lakebound_spark.lake.telling import Teller, failure_text, plan, plan_lines
from lakebound_spark.lake.turns import Ended, Turn, run_turns


def run_lake(
    spark: SparkSession,
    tables: Sequence[LakeTable],
    stop: threading.Event,
    *,
    once: bool = False,
    parallel: int = 1,
    as_json: bool = False,
    fail_after: float = 0,
    left_out: Sequence[LeftOut] = (),
    clock: Callable[[], float] = time.time,
) -> int:
    """Run the steps of the tables until ``stop`` is set, with ``once`` each due one to its end; the exit status.

    A step that fails stops no other. Once one has failed for ``fail_after`` seconds (0: however long), the turns under
    way end as they do at a stop, and so does the driver. Tables that are ``left_out`` are told, and make the status 2.
    Raises its error only where the session itself is gone.
    """
    by_target = {table.target: table for table in tables}
    began, teller, patience = clock(), Teller(as_json, left_out), Patience(fail_after)
    teller.begin()
    agenda = Agenda(_steps(tables), began, _done(spark, tables), once=once)

    def work(step: Step, turn: Turn) -> Outcome:
        outcome = run_step(spark, by_target[step.table], step.name, turn)
        if isinstance(step.timing, Daily) and not turn.was_cut:
            record_done(spark, step.table, step.name, round(clock() * 1000))
        return outcome

    def tell(ended: Ended[Outcome]) -> None:
        teller.tell(ended)
        if ended.error is not None and not _is_alive(spark):
            raise ended.error
        if (lost := patience.lost_over(ended)) and not stop.is_set():
            print(lost, file=sys.stderr, flush=True)
            stop.set()

    run_turns(agenda, work, tell, stop, clock, parallel)
    print(teller.sentence(len(tables), clock() - began))
    return teller.status


def plan_lake(spark: SparkSession, tables: Sequence[LakeTable], *, once: bool, as_json: bool, now: float) -> str:
    """When each step is due, as a table or as JSON lines. Nothing is written."""
    done = _done(spark, tables)
    due_times = Agenda(_steps(tables), now, done, once=once).due_times()
    rows = [(step, done.get(step), due) for step, due in due_times]
    return plan_lines(rows) if as_json else plan(rows, now)


def _steps(tables: Sequence[LakeTable]) -> list[Step]:
    return [step for table in tables for step in table.steps()]


def _done(spark: SparkSession, tables: Sequence[LakeTable]) -> dict[Step, float]:
    """When the daily steps were last done, in seconds; those of a table that cannot be asked count as never done."""
    found = dict[Step, float]()
    for table in tables:
        try:
            done = read_done(spark, table.target)
        except PySparkException as error:
            print(f"cannot read when {table.target} was last maintained: {failure_text(error)}", file=sys.stderr)
            continue
        found |= {step: done[step.name] / 1000 for step in table.steps() if step.name in done}
    return found


def _is_alive(spark: SparkSession) -> bool:
    """Whether the session answers; with its Java process or server gone, every further step would fail as well."""
    try:
        spark.sql("SELECT 1").collect()
    except Exception:
        return False
    return True
