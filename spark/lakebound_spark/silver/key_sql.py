"""The canonical key read backwards in SQL: from silver's `_key` to the key attributes."""

from __future__ import annotations

from lakebound_spark.platform.sql_text import literal
from lakebound_spark.silver.casting import json_string


def keys_sql(key: str) -> str:
    """SQL for the key attributes as DynamoDB-JSON text: `parse_key` where executors have no package of ours."""
    escape = literal(r"(?s)\\(.)")
    pattern = literal(r"(?s)((?:[^\\|=]|\\.)*)=([SNB]):((?:[^\\|]|\\.)*)")

    def parts(group: int) -> str:
        return f"regexp_extract_all({key}, {pattern}, {group})"

    def plain(escaped: str) -> str:
        return json_string(f"regexp_replace({escaped}, {escape}, '$1')")

    tag, value = (f"element_at({parts(group)}, i + 1)" for group in (2, 3))
    attribute = f"concat({plain('name')}, ':{{\"', {tag}, '\":', {plain(value)}, '}}')"
    return f"concat('{{', array_join(transform({parts(1)}, (name, i) -> {attribute}), ','), '}}')"
