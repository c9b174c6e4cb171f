"""Each page begins with two sentences: who it is for, and what the reader can do or knows after it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_OPENING = re.compile(r"\A# .+\n\nFor [^.]+\. After it you (?:can|know)\s[^.]+\.(?:\s|\Z)")


def opens_well(text: str) -> bool:
    return _OPENING.match(re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_whom_it_is_for_and_what_they_can_do_after_it(page: Path) -> None:
    assert opens_well(page.read_text("utf-8"))


@pytest.mark.parametrize(
    "wrong",
    [
        "# Cost\n\nIt depends. After it you can tell.\n",
        "# Cost\n\nFor the person who pays. Prices are of one region.\n",
        "# Cost\n\n| driver | follows |\n\nFor the person who pays. After it you can tell.\n",
    ],
)
def test_a_page_without_such_an_opening_is_found(wrong: str) -> None:
    assert not opens_well(wrong)
