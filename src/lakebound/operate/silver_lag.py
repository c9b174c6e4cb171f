"""How far silver is behind the batch files: by what the merge job published, and by the files that it has not taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lakebound.ports import ObjectStore
from lakebound.transport.object_keys import HOUR_MS, DataKey, Partition, data_folders

MOST_HOURS: Final = 7 * 24
"""So many hour partitions are listed at most: silver that stands still for longer needs no exact count."""


@dataclass(frozen=True, slots=True)
class SilverFacts:
    """What the merge job last published: when, and the greatest of its lags in the five minutes before that."""

    published_ms: int
    lag_s: float
    pending_rows: int = 0
    """Rows of `_changes` that wait for a merge: one for each append and register of a key."""
    overdue_s: float = 0
    """Since a merge of that is due."""


@dataclass(frozen=True, slots=True)
class StaleMark:
    """What `<target>_status` says: since when changes may be missing from silver (None: none is), and why."""

    since_ms: int | None
    causes: str
    looked_ms: int
    """When the merge job last noted this."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a silver table's companions say: until when every file is taken, and the stale mark, where it is noted."""

    taken_until_ms: int
    mark: StaleMark | None


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """Batch files that no run of the merge job has taken. Every file that was written until ``until_ms`` is taken."""

    until_ms: int
    count: int
    oldest_ms: int | None


def waiting_files(store: ObjectStore, prefix: str, partition: Partition, until_ms: int, now_ms: int) -> WaitingFiles:
    """The batch files that were written after ``until_ms``, in the hour partitions since then.

    Of silver that is further behind than MOST_HOURS, those of the newest MOST_HOURS. S3 tells whole seconds, so a file
    of the very second of the newest one that is taken counts as taken. Raises StoreUnavailable.
    """
    first = max(until_ms - HOUR_MS, now_ms - MOST_HOURS * HOUR_MS)
    folders = data_folders(prefix, partition, *range(first, now_ms, HOUR_MS), now_ms)
    written = [
        one.modified_ms
        for folder in folders
        for one in store.list(folder)
        if one.modified_ms > until_ms and DataKey.parse(prefix, one.key) is not None
    ]
    return WaitingFiles(until_ms, len(written), min(written, default=None))
