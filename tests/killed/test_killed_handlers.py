"""kill -9 of the real handlers at every numbered side effect, and proof that a careless one is caught."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.killed.histories import Kill, Machine, kills_of, live, machine
from tests.simulation.turns import Violated

SEEDS = 25
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("killed")) as made:
        yield made


KINDS = {
    "stream_ingest PutObject quarantine",
    "stream_ingest PutObject claims",
    "stream_ingest SendMessageBatch",
    "flusher PutObject file",
    "flusher DeleteMessageBatch",
    "backfill PutObject backfills",
    "backfill PutObject file",
    "backfill PutObject segments",
    "backfill PutObject manifests",
}


def test_a_kill_around_each_kind_of_side_effect_loses_nothing(here: Machine) -> None:
    whole = live(here, 0)
    assert set(whole.effects) == KINDS
    for number, effect in enumerate(sorted(KINDS)):
        assert live(here, 0, Kill(whole.effects.index(effect) + 1, ("before", "after")[number % 2])).kills == 1


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_kill_around_every_side_effect_loses_nothing(here: Machine, seed: int) -> None:
    whole = live(here, seed)
    lived = [live(here, seed, kill) for kill in kills_of(whole)]
    kills = sum(one.kills for one in lived)
    print(f"seed {seed}: {len(whole.effects)} side effects, {kills} kills, 0 lost, 0 wrong")
    # How many messages a receive brings is the queue's to choose, so a history may have an effect less than the first.
    assert kills >= 0.9 * len(lived)


@pytest.mark.parametrize(
    ("careless", "effect", "says"),
    [
        ("delete before put", "flusher PutObject file", "G3"),
        pytest.param("checkpoint before file", "backfill PutObject file", "the segments count", marks=pytest.mark.soak),
    ],
)
def test_a_careless_handler_is_caught(
    tmp_path_factory: pytest.TempPathFactory, careless: str, effect: str, says: str
) -> None:
    with machine(tmp_path_factory.mktemp("careless"), careless) as made:
        # Found without a kill it would be no test of the kill.
        number = live(made, 0).effects.index(effect) + 1
        with pytest.raises(Violated, match=says):
            live(made, 0, Kill(number, "before"))
