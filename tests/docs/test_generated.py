"""Documents say what the code does, and the check would notice if they did not."""

from pathlib import Path

from docs import generate


def test_no_document_is_stale() -> None:
    assert generate.stale() == []


def test_a_document_that_says_otherwise_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "X.md"
    document.write_text("# X\n<!-- generated: fields -->\n| field |\n<!-- end -->\n")
    assert generate.stale(tmp_path) == [document]
