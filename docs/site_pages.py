"""A hook of mkdocs: the site holds the repository's pages and what they link to, each under its own relative address.

So a link means the same on the site, on a forge and in a clone, and none is rewritten. A page also stands there as it
was written (`docs/SILVER.md` beside `docs/SILVER/`), since that is what llms.txt names.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
FRONT: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
OTHERS: Final = ("llms.txt", "LICENSE")
_LINK: Final = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def pages(root: Path = ROOT) -> list[str]:
    """The pages' places in the repository."""
    return [*FRONT, *sorted(page.relative_to(root).as_posix() for page in (root / "docs").rglob("*.md"))]


def linked(root: Path = ROOT) -> list[str]:
    """The files that pages link to and that are no pages: a template, a picture, a test. A link to nowhere is not
    among them; the strict build names it."""
    return sorted({place for page in pages(root) for place in _targets(root, page)} - set(pages(root)))


def _targets(root: Path, page: str) -> Iterator[str]:
    for target in _LINK.findall((root / page).read_text("utf-8")):
        place = ((root / page).parent / target).resolve()
        if place.is_file() and place.is_relative_to(root):
            yield place.relative_to(root).as_posix()


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with what lies in docs/: the theme's files stay, the pages take their own places."""
    from mkdocs.structure.files import File, Files  # it stands in .venv-site alone

    kept = [file for file in files if file.src_dir != config["docs_dir"]]
    found = dict.fromkeys((*pages(), *linked(), *OTHERS))
    return Files([*kept, *(File.generated(config, place, abs_src_path=str(ROOT / place)) for place in found)])


def on_post_build(config: Any) -> None:
    """Called by mkdocs when the site is written."""
    for page in pages():
        place = Path(config["site_dir"]) / page
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / page, place)
