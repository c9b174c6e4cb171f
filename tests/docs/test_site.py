"""Whoever begins at the site's navigation, at llms.txt or at AGENTS.md is sent to everything there is, and to nothing
that is not there. `make site` itself finds links to nowhere; tests/release/test_site.py shows that it does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.site_pages import ROOT, pages

CONFIG = ROOT / "mkdocs.yml"
LLMS = ROOT / "llms.txt"
AGENTS = ROOT / "AGENTS.md"
DECISIONS = "docs/adr/README.md"


class _Config(yaml.SafeLoader):
    """mkdocs.yml names Python functions, which no test needs."""


_Config.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def places(nav: Any) -> Iterator[str]:
    """The pages of a navigation, at whatever depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for one in nav.values() if isinstance(nav, dict) else nav:
            yield from places(one)


def navigation() -> list[str]:
    return [*places(yaml.load(CONFIG.read_text("utf-8"), _Config)["nav"])]


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def lost(text: str) -> list[str]:
    """What a text for agents names that is not there: links, files and folders with a slash in their names, or at the
    root with a suffix."""
    words = {
        word for span in re.findall(r"`([^`\n]+)`|^(\.venv/.*)$", text, re.MULTILINE) for word in " ".join(span).split()
    }
    files = {word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?|\w+/|[\w-]+\.(md|txt|toml|yaml|yml)", word)}
    return sorted(one for one in {*files, *links(text)} if not (ROOT / one).exists())


def test_every_page_stands_in_the_navigation_once() -> None:
    assert sorted(navigation()) == sorted(pages())


def test_red_control_a_page_without_a_place_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "NEW.md").write_text("# New\n")
    assert set(pages(tmp_path)) - set(navigation()) == {"docs/NEW.md"}


def test_llms_txt_names_every_page() -> None:
    below_decisions = {page for page in pages() if page.startswith("docs/adr/")} - {DECISIONS}
    assert sorted(links(LLMS.read_text("utf-8"))) == sorted({*pages()} - below_decisions)


def test_llms_txt_has_the_form_of_its_kind() -> None:
    """One heading with the name, a quote that sums up, then sections whose lines are links with a note."""
    title, _, summary, *rest = LLMS.read_text("utf-8").splitlines()
    assert title == "# Lakebound"
    assert summary.startswith("> ")
    assert [line for line in rest if line.startswith("- ") and not re.match(r"- \[[^\]]+\]\([^)]+\).*: \S", line)] == []


@pytest.mark.parametrize("page", [AGENTS, LLMS], ids=lambda page: page.name)
def test_everything_that_an_agent_is_told_exists(page: Path) -> None:
    assert lost(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "wrong",
    ["`src/lakebound/nowhere`", "read `NOWHERE.md`", "[x](docs/NOWHERE.md)", ".venv/bin/pytest tests/no/test.py"],
)
def test_red_control_what_is_not_there_is_found(wrong: str) -> None:
    assert len(lost(wrong)) == 1
