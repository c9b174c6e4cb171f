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
_KEYS_A_QUERY: Final = 1_000
"""A query that lists more keys than these is slower than one over every row, and 100,000 end the process."""


class SilverTable:
    """The silver table at a folder, an address or a name; see DeltaVersion for all three and for what is raised."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._newest()

    def rows(self) -> Iterator[LakeRow]:
        """Every row, tombstones too, of the version that is the newest now."""
        return self._rows(_ROWS)

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""
        wanted = frozenset(keys)
        if not wanted:
            return iter(())
        if len(wanted) > _KEYS_A_QUERY:
            return (row for row in self._rows(_ROWS) if row.key in wanted)
        listed = ", ".join("'" + key.replace("'", "''") + "'" for key in wanted)
        return self._rows(f"{_ROWS} WHERE _key IN ({listed})")

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

    def _rows(self, sql: str) -> Iterator[LakeRow]:
        for key, item, from_base in self._newest().query(sql):
            yield LakeRow(key, item, from_base)

    def _newest(self) -> DeltaVersion:
        version = DeltaVersion(self._target)
        if not version.columns >= COLUMNS:
            raise Misconfigured(
                f"{self._target} is a Delta table without silver's columns; name the merge job's target"
            )
        return version
