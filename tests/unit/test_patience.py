"""A step that goes on failing ends the driver, and one that recovers or fails by what it found does not."""

from __future__ import annotations

from datetime import UTC, datetime

from lakebound_spark.lake.patience import Patience
from lakebound_spark.lake.schedule import Daily, End, Every, Step
from lakebound_spark.lake.steps import Outcome
from lakebound_spark.lake.turns import Ended

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC).timestamp()
SILVER, AUDIT = Step("lake.cars", "silver", Every(60)), Step("lake.cars", "audit", Daily(270))
WELL, PROBLEM = Outcome("merged"), Outcome("wrong", is_problem=True)


def turn(at: float, what: Outcome | Exception, step: Step = SILVER) -> Ended[Outcome]:
    if isinstance(what, Outcome):
        return Ended(step, NOON + at, NOON + at + 1, End.DONE, None, what)
    return Ended(step, NOON + at, NOON + at + 1, End.FAILED, None, error=what)


def lost(seconds: float, *turns: Ended[Outcome]) -> list[str | None]:
    patience = Patience(seconds)
    return [patience.lost_over(one) for one in turns]


def test_a_step_that_has_failed_for_so_long_ends_the_driver() -> None:
    before, at_last = lost(60, turn(0, ValueError()), turn(59, ValueError()))
    assert before is None
    assert at_last is not None
    assert at_last.startswith("silver of lake.cars has failed since 2026-11-27T12:00:00")


def test_one_good_turn_begins_the_time_anew() -> None:
    assert lost(60, turn(0, ValueError()), turn(30, WELL), turn(61, ValueError())) == [None] * 3


def test_the_time_of_a_step_is_its_own() -> None:
    assert lost(60, turn(0, ValueError()), turn(80, ValueError(), AUDIT)) == [None] * 2


def test_a_merge_that_fails_counts_and_what_an_audit_finds_does_not() -> None:
    assert lost(60, turn(0, PROBLEM), turn(80, PROBLEM))[1] is not None
    assert lost(60, turn(0, PROBLEM, AUDIT), turn(86_400, PROBLEM, AUDIT)) == [None] * 2
    assert lost(60, turn(0, ValueError(), AUDIT), turn(80, ValueError(), AUDIT))[1] is not None


def test_without_seconds_nothing_ends_it() -> None:
    assert lost(0, turn(0, ValueError()), turn(10**9, ValueError())) == [None] * 2
