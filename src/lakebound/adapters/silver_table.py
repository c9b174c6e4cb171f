"""Ports LakeTable of `verify` and MergedTable of `backfill close` over the silver table, read without Java."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from lakebound.adapters.aws_calls import NotThere
from lakebound.adapters.delta_table import BY_SPARK, DeltaVersion, column_of_texts
from lakebound.adapters.live_sql import literal
from lakebound.adapters.live_table import LiveTable
from lakebound.operate.run_merge import Registers
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow

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
"""A query that lists more keys than these is slower than one that joins them, and 100,000 end the process."""


def bad_files_of(target: str) -> frozenset[str]:
    """The names in `<target>_bad_files`; none where the merge job has noted no bad file yet."""
    try:
        noted = DeltaVersion(f"{target.rstrip('/')}_bad_files")
    except NotThere:
        return frozenset()
    return frozenset(str(path).rpartition("/")[2] for (path,) in noted.query("SELECT path FROM delta"))


class SilverTable:
    """The silver table at a folder, an address or a name; see DeltaVersion for all three and for what is raised.

    ``instead`` is its too. With ``live``, changes that wait in `_changes` for a merge count as merged.
    """

    def __init__(self, target: str, *, live: bool = True, instead: str = BY_SPARK) -> None:
        self._target, self._instead = target, instead
        self._live = live
        self._newest()

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        """Every row selected, tombstones too, of the version that is the newest now."""
        conditions = []
        if selection.stratum is not None:
            low, high = selection.stratum.bounds
            conditions.append(f"md5(_key) >= '{low}' AND md5(_key) < '{high}'")
        if selection.since_ms is not None:
            since, label = selection.since_ms, "try_cast(substr(_base, 1, 15) AS BIGINT)"
            conditions.append(f"(_stream_time_ms >= {since} OR {label} >= {since})")
        return self._rows(" WHERE " + " AND ".join(conditions) if conditions else "")

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""
        wanted = frozenset(keys)
        if not wanted:
            return iter(())
        if len(wanted) > _KEYS_A_QUERY:
            return self._joined(wanted)
        listed = ", ".join(map(literal, wanted))
        return self._rows(f" WHERE _key IN ({listed})")

    def registers(self) -> Iterator[Registers]:
        """See MergedTable."""
        return map(Registers._make, self._newest().silver.query(_REGISTERS))

    def left_out(self) -> frozenset[str]:
        """See MergedTable; none where the merge job has noted no bad file yet."""
        return bad_files_of(self._target)

    def _joined(self, wanted: frozenset[str]) -> Iterator[LakeRow]:
        with column_of_texts(sorted(wanted)) as listed:
            yield from self._rows(" WHERE _key IN (SELECT text FROM wanted)", wanted=listed)

    def _rows(self, where: str = "", **others: DeltaVersion) -> Iterator[LakeRow]:
        if self._live:
            _, found = self._newest().query(_ROWS.format(rows="live_rows") + where, **others)
        else:
            found = self._newest().silver.query(_ROWS.format(rows="delta") + where, **others)
        for key, item, from_base in found:
            yield LakeRow(key, item, from_base)

    def _newest(self) -> LiveTable:
        return LiveTable(self._target, instead=self._instead)
