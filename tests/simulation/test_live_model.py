"""The model of `_live`: the job's rule holds in every order of steps, and each careless rule is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.live_model import RED_CONTROLS, THE_JOB, Bounds, Rule, items, search

APPENDS = {"read the floor", "append", "note in the checkpoint", "merge", "note", "drop"}
PURGE = {"begin a purge", "note the floor", "find tombstones", "purge", "clear the append", "clear"}

NEW_CHECKPOINT = Bounds(merges=2, crashes=0, purges=0)
PURGED = Bounds(crashes=0, checkpoints=0)
KILLED = Bounds(readers=0, checkpoints=0)


def rule(name: str) -> Rule:
    return next(one for one in RED_CONTROLS if one.name == name)


@pytest.mark.parametrize(
    ("bounds", "steps", "states"),
    [
        (NEW_CHECKPOINT, APPENDS | {"new checkpoint", "read silver"}, 1_500),
        (PURGED, APPENDS | PURGE | {"read silver"}, 4_000),
        pytest.param(KILLED, APPENDS | PURGE | {"crash"}, 8_000, marks=pytest.mark.soak),
        pytest.param(
            Bounds(purges=0), APPENDS | {"crash", "new checkpoint", "read silver"}, 30_000, marks=pytest.mark.soak
        ),
        pytest.param(
            Bounds(), APPENDS | PURGE | {"crash", "new checkpoint", "read silver"}, 100_000, marks=pytest.mark.soak
        ),
    ],
)
def test_a_reader_sees_the_table_of_some_moment_in_every_order_of_steps(
    bounds: Bounds, steps: set[str], states: int
) -> None:
    found = search(THE_JOB, bounds)
    assert found.fault is None
    assert set(found.steps) == steps, "a step that never happens proves nothing"
    assert found.states > states


SLOW = ("a start clears nothing", "a merge keeps what it left out", "a merge asks for no floor")


@pytest.mark.parametrize(
    "rule",
    [pytest.param(rule, id=rule.name, marks=[pytest.mark.soak] * (rule.name in SLOW)) for rule in RED_CONTROLS],
)
def test_red_control_a_careless_rule_is_found(rule: Rule) -> None:
    fault = next((found for bounds in (NEW_CHECKPOINT, PURGED, KILLED) if (found := search(rule, bounds).fault)), None)
    assert fault is not None
    assert fault.saw not in fault.expected
    assert fault.steps[-1] in ("read _changes", "start")


def test_the_shortest_history_of_a_merge_that_drops_at_once_is_the_story_of_the_design() -> None:
    fault = search(rule("drops at once what it has merged"), replace(NEW_CHECKPOINT, starts=False)).fault
    assert fault is not None
    assert sorted(fault.steps[:-1]) == sorted(["read the floor", "append", "read silver", "merge", "note", "drop"])
    assert (fault.saw, fault.expected[-1]) == ((), items((("b", 1, 0),)))


def test_a_reader_that_two_merges_overtake_is_beyond_the_promise() -> None:
    fault = search(THE_JOB, replace(PURGED, purges=0, merges_beside_reader=2)).fault
    assert fault is not None
    assert fault.steps.count("merge") == 2


def test_a_reader_between_an_append_and_the_look_at_a_floor_that_moved_is_beyond_the_promise() -> None:
    fault = search(THE_JOB, replace(PURGED, reads_unchecked=True)).fault
    assert fault is not None
    assert "clear the append" not in fault.steps
    assert fault.steps.index("note the floor") < len(fault.steps) - 1
