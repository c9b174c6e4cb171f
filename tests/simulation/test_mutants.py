"""Every hand-written mutant is killed by the test it names."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, kill, the_test


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_mutant_is_killed(mutant: Mutant) -> None:
    said = kill(mutant)
    print(f"{mutant.name}: {mutant.killed_by.split('::')[1]} says {said}")
    assert said


@pytest.mark.parametrize("node", sorted({mutant.killed_by for mutant in MUTANTS}))
def test_a_killer_passes_without_a_mutant(node: str) -> None:
    the_test(node)()
