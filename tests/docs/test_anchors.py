"""Every page and anchor that the source, the template and the state machine send a reader to exists."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PAGE = re.compile(r"(?<![\w./-])(?:docs/)?(?P<page>(?:adr/)?[A-Z0-9][A-Za-z0-9-]*\.md)(?:#(?P<anchor>[\w-]+))?")
SENDERS = ("src", "spark", "functions", "statemachines", "demo", "bench", "tests", "template.yaml", "Makefile")


def senders() -> list[str]:
    listed = subprocess.run(["git", "ls-files", *SENDERS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kinds = {".py", ".json", ".yaml", ".yml", ""}
    return [name for name in listed.splitlines() if Path(name).suffix in kinds and not name.startswith("tests/docs/")]


def anchors_of(text: str) -> set[str]:
    """The anchors of a page as a forge makes them of its headings, and those that it sets itself."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def missing(text: str) -> Iterator[str]:
    """What the text names that no page or anchor answers to."""
    for found in _PAGE.finditer(text):
        page = next((place for place in (ROOT / "docs" / found["page"], ROOT / found["page"]) if place.exists()), None)
        if page is None:
            yield found["page"]
        elif found["anchor"] and found["anchor"] not in anchors_of(page.read_text("utf-8")):
            yield found[0]


@pytest.mark.parametrize("sender", senders())
def test_every_page_that_is_named_exists(sender: str) -> None:
    assert [*missing((ROOT / sender).read_text("utf-8"))] == []


@pytest.mark.parametrize("wrong", ["see NOWHERE.md", "docs/OPERATIONS.md#no-such-alarm"])
def test_a_page_or_an_anchor_that_is_not_there_would_be_seen(wrong: str) -> None:
    assert len([*missing(wrong)]) == 1
    assert [*missing("docs/ORDERING.md#the-sweep")] == []
