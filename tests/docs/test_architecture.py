"""ARCHITECTURE names every package and module of the roots with one sentence, and no file that is not there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text("utf-8")
ROOTS = ("src/lakebound", "spark/lakebound_spark")


def rows_of(page: str, root: str) -> dict[str, str]:
    table = page.partition(f"| `{root}/` | what it holds |\n|---|---|\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", table, re.MULTILINE))


def parts_of(root: str) -> set[str]:
    folders = {f"{found.parent.name}/" for found in (ROOT / root).glob("*/__init__.py")}
    return folders | {found.name for found in (ROOT / root).glob("[a-z]*.py")}


def missing_files(page: str) -> list[str]:
    """The files named on the page, by their place below a root or the checkout, that are not there."""
    named = re.findall(r"[`\"]((?:[a-z_]+/)+[a-z_]+\.py)[`\"]", page)
    return [name for name in named if not any((ROOT / root / name).exists() for root in ("", *ROOTS))]


@pytest.mark.parametrize("root", ROOTS)
def test_every_package_has_its_sentence(root: str) -> None:
    rows = rows_of(PAGE, root)
    assert set(rows) == parts_of(root)
    assert [about for about in rows.values() if not re.fullmatch(r"[^.]+(?:\.\w[^.]*)*\.", about)] == []


def test_every_file_that_is_named_exists() -> None:
    assert missing_files(PAGE) == []


def test_a_package_left_out_and_a_file_that_is_not_there_would_be_seen() -> None:
    without = "\n".join(line for line in PAGE.splitlines() if not line.startswith("| `live/`"))
    assert parts_of(ROOTS[0]) - set(rows_of(without, ROOTS[0])) == {"live/"}
    assert missing_files("`live/ingest.py`, `live/digest.py`") == ["live/digest.py"]
