"""What a soak tells can be bad news: a slope of memory, and a promise that was broken."""

from __future__ import annotations

import pytest

from tests.simulation import soak
from tests.simulation.handlers import through_handlers
from tests.simulation.mutants import MUTANTS, applied

# A crash leaves no metrics, and Powertools says so each time.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")


def samples(*megabytes: float) -> list[soak.Sample]:
    """One process, looked at each minute."""
    return [soak.Sample(60.0 * place, 0, int(held * 1e6)) for place, held in enumerate(megabytes)]


@pytest.mark.parametrize(
    ("held", "megabytes_an_hour"),
    [
        # The first fifth is warm-up.
        ((10, 90, 100, 100, 100, 100, 100, 100, 100, 100), 0),
        ((10, 90, 100, 101, 102, 103, 104, 105, 106, 107), 60),
        # A large world: a peak and a step, once.
        ((*[10] * 10, *[100] * 33, 106, *[102] * 6), 0),
        # A leak that shows every tenth time.
        ((*[10] * 10, *[100] * 10, *[110] * 10, *[120] * 10, *[130] * 10), 54.55),
    ],
)
def test_the_slope_is_what_memory_grows_by_after_the_warm_up(held: tuple[float, ...], megabytes_an_hour: float) -> None:
    assert soak.Soaked(samples=samples(*held)).slope() / 1e6 == pytest.approx(megabytes_an_hour, abs=0.01)


def test_what_a_process_holds_on_to_shows_in_its_memory_and_what_it_freed_does_not() -> None:
    # What earlier tests freed would be used first, and hide the growth.
    soak.give_back()
    before = soak.resident()
    held = [bytes([place % 256]) * 1_000 for place in range(50_000)]
    soak.give_back()
    assert soak.resident() - before > 40e6
    del held
    soak.give_back()
    assert soak.resident() - before < 10e6


def test_a_careless_handler_breaks_a_promise_in_a_soaked_world() -> None:
    (careless,) = [mutant for mutant in MUTANTS if mutant.name == "delete all messages in hand"]
    with applied(careless):
        _, broken = soak.live_world(soak.SEED, through_handlers())
    assert broken.startswith(f"seed {soak.SEED}: ")
    _, broken = soak.live_world(soak.SEED, through_handlers())
    assert not broken
