"""The merge rule over every small history and every delivery of it, and the rules that fail."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import pytest

from tests.simulation.failing_rules import RED_CONTROLS, RedControl
from tests.simulation.small_scope import FAMILIES, TWO_REGISTERS, Scope, search, slice_of

STRIDES = (1_200, 500, 250)
"""Of each family of scenarios every so many-th is delivered."""

LEAST = (2_000_000, 50_000, 400_000)
PARTS = 2
SOAK_STRIDES = (20, 4, 2)


def test_the_smallest_scenarios_end_right() -> None:
    scope = Scope(writes=2, scans=1)
    for family in FAMILIES:
        verdict = search(TWO_REGISTERS, islice(family(scope), 0, None, 7))
        assert not verdict.wrong, verdict.wrong
        assert verdict.deliveries > 1_000


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("family", range(len(FAMILIES)), ids=lambda number: FAMILIES[number].__name__)
def test_a_slice_of_all_scenarios_ends_right(family: int, part: int) -> None:
    verdict = slice_of(family, part * STRIDES[family], PARTS * STRIDES[family])
    print(f"{verdict.deliveries} deliveries, {verdict.merges} merges, {verdict.wrong or '0 wrong'}")
    assert not verdict.wrong, verdict.wrong
    assert verdict.deliveries >= LEAST[family]


@pytest.mark.soak
def test_all_scenarios_end_right() -> None:
    deliveries = merges = 0
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for family, stride in enumerate(SOAK_STRIDES):
            parts = 16
            starts = [part * stride for part in range(parts)]
            for verdict in pool.map(slice_of, [family] * parts, starts, [parts * stride] * parts):
                assert not verdict.wrong, verdict.wrong
                deliveries += verdict.deliveries
                merges += verdict.merges
    print(f"{deliveries} deliveries, {merges} merges, 0 wrong")
    assert deliveries >= 10_000_000


@pytest.mark.parametrize("control", RED_CONTROLS, ids=lambda control: control.name)
def test_a_rule_that_fails_is_found(control: RedControl) -> None:
    verdict = control.search()
    print(f"{control.name}: {verdict.wrong}")
    assert "the source holds" in verdict.wrong
