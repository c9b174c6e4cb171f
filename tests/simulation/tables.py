"""Tables written as text: a row a line, its cells between ` | `; after a `|` it may go on in the next line."""

from __future__ import annotations

import re
from collections.abc import Iterator


def rows(text: str) -> Iterator[list[str]]:
    for row in re.split(r"(?<!\|)\n", text.strip()):
        yield re.split(r" \|\s+", row)
