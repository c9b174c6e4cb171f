"""The site is built strictly: a page with a link to nowhere, or to no such heading, is no site."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.wheel import ROOT

PROGRAM = str(ROOT / ".venv-site" / "bin" / "mkdocs")


def build(folder: Path, said: str) -> subprocess.CompletedProcess[str]:
    """The site of one page beside the front ones, with this project's settings and hook."""
    (folder / "docs").mkdir()
    shutil.copyfile(ROOT / "docs" / "site_pages.py", folder / "docs" / "site_pages.py")
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "llms.txt", "LICENSE"):
        (folder / name).write_text(f"# {name}\n")
    (folder / "docs" / "COST.md").write_text(f"# Cost\n\n## What it costs\n\n{said}\n")
    settings = re.split(r"^nav:", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.MULTILINE)[0]
    (folder / "mkdocs.yml").write_text(settings)
    command = [PROGRAM, "build", "--strict"]
    more = {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=os.environ | more, capture_output=True, text=True, check=False)


def test_a_page_is_served_as_html_and_as_it_was_written(tmp_path: Path) -> None:
    done = build(tmp_path, "[front](../README.md), [here](#what-it-costs)\n\n```mermaid\nflowchart LR\n  a --> b\n```")
    assert done.returncode == 0, done.stderr
    site = tmp_path / ".build" / "site"
    html = (site / "docs" / "COST" / "index.html").read_text("utf-8")
    assert 'href="../../"' in html
    assert '<pre class="mermaid">' in html
    assert (site / "docs" / "COST.md").read_text("utf-8").startswith("# Cost")
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)"', html)
    assert styles
    assert [one for one in styles if not (site / "docs" / "COST" / one).exists()] == []
    # The page asks no maker of fonts, who would learn of every reader.
    assert "fonts.g" not in html
    assert "What it costs" in (site / "search" / "search_index.json").read_text("utf-8")


@pytest.mark.parametrize("target", ["nowhere.md", "../src/nothing.py"])
def test_red_control_a_link_to_nowhere_ends_the_build(tmp_path: Path, target: str) -> None:
    done = build(tmp_path, f"[x]({target}) [y](#no-such-heading)")
    assert done.returncode == 1
    assert f"contains a link '{target}'" in done.stderr
    assert "#no-such-heading" in done.stderr
