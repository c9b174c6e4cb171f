"""Documents say what the code does, and the check would notice if they did not."""

from pathlib import Path

from docs import bundle_template, generate


def test_no_document_is_stale() -> None:
    assert generate.stale() == []
    assert bundle_template.stale(generate.ROOT) == []


def test_a_document_that_says_otherwise_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "X.md"
    document.write_text("# X\n<!-- generated: fields -->\n| field |\n<!-- end -->\n")
    assert generate.stale(tmp_path) == [document]


def test_a_template_that_differs_from_the_bundle_is_named_and_made_anew(tmp_path: Path) -> None:
    bundle = tmp_path / bundle_template.BUNDLE
    bundle.parent.mkdir()
    bundle.write_text((generate.ROOT / bundle_template.BUNDLE).read_text())
    bundle_template.write(tmp_path)
    assert bundle_template.stale(tmp_path) == []
    extra = tmp_path / bundle_template.FOLDER / "template" / "extra.yml"
    extra.write_text("")
    (template,) = (tmp_path / bundle_template.FOLDER).rglob("databricks.yml.tmpl")
    bundle.write_text(bundle.read_text().replace("--days=2", "--days=3"))
    assert bundle_template.stale(tmp_path) == [template, extra]
    bundle_template.write(tmp_path)
    assert "--days=3" in template.read_text()
    assert not extra.exists()
