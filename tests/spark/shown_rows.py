"""What rows of silver or of `_live` show of each key, and what they should show by the reference."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pyspark.sql import Row

from tests.support.independent_writer import Record
from tests.support.registers import receive_all

Shown = dict[str, tuple[Any, ...]]


def expected(records: Iterable[Record]) -> Shown:
    """Each key's item and registers, by the reference."""
    return {
        key: (one.visible, one.version, one.stream_time_ms, one.base_text) for key, one in receive_all(records).items()
    }


def shown(rows: Iterable[Row]) -> Shown:
    def image(row: Row) -> Any:
        return None if row["_item"] is None else json.loads(row["_item"])

    found = [(row["_key"], (image(row), row["_version"], row["_stream_time_ms"], row["_base"])) for row in rows]
    assert len(dict(found)) == len(found), "two rows for one key"
    return dict(found)
