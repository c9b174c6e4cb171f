"""Pages of the benchmarks are written from what was kept, around words that stay. Nothing is measured here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import history, live_page, merge
from bench.figures import keep, kept, put
from bench.live_page import Measured, Part, Side

PARTS = dict[str, Part]


def append(base: float, ours: float) -> Measured:
    return Measured("file to _live", "uniform", Side("bare MERGE", [base]), Side("ours", [ours]), 0.2, events=1_000)


def marks(*names: str) -> str:
    return "\n".join(f"Before {name}.\n\n<!-- figures: {name} -->\n<!-- end of {name} -->\n" for name in names)


def test_figures_go_between_their_marks_and_the_words_around_them_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(marks("one", "two") + "After.\n", "utf-8")
    put(page, {"one": r"| \1 | 2 |"})
    put(page, {"two": "second"})
    put(page, {"one": "| newer |"})
    text = page.read_text("utf-8")
    assert [*re.findall(r"Before \w+\.|\| newer \||second|After\.", text)] == [
        "Before one.",
        "| newer |",
        "Before two.",
        "second",
        "After.",
    ]
    assert r"\1" not in text


def test_a_page_without_its_marks_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(marks("one"), "utf-8")
    with pytest.raises(SystemExit, match=r"page\.md needs the lines <!-- figures: two --> and <!-- end of two -->"):
        put(page, {"one": "figures", "two": "figures"})
    assert page.read_text("utf-8") == marks("one")
    page.write_text(marks("one", "one"), "utf-8")
    with pytest.raises(SystemExit):
        put(page, {"one": "figures"})


def test_figures_of_another_form_are_refused(tmp_path: Path) -> None:
    place = tmp_path / "figures.json"
    assert kept(place, PARTS) == {}
    part = Part("appends", "On a machine.", [append(10.0, 2.0)])
    keep(place, {"appends": part})
    assert kept(place, PARTS) == {"appends": part}
    place.write_text('{"appends": {"name": "appends", "measured": 3}}', "utf-8")
    with pytest.raises(msgspec.ValidationError):
        kept(place, PARTS)


def test_one_part_measured_again_leaves_the_others_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, picture = tmp_path / "live-page.md", tmp_path / "live.svg"
    page.write_text(marks("meaning", "appends", "reads"), "utf-8")
    monkeypatch.setattr(live_page, "PAGE", page)
    monkeypatch.setattr(live_page, "PICTURE", picture)
    look = Measured("lookup by _key", "1 % pending", Side("silver", [0.5]), Side("_live", [2.0]), 2.0)
    live_page.write_page(
        {"reads": Part("reads", "Reads of now.", [look]), "appends": Part("appends", "Then.", [append(10, 2)])}
    )
    first = page.read_text("utf-8")
    live_page.write_page({"appends": Part("appends", "Again.", [append(10, 4)])})
    text = page.read_text("utf-8")
    assert "Reads of now." in text
    assert "Again." in text
    assert "Then." in first
    assert "Then." not in text
    assert "| 10.00 s | 4.00 s | 0.40 – **0.40** – 0.40 | ≤ 0.2 × missed |" in text
    assert "A change is visible in 0.20 of a MERGE's time, and a lookup in _live takes 4.0 times as long" in first
    assert "1,000 of them are visible in `_live` 2.0 s after their file is read" in first
    assert "Until a change is visible, keys anywhere" in picture.read_text("utf-8")


def test_a_number_of_times_is_drawn_as_a_share_of_time() -> None:
    one = Measured("sustained", "uniform", Side("bare MERGE", [30.0]), Side("ours", [10.0]), 2.5, faster=True)
    drawn = live_page.bar(one)
    assert (round(drawn.value, 3), drawn.aim, drawn.missed) == (0.333, 0.4, False)
    one.ours.seconds = [15.0]
    assert live_page.bar(one).missed


PAGES = {
    live_page: (live_page.write_page, PARTS),
    merge: (lambda cases: merge.write_page(cases.values()), dict[str, merge.MergeCase]),
    history: (history.write_page, history.HistoryFigures),
}


@pytest.mark.parametrize("module", [live_page, merge, history], ids=lambda module: module.__name__)
def test_a_page_shows_what_is_kept_beside_it(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure typed into a page, or kept and not written, would differ from a page that is written now."""
    before, write = module.PAGE.read_text("utf-8"), PAGES[module]
    page = tmp_path / "page.md"
    spoilt = re.sub(r"(<!-- figures: \w+ -->).*?(<!-- end)", r"\1 typed by somebody \2", before, flags=re.DOTALL)
    page.write_text(spoilt, "utf-8")
    monkeypatch.setattr(module, "PAGE", page)
    monkeypatch.setattr(module, "PICTURE", tmp_path / module.PICTURE.name)
    write[0](kept(module.KEPT, write[1]))
    assert page.read_text("utf-8") == before
    picture = (tmp_path / module.PICTURE.name).read_text("utf-8")
    assert len(picture) < 30_000
    assert f"]({module.PICTURE.name})" in before


def test_a_case_measured_again_tells_its_own_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(marks("meaning", "table"), "utf-8")
    monkeypatch.setattr(merge, "PAGE", page)
    monkeypatch.setattr(merge, "PICTURE", tmp_path / "merge.svg")
    one = merge.MergeCase(10, 1_000, 100, "uniform", [1.0], [2.0], [80], "Then.")
    other = merge.MergeCase(10, 1_000, 100, "recent", [1.0], [1.1], [80], "Then.")
    merge.write_page([one, other])
    assert page.read_text("utf-8").count("Then.") == 1
    assert "100 changes anywhere in the table are in it 2 s after their file is read" in page.read_text("utf-8")
    assert "keeps up with 50 changes a second" in page.read_text("utf-8")
    other.conditions = "Now."
    merge.write_page([one, other])
    assert "- 1,000 rows, 10 columns, newest keys: Now." in page.read_text("utf-8")
