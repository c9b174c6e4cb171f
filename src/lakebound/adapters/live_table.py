"""Silver and what waits in `_changes`, as tables that a person can query without Java."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from lakebound.adapters.delta_table import BY_SPARK, DeltaVersion
from lakebound.adapters.live_sql import live_sql, quoted
from lakebound.errors import Misconfigured
from lakebound.record.column_names import SILVER_COLUMNS, STALE_SINCE

_CHANGES_ID: Final = "lakebound.changes_id"
"""Property of a silver table to which micro-batches append before they are merged."""
_STALE_SINCE: Final = "lakebound.stale_since"
"""Property of a silver table from which changes may be missing: an ISO time."""


class LiveTable:
    """The versions of silver and of `_changes` that are the newest when this is made.

    See DeltaVersion for ``target``, ``instead`` and what is raised; Misconfigured too where the table is not silver.
    """

    def __init__(self, target: str, *, instead: str = BY_SPARK) -> None:
        self.silver = DeltaVersion(target, instead=instead)
        if not set(SILVER_COLUMNS) <= set(self.silver.column_names):
            raise Misconfigured(f"{target} is a Delta table without silver's columns; name the merge job's target")
        # Silver's version first: what the merge after it drops from `_changes` was merged by the one before (see the
        # Spark job's `live_rows`).
        self._changes = None
        if _CHANGES_ID in self.silver.properties:
            self._changes = DeltaVersion(target.rstrip("/") + "_changes", instead=instead)

    def query(self, sql: str, **more: DeltaVersion) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """The names of the columns and the rows of a query in DataFusion's SQL.

        It can name `live` and `current`, which are the views `<table>_live` and `<table>_current`, the rows below them
        with tombstones, `live_rows` and `silver_rows`, and ``more``.

        Rows stream (see `DeltaVersion.query`). Raises Misconfigured where DataFusion cannot plan the query.
        """
        names = self.silver.column_names
        rows = "SELECT * FROM delta"
        others = dict(more)
        if self._changes is not None:
            rows = live_sql(names, self._changes.members("columns"))
            others["changes"] = self._changes
        since = self.silver.properties.get(_STALE_SINCE, "")
        shown = f"TIMESTAMP '{since}'" if since else "CAST(NULL AS TIMESTAMP)"
        there = f"SELECT *, {shown} AS {quoted(STALE_SINCE)} FROM"
        # In the order in which a person wants them; DataFusion takes a table only after those that it names.
        tables = {
            "live": f"{there} live_rows WHERE NOT _is_deleted",
            "current": f"{there} silver_rows WHERE NOT _is_deleted",
            "live_rows": rows,
            "silver_rows": "SELECT * FROM delta",
        }
        before = f"WITH {', '.join(f'{name} AS ({sql})' for name, sql in reversed(tables.items()))}"
        # A query that begins with tables of its own goes on after ours. Each of its words keeps its line and column,
        # which a refusal names.
        if own := re.match(r"((?:\s|--.*\n)*)with\s", sql, re.IGNORECASE):
            return self.silver.named_query(f"{before},", f"{own[1]}     {sql[own.end() :]}", [*tables], **others)
        return self.silver.named_query(before, sql, [*tables], **others)
