"""The lines of `bench.entities`: commits are left out of the ratio with an aim, and a missed aim says so."""

from pathlib import Path

import pytest

from bench import entities
from bench.entities import Spent, Way, lines, processor_seconds


def test_the_aim_is_about_what_both_sides_spend_beside_their_commits() -> None:
    one = Spent([6.0, 7.0], [10.0, 12.0], [2.0, 3.0], [4.0, 6.0])
    ten = Spent([14.0, 15.0], [29.0, 31.0], [8.0, 9.0], [20.0, 22.0])
    whole, merges, beside = lines("merged", one, ten).splitlines()
    assert whole == "| merged, in all | 6.5 | 14.5 | 11.0 | 30.0 | **2.73** |  |"
    assert merges == "| the MERGEs | 2.5 | 8.5 | 5.0 | 21.0 | **4.20** |  |"
    assert beside == "| merged, beside the MERGEs | 4.0 | 6.0 | 6.0 | 9.0 | **1.50** | ≤ 1.5 |"


def test_a_missed_aim_says_so() -> None:
    one, ten = (Spent([1.5], [seconds], [0.5], [1.0]) for seconds in (3.0, 4.2))
    *_, beside = lines("appended", one, ten).splitlines()
    assert beside == "| appended, beside the appends | 1.0 | 1.0 | 2.0 | 3.2 | **1.60** | ≤ 1.5 missed |"


def test_processor_seconds_grow_with_work() -> None:
    before = processor_seconds()
    while processor_seconds() == before:
        sum(range(100_000))


def test_the_page_says_what_a_further_table_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "entities.svg"
    page.write_text("Before.\n<!-- figures: ten tables -->\n<!-- end of ten tables -->\nAfter.\n", "utf-8")
    monkeypatch.setattr(entities, "PAGE", page)
    monkeypatch.setattr(entities, "PICTURE", picture)
    one, ten = Spent([2.0], [4.0], [1.0], [2.0]), Spent([9.0], [22.0], [5.0], [10.0])
    entities.write_page({"merged": Way("On a machine.", one, ten)})
    text = page.read_text("utf-8")
    assert "take 5.5 times the processor seconds of one](entities.svg)" in text
    assert "4.0 processor seconds with one table and 22.0 with ten: a further table adds 2.0." in text
    assert "\n\nOn a machine.\n\n" in text
    assert lines("merged", one, ten) in text
    assert (text.startswith("Before."), text.endswith("After.\n")) == (True, True)
    entities.write_page(
        {"merged": Way("Now.", one, ten), "appended": Way("Then.", one, Spent([3.0], [8.0], [1.0], [2.0]))}
    )
    assert "take 2.0 to 5.5 times" in picture.read_text("utf-8")
    assert "- Merged at once: Now.\n- Appended (`--merge-every`): Then.\n" in page.read_text("utf-8")
