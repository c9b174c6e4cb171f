"""The canonical key read backwards: from silver's `_key` to the key attributes."""

from __future__ import annotations

import re
from typing import Final

from lakebound.attributes import Image
from lakebound.errors import LakeboundError
from lakebound_spark.casting import json_string, text

_PART: Final = re.compile(r"(?P<name>(?:[^\\|=]|\\.)*)=(?P<tag>[SNB]):(?P<value>(?:[^\\|]|\\.)*)(?:\||$)", re.DOTALL)


def parse_key(key: str) -> Image:
    """The key attributes behind a record's `key`. Raises LakeboundError for a text that is none."""
    keys: Image = {}
    place = 0
    while place < len(key) or not keys:
        part = _PART.match(key, place)
        if part is None:
            raise LakeboundError("silver holds a _key that is no key", hint="Find rows that the merge did not write")
        value = part["value"] if part["tag"] != "S" else _unescaped(part["value"])
        keys[_unescaped(part["name"])] = {part["tag"]: value}
        place = part.end()
    return keys


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def keys_sql(key: str) -> str:
    """SQL for the key attributes as DynamoDB-JSON text: :func:`parse_key` where executors have no package of ours."""
    escape = text(r"(?s)\\(.)")
    pattern = text(r"(?s)((?:[^\\|=]|\\.)*)=([SNB]):((?:[^\\|]|\\.)*)")

    def parts(group: int) -> str:
        return f"regexp_extract_all({key}, {pattern}, {group})"

    def plain(escaped: str) -> str:
        return json_string(f"regexp_replace({escaped}, {escape}, '$1')")

    tag, value = (f"element_at({parts(group)}, i + 1)" for group in (2, 3))
    attribute = f"concat({plain('name')}, ':{{\"', {tag}, '\":', {plain(value)}, '}}')"
    return f"concat('{{', array_join(transform({parts(1)}, (name, i) -> {attribute}), ','), '}}')"
