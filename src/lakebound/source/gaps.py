"""Gaps: stretches of the stream that may not have been delivered. Recorded when found, ended, closed when healed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from lakebound.errors import LakeboundError
from lakebound.ports import Documents, ObjectStore, Overtaken
from lakebound.transport.object_keys import GapKey, gaps_folder

RETENTION_MS: Final = 24 * 3_600_000
"""How long a stream keeps a record."""

STREAM_CAUSES: Final = ("stream_recreated", "mapping_disabled", "mapping_behind")
FAILURE_CAUSES: Final = ("failures_expired", "failures_lost")
RECORDS_STALE: Final = "records_stale"
"""Told by the merge job: records came after the tombstones of their time were purged, and were not merged."""

CAUSES: Final = (*STREAM_CAUSES, *FAILURE_CAUSES, RECORDS_STALE)
"""Why changes may be missing: the stream itself, what Lambda gave up on (gone unredriven, or never written), or
records that came too late to be merged."""

_MAX_GAP_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Gap:
    """[from, to]: the earliest moment after which a change may be missing, and from when the stream is whole again.

    `to_ms` None: it is not whole yet. `healed_by` is the run that healed it.
    """

    from_ms: int
    to_ms: int | None
    cause: str
    shards: tuple[str, ...] = ()
    detected_at_ms: int = 0
    healed_by: str | None = None

    def encode(self) -> bytes:
        """As the contract's gap object."""
        return orjson.dumps(
            {
                "from": self.from_ms,
                "to": self.to_ms,
                "cause": self.cause,
                "shards": list(self.shards),
                "detected_at": self.detected_at_ms,
                "healed_by": self.healed_by,
            }
        )

    @staticmethod
    def decode(key: str, body: bytes) -> Gap:
        """Raises LakeboundError for an object that is no gap."""
        try:
            fields: dict[str, Any] = orjson.loads(body)
            return Gap(
                int(fields["from"]),
                None if fields["to"] is None else int(fields["to"]),
                str(fields["cause"]),
                tuple(fields["shards"]),
                int(fields["detected_at"]),
                fields["healed_by"],
            )
        except (ValueError, TypeError, KeyError):
            raise LakeboundError(f"{key} is not a gap object", hint="Move it away and look at who wrote it") from None


def read_gaps(store: ObjectStore, table: str) -> list[Gap]:
    """Every recorded gap of a table, the earliest first. Raises StoreUnavailable, LakeboundError."""
    keys = [stored.key for stored in store.list(gaps_folder(table)) if GapKey.parse(table, stored.key)]
    return [Gap.decode(key, store.get(key, _MAX_GAP_BYTES)) for key in keys]


class GapBook:
    """A table's gaps in the bucket."""

    def __init__(self, table: str, store: ObjectStore, documents: Documents) -> None:
        self._table = table
        self._store = store
        self._documents = documents

    def record(self, gap: Gap) -> bool:
        """Keep a gap; False when it is known. A known gap that was open-ended gets its end.

        It never gets another one: a run that was planned with it read up to that end.
        """
        key = GapKey(self._table, gap.from_ms, gap.cause).format()
        try:
            self._documents.save(key, gap.encode(), None)
            return True
        except Overtaken:
            stored = self._documents.load(key)
            if stored is not None:
                known = Gap.decode(key, stored[0])
                if known.to_ms is None and gap.to_ms is not None:
                    self._documents.save(key, replace(known, to_ms=gap.to_ms).encode(), stored[1])
            return False

    def all(self) -> list[Gap]:
        """Every gap, the earliest first. Raises StoreUnavailable."""
        return read_gaps(self._store, self._table)

    def open(self) -> list[Gap]:
        """Those that no run has healed."""
        return [gap for gap in self.all() if gap.healed_by is None]

    def close(self, gap: Gap, run: str) -> None:
        """Say that a run healed it; only once that run is fully merged."""
        key = GapKey(self._table, gap.from_ms, gap.cause).format()
        stored = self._documents.load(key)
        if stored is not None:
            known = Gap.decode(key, stored[0])
            if known.healed_by is None:
                self._documents.save(key, replace(known, healed_by=run).encode(), stored[1])
