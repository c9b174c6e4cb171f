"""How long tombstones stay with `deletes: hard`, and what happens to a record that comes after they are gone.

A purge first notes in the table's properties before which time it has removed tombstones (the floor), then removes
them. From then on a record older than the floor is not merged: its key's tombstone may be gone, and it would bring
a deleted item back. It is kept in `<target>_stale_records`, counted and told as GAP. A table that was never purged
has no floor, so a rebuild from raw files of any age is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound_spark.platform.tables import add_missing_rows, companion_table, properties
from lakebound_spark.reading.schema import RECORD, record_time_ms

PURGED_BEFORE: Final = "lakebound.purged_before_ms"

DAY_MS: Final = 86_400_000
SLACK_MS: Final = 3_600_000
"""Creation times are stamped by many servers, each up to seconds off. A record so little older than a tombstone must
not pass as newer than it, so the purge stops an hour before what the floor says."""

ASSUMED_DAYS: Final[dict[str, int]] = {
    "stream": 1,
    "queue": 14,
    "dead_letters": 14,
    "backfill": 2,
    "replay": 7,
}
"""Days that a record may take on each way, unless `assumed_days` says other: what the stream retains, what the buffer
queue retains, what its dead-letter queue retains, the longest backfill, the window in which raw files are replayed."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """Tombstones older than ``purge_after_days`` may be purged."""

    purge_after_days: int

    def floor_ms(self, now_ms: int) -> int:
        """Records older than this are stale once a purge at ``now_ms`` has run."""
        return now_ms - self.purge_after_days * DAY_MS


def parse_horizon(document: Mapping[str, Any]) -> Horizon | None:
    """From `deletes`, `purge_after_days` and `assumed_days`; None with `deletes: soft`. Raises Misconfigured."""
    deletes = document.get("deletes", "soft")
    if deletes not in ("soft", "hard"):
        raise Misconfigured("deletes must be soft (tombstones stay) or hard (purged after purge_after_days)")
    if deletes == "soft":
        unneeded = [name for name in ("purge_after_days", "assumed_days") if name in document]
        if unneeded:
            raise Misconfigured(f"{unneeded[0]} needs `deletes: hard`; with soft, tombstones stay for ever")
        return None
    days = document.get("purge_after_days")
    if not isinstance(days, int) or not _is_days(days):
        raise Misconfigured("deletes: hard needs purge_after_days, a whole number of days")
    assumed = _assumed_days(document.get("assumed_days", {}))
    total = sum(assumed.values())
    if days < total:
        terms = " + ".join(f"{name} {count}" for name, count in assumed.items())
        raise Misconfigured(
            f"purge_after_days {days} is shorter than what may still arrive: {terms} = "
            f"{count_text(total, 'day')}; a late record "
            f"would bring deleted items back. Give at least {total}, or say in assumed_days what is shorter here"
        )
    return Horizon(days)


def _is_days(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _assumed_days(given: Any) -> dict[str, int]:
    if not isinstance(given, dict) or not set(given) <= set(ASSUMED_DAYS):
        raise Misconfigured(f"assumed_days takes days for {', '.join(ASSUMED_DAYS)}")
    wrong = [name for name, days in given.items() if not _is_days(days)]
    if wrong:
        raise Misconfigured(f"assumed_days: {wrong[0]} must be a whole number of days, at least 1")
    return {**ASSUMED_DAYS, **given}


def purge_floor_ms(spark: SparkSession, target: str) -> int | None:
    """The time (ms) before which tombstones have been purged from the table; None for a table never purged."""
    floor = properties(spark, target).get(PURGED_BEFORE)
    return None if floor is None else int(floor)


def is_stale(floor_ms: int) -> Column:
    """Whether a whole record is older than the floor.

    Base records too: a scan of last year, replayed, would bring back what was deleted and purged since.
    """
    return record_time_ms() < floor_ms


def is_purgeable(floor_ms: int) -> str:
    """SQL for whether a row of silver is a tombstone older than the floor by both of its registers.

    | _is_deleted | _stream_time_ms | _base             | floor − 1 h | purged |
    |-------------|-----------------|-------------------|-------------|--------|
    | true        | 4000            | ''                | 5000        | yes    |
    | true        | 4000            | 000000000006000|… | 5000        | no     |
    | true        | 5000            | ''                | 5000        | no     |
    | false       | 4000            | ''                | 5000        | no     |
    """
    label = "CASE WHEN _base <> '' THEN CAST(substring_index(_base, '|', 1) AS BIGINT) END"
    return f"_is_deleted AND coalesce(greatest(_stream_time_ms, {label}) < {floor_ms - SLACK_MS}, false)"


@dataclass(frozen=True, slots=True)
class StaleRecords:
    """So many records, and the times of the oldest and the newest."""

    records: int
    from_ms: int
    to_ms: int


def record_stale_records(target: str, stale: DataFrame) -> StaleRecords | None:
    """Keep each stale record once in `<target>_stale_records`; what ``stale`` holds, None for nothing.

    A replayed micro-batch adds nothing.
    """
    time = record_time_ms()
    found = stale.agg(F.count("*").alias("records"), F.min(time).alias("first"), F.max(time).alias("last")).head()
    assert found is not None
    if not found["records"]:
        return None
    key = ["key", "origin", "version", "snapshot_label_ms", "snapshot_run"]
    rows = stale.select(*RECORD.fieldNames()).dropDuplicates(key)
    add_missing_rows(companion_table(target, "_stale_records"), RECORD, rows, key)
    return StaleRecords(found["records"], found["first"], found["last"])
