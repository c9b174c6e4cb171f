"""A page's figures: kept as JSON beside it, and written between marks. What stands around the marks is written by hand.

So one part can be measured again, a page can be worded anew without a run, and no run drops an explanation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

import msgspec

Figures = TypeVar("Figures")
DOCS: Final = Path(__file__).resolve().parents[1] / "docs"


def keep(place: Path, figures: object) -> None:
    """Write figures for `kept`, a line each."""
    place.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")


def kept(place: Path, of: type[Figures]) -> Figures:
    """What `keep` wrote; an empty one where nothing was. Raises msgspec.ValidationError for figures of another form."""
    return msgspec.json.decode(place.read_bytes() if place.exists() else b"{}", type=of)


def put(page: Path, blocks: Mapping[str, str]) -> None:
    """Write each block between its marks. Raises SystemExit for a page that lacks them, and leaves it as it is."""
    text = page.read_text("utf-8")
    for name, block in blocks.items():
        begin, end = f"<!-- figures: {name} -->", f"<!-- end of {name} -->"
        parts = re.split(rf"{re.escape(begin)}.*?{re.escape(end)}", text, flags=re.DOTALL)
        if len(parts) != 2:
            raise SystemExit(f"{page.name} needs the lines {begin} and {end} once each: the figures go between them")
        text = f"{begin}\n\n{block}\n\n{end}".join(parts)
    page.write_text(text, "utf-8")


def on_this_machine() -> str:
    """Where a run of Spark measured, as every page words it."""
    return f"on {os.cpu_count()} cores (Spark {version('pyspark')}, Delta on the local disk)"


def meaning_of(title: str, picture: str, sentences: Iterable[str]) -> str:
    """The block that a reader needs who skips the table: the picture, and what its figures mean."""
    return "\n".join([f"![{title}]({picture})", "", *(f"- {sentence}" for sentence in sentences)])
