"""The model of `_live`: the job's rule holds in every order of steps, and each careless rule is found."""

from __future__ import annotations

import pytest

from tests.simulation.live_model import RED_CONTROLS, THE_JOB, Bounds, Rule, greatest, search

STEPS = {
    *("append", "note in the checkpoint", "merge", "note", "drop"),
    *("crash", "new checkpoint", "read silver"),
}


def test_a_reader_sees_the_table_of_some_moment_in_every_order_of_steps() -> None:
    found = search(THE_JOB)
    assert found.fault is None
    assert set(found.steps) == STEPS, "a step that never happens proves nothing"
    assert found.states > 1_000


@pytest.mark.soak
def test_the_same_with_more_of_everything() -> None:
    found = search(THE_JOB, Bounds(merges=4, crashes=2))
    assert found.fault is None
    assert found.states > 20_000


@pytest.mark.parametrize("rule", RED_CONTROLS, ids=lambda rule: rule.name)
def test_red_control_a_careless_rule_is_found(rule: Rule) -> None:
    fault = search(rule).fault
    assert fault is not None
    assert fault.saw not in fault.expected
    assert fault.steps[-1] == "read _changes"


def test_the_shortest_history_of_a_merge_that_drops_at_once_is_the_story_of_the_design() -> None:
    fault = search(RED_CONTROLS[0]).fault
    assert fault is not None
    assert sorted(fault.steps[:-1]) == sorted(
        ["append", "read silver", "note in the checkpoint", "merge", "note", "drop"]
    )
    assert (fault.saw, fault.expected[-1]) == ((), greatest((("a", 1),)))


def test_a_reader_that_two_merges_overtake_is_beyond_the_promise() -> None:
    fault = search(THE_JOB, Bounds(merges_beside_reader=2)).fault
    assert fault is not None
    assert fault.steps.count("merge") == 2
