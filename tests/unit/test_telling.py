"""What `run` prints of its turns: a line a step for people, an object a step for machines, and the exit status."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.lake.fleet_config import LeftOut
from lakebound_spark.lake.schedule import Daily, End, Every, Step
from lakebound_spark.lake.steps import Outcome
from lakebound_spark.lake.telling import Teller, plan, plan_lines
from lakebound_spark.lake.turns import Ended

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
SILVER, AUDIT = Step("lake.cars", "silver", Every(60)), Step("lake.cars", "audit", Daily(270))
QUIET = Outcome("nothing new for lake.cars")
MERGED = Outcome("merged 3 records into lake.cars, 3 keys, 1 s (3 rows new, 0 changed)", {"records": 3})
STALE = Outcome("nothing new for lake.cars", warnings=("GAP: lake.cars is marked stale since 2026",))
BROKEN = Outcome("audited 3 records: something is wrong", {"chain_breaks": 1}, ("chain_breaks=1",), is_problem=True)
MISTAKE, FAULT = Misconfigured("--source x is not there; give the folder"), ValueError("canary-4711")


def ended(what: Outcome | Exception, step: Step = SILVER, end: End = End.DONE) -> Ended[Outcome]:
    if isinstance(what, Outcome):
        return Ended(step, NOON, NOON + 1.5, end, NOON + 60, what)
    return Ended(step, NOON, NOON + 1.5, End.FAILED, NOON + 120, error=what)


def said(
    capsys: pytest.CaptureFixture[str], *turns: Ended[Outcome], **more: Any
) -> tuple[Teller, list[str], list[str]]:
    teller = Teller(**more)
    for one in turns:
        teller.tell(one)
    printed = capsys.readouterr()
    return teller, printed.out.splitlines(), printed.err.splitlines()


def test_a_person_reads_one_line_a_step_and_once_that_there_is_nothing_new(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = said(capsys, *[ended(one) for one in (QUIET, QUIET, MERGED, QUIET, STALE, STALE)])
    nothing = "12:00:01 silver: nothing new for lake.cars"
    assert out == [nothing, f"12:00:01 silver: {MERGED.said}", nothing]
    assert err == ["12:00:01 GAP: lake.cars is marked stale since 2026"]


def test_each_failure_is_told_with_its_next_try_and_without_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = said(capsys, ended(MISTAKE), ended(MISTAKE), ended(FAULT))
    assert out == []
    assert err[0] == err[1] == f"12:00:01 silver of lake.cars failed: {MISTAKE}; tried again at 12:02:00"
    assert err[2].startswith("12:00:01 silver of lake.cars failed: ValueError (its message could quote an item")


def test_a_machine_reads_one_object_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    turns = ended(MERGED, end=End.CUT), ended(MISTAKE), ended(BROKEN, AUDIT), ended(QUIET)
    _, out, err = said(capsys, *turns, as_json=True)
    first, *others = map(json.loads, out)
    assert first == {
        "table": "lake.cars",
        "step": "silver",
        "end": "continues",
        "began": "2026-11-27T12:00:00Z",
        "seconds": 1.5,
        "due": "2026-11-27T12:01:00Z",
        "counts": {"records": 3},
        "said": [f"silver: {MERGED.said}"],
    }
    assert [one["end"] for one in others] == ["failed", "problem", "done"]
    assert err == []


@pytest.mark.parametrize(
    ("turns", "status", "sentence"),
    [
        ([QUIET, MERGED], 0, "ran 2 steps of 1 table, 7 s"),
        ([FAULT, QUIET], 0, "ran 2 steps of 1 table, 7 s"),
        ([QUIET, FAULT], 1, "ran 2 steps of 1 table, 7 s; failed at the last try: silver of lake.cars"),
        ([MISTAKE], 2, "ran 1 step of 1 table, 7 s; failed at the last try: silver of lake.cars"),
        ([BROKEN], 1, "ran 1 step of 1 table, 7 s; something is wrong: silver of lake.cars"),
    ],
)
def test_the_last_turn_of_each_step_decides(
    capsys: pytest.CaptureFixture[str], turns: list[Outcome | Exception], status: int, sentence: str
) -> None:
    teller, _, _ = said(capsys, *map(ended, turns))
    assert (teller.status, teller.sentence(1, 7)) == (status, sentence)


def test_the_plan_is_a_table() -> None:
    rows = [(SILVER, None, NOON), (AUDIT, NOON - 27_000, NOON + 59_400), (AUDIT, None, None)]
    assert plan(rows, NOON).splitlines() == [
        "step    schedule (UTC)  last done         due               table",
        "silver  every 1m                          now               lake.cars",
        "audit   at 04:30        2026-11-27 04:30  2026-11-28 04:30  lake.cars",
        "audit   at 04:30                          not in this run   lake.cars",
    ]
    assert [json.loads(line) for line in plan_lines(rows[1:2]).splitlines()] == [
        {
            "table": "lake.cars",
            "step": "audit",
            "schedule": "at 04:30",
            "done": "2026-11-27T04:30:00Z",
            "due": "2026-11-28T04:30:00Z",
        }
    ]


def test_a_table_that_is_left_out_is_told_and_makes_the_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        teller = Teller(as_json, (LeftOut("vans", "lake 1, vans: source is missing"),))
        teller.begin()
        teller.tell(ended(QUIET))
        printed = capsys.readouterr()
        told = printed.out if as_json else printed.err
        assert "vans is left out: lake 1, vans: source is missing" in told
        assert (json.loads(told.splitlines()[0])["end"] if as_json else "left out") == "left out"
        assert (teller.status, teller.sentence(1, 2)) == (2, "ran 1 step of 1 table, 2 s; left out: vans")
