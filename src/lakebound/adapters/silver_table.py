"""Ports LakeTable of `verify` and MergedTable of `backfill close` over the silver table, read without Java."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lakebound.adapters.aws_calls import NotThere
from lakebound.adapters.delta_table import DeltaVersion
from lakebound.errors import Misconfigured
from lakebound.operate.run_merge import Registers
from lakebound.operate.verify import LakeRow

COLUMNS: Final = frozenset(("_key", "_item", "_is_deleted", "_version", "_stream_time_ms", "_base", "_ttl_expired"))
"""What every silver table has, whatever columns are declared."""

_CHANGES_ID: Final = "lakebound.changes_id"
"""Property of a silver table to which micro-batches append before they are merged."""

# With `ttl_deletes: keep` an expired item is still shown; the source has it no longer.
_ROWS: Final = """
    SELECT _key,
           CASE WHEN NOT (_is_deleted OR coalesce(_ttl_expired, false)) THEN _item END,
           coalesce(_base, '') <> '' AND _stream_time_ms IS NULL
    FROM delta
"""
_REGISTERS: Final = """
    SELECT _key, coalesce(_base, ''), _stream_time_ms, NOT (_is_deleted OR coalesce(_ttl_expired, false)) FROM delta
"""
# The rule of the Spark job's MERGE, for a reader (docs/ORDERING.md). Pending keys stand first: they are few, and
# DataFusion keeps the first side of a join in memory.
_LIVE_ROWS: Final = """
    WITH ranked AS (
        SELECT key, register, version, item, ttl_expired,
               row_number() OVER (PARTITION BY key, register ORDER BY version DESC) AS place,
               max(stream_time_ms) OVER (PARTITION BY key, register) AS stream_time_ms
        FROM changes),
    pending AS (
        SELECT key, max(stream_time_ms) AS stream_time_ms,
               coalesce(max(CASE WHEN register = 'stream' THEN version END), '') AS version,
               coalesce(max(CASE WHEN register = 'base' THEN version END), '') AS base,
               max(CASE WHEN register = 'stream' AND NOT ttl_expired THEN item END) AS stream_item,
               max(CASE WHEN register = 'base' THEN item END) AS base_item
        FROM ranked WHERE place = 1 GROUP BY key),
    registers AS (
        SELECT coalesce(_key, key) AS _key, _item, _is_deleted OR coalesce(_ttl_expired, false) AS gone,
               coalesce(_version, '') AS old_version, coalesce(_base, '') AS old_base,
               coalesce(version, '') AS new_version, coalesce(base, '') AS new_base, stream_item, base_item,
               greatest(coalesce(_base, ''), coalesce(base, '')) AS base,
               nullif(greatest(coalesce(_stream_time_ms, -1), coalesce(stream_time_ms, -1)), -1) AS stream_time_ms
        FROM pending FULL JOIN delta ON _key = key),
    visible AS (
        SELECT *, coalesce(stream_time_ms >= try_cast(substr(base, 1, 15) AS BIGINT), base = '') AS by_stream
        FROM registers)
    SELECT _key,
           CASE WHEN by_stream AND new_version > old_version THEN stream_item
                WHEN NOT by_stream AND new_base > old_base THEN base_item
                WHEN NOT gone THEN _item END,
           base <> '' AND stream_time_ms IS NULL
    FROM visible
"""
_KEYS_A_QUERY: Final = 1_000
"""A query that lists more keys than these is slower than one over every row, and 100,000 end the process."""


class SilverTable:
    """The silver table at a folder, an address or a name; see DeltaVersion for all three and for what is raised.

    With ``live``, changes that wait in `_changes` for a merge count as merged.
    """

    def __init__(self, target: str, *, live: bool = True) -> None:
        self._target = target
        self._live = live
        self._newest()

    def rows(self) -> Iterator[LakeRow]:
        """Every row, tombstones too, of the version that is the newest now."""
        return self._rows()

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""
        wanted = frozenset(keys)
        if not wanted:
            return iter(())
        if len(wanted) > _KEYS_A_QUERY:
            return (row for row in self._rows() if row.key in wanted)
        listed = ", ".join("'" + key.replace("'", "''") + "'" for key in wanted)
        return self._rows(f" WHERE _key IN ({listed})")

    def registers(self) -> Iterator[Registers]:
        """See MergedTable."""
        return map(Registers._make, self._newest().query(_REGISTERS))

    def left_out(self) -> frozenset[str]:
        """See MergedTable; none where the merge job has noted no bad file yet."""
        try:
            noted = DeltaVersion(f"{self._target.rstrip('/')}_bad_files")
        except NotThere:
            return frozenset()
        return frozenset(str(path).rpartition("/")[2] for (path,) in noted.query("SELECT path FROM delta"))

    def _rows(self, where: str = "") -> Iterator[LakeRow]:
        silver = self._newest()
        if not self._live or _CHANGES_ID not in silver.properties:
            found = silver.query(_ROWS + where)
        else:
            changes = DeltaVersion(self._target.rstrip("/") + "_changes")
            found = silver.query(_LIVE_ROWS + where, changes=changes)
        for key, item, from_base in found:
            yield LakeRow(key, item, from_base)

    def _newest(self) -> DeltaVersion:
        version = DeltaVersion(self._target)
        if not version.columns >= COLUMNS:
            raise Misconfigured(
                f"{self._target} is a Delta table without silver's columns; name the merge job's target"
            )
        return version
