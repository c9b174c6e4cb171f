"""The canonical key read backwards: from silver's `_key` to the key attributes."""

from __future__ import annotations

import re
from typing import Final

from lakebound.attributes import Image
from lakebound.errors import LakeboundError

_PART: Final = re.compile(r"(?P<name>(?:[^\\|=]|\\.)*)=(?P<tag>[SNB]):(?P<value>(?:[^\\|]|\\.)*)(?:\||$)", re.DOTALL)


def parse_key(text: str) -> Image:
    """The key attributes behind a record's `key`. Raises LakeboundError for a text that is none."""
    keys: Image = {}
    place = 0
    while place < len(text) or not keys:
        part = _PART.match(text, place)
        if part is None:
            raise LakeboundError("silver holds a _key that is no key", hint="Find rows that the merge did not write")
        value = part["value"] if part["tag"] != "S" else _unescaped(part["value"])
        keys[_unescaped(part["name"])] = {part["tag"]: value}
        place = part.end()
    return keys


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
