"""Gaps: stretches of the stream that may not have been delivered. Recorded when found, closed when healed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from lakebound.documents import Documents, Overtaken
from lakebound.errors import LakeboundError
from lakebound.layout import GapKey, gaps_folder
from lakebound.ports import ObjectStore
from lakebound.sources import MappingFacts

RETENTION_MS: Final = 24 * 3_600_000
"""How long a stream keeps a record."""

CAUSES: Final = ("stream_recreated", "mapping_disabled", "mapping_behind", "failures_expired")


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


@dataclass(frozen=True, slots=True)
class StreamSeen:
    """What was last known of the stream: which one, and until when its records were surely taken."""

    stream_arn: str
    stream_label_ms: int
    state: str
    current_ms: int
    """Every change before this moment was delivered: the observer's clock less the mapping's age then."""


def find_gaps(
    previous: StreamSeen | None,
    stream_arn: str,
    stream_label_ms: int,
    mapping: MappingFacts,
    behind_ms: int,
    expired_failures: Iterable[tuple[int, int]],
    now_ms: int,
) -> list[Gap]:
    """The gaps that a look at the stream shows.

    `behind_ms` is the age of the oldest record not delivered yet, `expired_failures` (from, to) of failure objects that
    are too old to be trusted to be complete. A gap that is seen again has the same start and cause.
    """
    found = []
    if previous is not None and previous.stream_arn != stream_arn:
        # Records of the old stream that were not taken before it ended, and all writes until the new one began.
        found.append(Gap(previous.current_ms, max(stream_label_ms, mapping.modified_ms), "stream_recreated"))
    elif previous is not None and now_ms - previous.current_ms > RETENTION_MS and mapping.state == "Disabled":
        found.append(Gap(previous.current_ms, None, "mapping_disabled"))
    elif previous is not None and previous.state == "Disabled" and now_ms - previous.current_ms > RETENTION_MS:
        found.append(Gap(previous.current_ms, max(now_ms - RETENTION_MS, mapping.modified_ms), "mapping_disabled"))
    elif behind_ms > RETENTION_MS:
        found.append(Gap(now_ms - behind_ms, now_ms, "mapping_behind"))
    found += [Gap(begin, end, "failures_expired") for begin, end in expired_failures]
    return [replace(gap, detected_at_ms=now_ms) for gap in found]


class GapBook:
    """A table's gaps in the bucket."""

    def __init__(self, table: str, store: ObjectStore, documents: Documents) -> None:
        self._table = table
        self._store = store
        self._documents = documents

    def record(self, gap: Gap) -> bool:
        """Keep a gap; False when it is known. A known gap that was open-ended gets its end."""
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
        gaps = []
        for stored in self._store.list(gaps_folder(self._table)):
            if GapKey.parse(self._table, stored.key) is None:
                continue
            document = self._documents.load(stored.key)
            if document is not None:
                gaps.append(Gap.decode(stored.key, document[0]))
        return gaps

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
