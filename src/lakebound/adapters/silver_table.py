"""Ports LakeTable of `verify` and MergedTable of `backfill close` over the silver table, read without Java."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lakebound.adapters.aws_calls import NotThere
from lakebound.adapters.delta_table import DeltaVersion
from lakebound.adapters.live_table import LiveTable
from lakebound.operate.run_merge import Registers
from lakebound.operate.verify import LakeRow

# With `ttl_deletes: keep` an expired item is still shown; the source has it no longer.
_ROWS: Final = """
    SELECT _key,
           CASE WHEN NOT (_is_deleted OR coalesce(_ttl_expired, false)) THEN _item END,
           coalesce(_base, '') <> '' AND _stream_time_ms IS NULL
    FROM {rows}
"""
_REGISTERS: Final = """
    SELECT _key, coalesce(_base, ''), _stream_time_ms, NOT (_is_deleted OR coalesce(_ttl_expired, false)) FROM delta
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
        return map(Registers._make, self._newest().silver.query(_REGISTERS))

    def left_out(self) -> frozenset[str]:
        """See MergedTable; none where the merge job has noted no bad file yet."""
        try:
            noted = DeltaVersion(f"{self._target.rstrip('/')}_bad_files")
        except NotThere:
            return frozenset()
        return frozenset(str(path).rpartition("/")[2] for (path,) in noted.query("SELECT path FROM delta"))

    def _rows(self, where: str = "") -> Iterator[LakeRow]:
        if self._live:
            _, found = self._newest().query(_ROWS.format(rows="live_rows") + where)
        else:
            found = self._newest().silver.query(_ROWS.format(rows="delta") + where)
        for key, item, from_base in found:
            yield LakeRow(key, item, from_base)

    def _newest(self) -> LiveTable:
        return LiveTable(self._target)
