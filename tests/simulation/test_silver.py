"""The oracle's two forms agree: both registers kept whole, and the compacted row that a MERGE changes."""

from __future__ import annotations

import random
from typing import Any

from tests.support.registers import Silver, chain_breaks, visible_items

RUNS = ("a", "b")
"""Of one length: joined as text, `run1` sorts after `run10`. Any order of runs will do, but both must have the same."""


def record(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        version = f"2026-01-01T00:00:00.000|{rng.randrange(6):040d}"
        # One version has one image: two records that share it are the same record.
        image = {"v": {"N": version[-1]}} if random.Random(version).random() < 0.7 else None
        return {
            "origin": "stream",
            "key": "k",
            "version": version,
            "approx_creation_time_ms": rng.randrange(8) * 1000,
            "new_image": image,
        }
    label, run, present = rng.randrange(8) * 1000, rng.choice(RUNS), rng.random() < 0.7
    return {
        "origin": "scan",
        "key": "k",
        "snapshot_label_ms": label,
        "snapshot_run": run,
        "new_image": {"v": {"S": f"{label} {run}"}} if present else None,
    }


def test_both_forms_show_the_same_item() -> None:
    rng = random.Random(7)
    for _ in range(5_000):
        records = [record(rng) for _ in range(rng.randrange(1, 8))]
        silver = Silver()
        silver.merge(records)
        assert silver.items() == visible_items(records)


def test_a_missing_link_of_the_chain_is_found() -> None:
    def change(version: str, old: str | None, new: str | None) -> dict[str, Any]:
        return {"origin": "stream", "key": "k", "version": version, "old_image": old, "new_image": new}

    chain = [change("1", None, "a"), change("2", "a", "b"), change("3", "b", None), change("4", None, "c")]
    assert chain_breaks(chain) == []
    assert chain_breaks([chain[0], *chain[2:]]) == [("k", "1", "3")]
    assert chain_breaks(list(reversed(chain)) + chain) == []
    # What came and went between two absences leaves the chain whole: only the iterator's age can tell of it.
    assert chain_breaks([change("3", "b", None), change("6", None, "d")]) == []
