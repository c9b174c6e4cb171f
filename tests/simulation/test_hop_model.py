"""Conservation in every reachable state of the hop model, and the mutants that lose a record."""

from __future__ import annotations

import pytest

from tests.simulation.hop_model import MUTANTS, Model, search

STATES = 200_000


def test_no_reachable_state_loses_a_record() -> None:
    searched = search(Model(), STATES)
    print(f"{searched.states} states, {searched.steps} steps")
    assert not searched.loss, "\n".join(searched.loss)
    assert searched.states >= STATES


def test_a_smaller_model_is_searched_whole() -> None:
    searched = search(Model(records=2, poison=0b01, slots=2, flushers=1), 10 * STATES)
    assert not searched.loss, "\n".join(searched.loss)
    assert searched.whole


@pytest.mark.soak
def test_a_million_states_lose_no_record() -> None:
    searched = search(Model(), 1_200_000)
    print(f"{searched.states} states, {searched.steps} steps")
    assert not searched.loss, "\n".join(searched.loss)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_careless_step_is_caught(mutant: str) -> None:
    searched = search(Model(mutant=mutant), STATES)
    print(f"{mutant}: {'; '.join(searched.loss)}")
    assert searched.loss
