"""What the documents send a reader to exists: tests, pages, anchors, verbs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from lakebound.cli.app import app
from tests.support.command_verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "SECURITY.md"]
named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def verbs() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        yield name
        yield from (f"{name} {inner}" for inner in getattr(command, "commands", ()))


@named
def test_every_test_that_is_named_exists(document: Path) -> None:
    for place in re.findall(r"`(tests/[\w./-]+)`", document.read_text()):
        assert (ROOT / place).exists(), place


@named
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        place, _, anchor = target.partition("#")
        if "://" in target:
            continue
        page = (document.parent / place) if place else document
        assert page.exists(), target
        if anchor and page.suffix == ".md":
            assert f'<a id="{anchor}">' in page.read_text() or f"# {anchor}" in page.read_text().lower(), target


@named
def test_every_verb_that_is_named_exists(document: Path) -> None:
    known = set(verbs())
    for told in re.findall(r"`lakebound ([a-z-]+(?: [a-z]+)?)", document.read_text()):
        assert told in known or told.split()[0] in known, told


def test_a_verb_that_is_not_there_would_be_seen() -> None:
    assert "nothing" not in set(verbs())
    assert "dlq redrive" in set(verbs())


def test_the_page_of_rights_names_every_verb_that_reads_silver() -> None:
    """Else a verb is refused of which the page says nothing. `replay` only prints the name."""
    page = (ROOT / "docs" / "RIGHTS.md").read_text()
    (told,) = re.findall(r"^- \*\*Silver\.\*\*(.*?)read a table in S3", page, re.MULTILINE | re.DOTALL)
    reading = {" ".join(verb) for verb, one in VERBS.items() if any("--target" in option.opts for option in one.params)}
    assert {verb for verb in reading - {"replay"} if verb not in told} == set()
    assert {"query", "status"} <= reading, "red control: the page left them out"
