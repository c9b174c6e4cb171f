"""Upkeep of silver and the tables beside it: purge old tombstones, compact and cluster files, remove unused ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound.times import utc
from lakebound_spark.bronze.bronze_table import INGEST_DATE, SOURCE_TABLE_PROPERTY
from lakebound_spark.platform.metrics import add_counts
from lakebound_spark.platform.refusals import OPTIMIZE, PROPERTIES, VACUUM, Refusals
from lakebound_spark.platform.tables import (
    companion_table,
    exists,
    merge_into,
    properties,
    read_table,
    require_silver,
    retry_on_conflict,
    set_properties,
    table_sql,
)
from lakebound_spark.silver.changes_table import changes_table, has_changes
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.pending_merge import merge_pending
from lakebound_spark.silver.purge_horizon import PURGED_BEFORE, is_purgeable, purge_floor_ms

MIN_RETENTION_HOURS: Final = 168
"""A week: Delta's own limit. A reader or a MERGE that still reads an older version needs its files."""

SUFFIXES: Final = (
    "",
    "_changes",
    "_bad_files",
    "_stale_records",
    "_metrics",
    "_status",
    "_history",
    "_history_metrics",
    "_schedule",
)
"""The tables of one target: silver, and what stands beside it."""

WHOLE_SUFFIXES: Final = ("_bad_files", "_metrics", "_schedule")
"""The tables that are about several silver tables of one source together, beside a name without a table."""

BRONZE_SUFFIXES: Final = ("", "_bad_files", "_bad_lines", "_audits", "_metrics")
"""Bronze, and what stands beside it."""


@dataclass(frozen=True, slots=True)
class UpkeepJob:
    """One run of the job. ``dry_run`` tells what would be done, and does nothing.

    With ``is_whole`` the target is no table: what stands beside it is about several silver tables together.
    """

    target: str
    config: MergeConfig
    retention_hours: int = MIN_RETENTION_HOURS
    dry_run: bool = False
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What was done to one table (with ``dry_run``: would be), printed as a JSON line.

    ``purged`` tombstones; ``compacted`` files taken together into ``written`` ones (with ``dry_run`` the table's
    files, of which OPTIMIZE chooses); ``removed`` is None for VACUUM proper, which does not say how many, and where the
    catalog refuses it.
    """

    table: str
    dry_run: bool
    purged: int
    compacted: int
    written: int
    removed: int | None


@dataclass(slots=True)
class UpkeepTotals:
    """Sums over the tables of a run."""

    tables: int = 0
    purged: int = 0
    compacted: int = 0
    written: int = 0

    def add(self, done: TableUpkeep) -> None:
        self.tables += 1
        add_counts(self, done)

    def sentence(self, job: UpkeepJob, seconds: float) -> str:
        """What the run did, with ``dry_run`` what it would do, for a person."""
        tables, purged = count_text(self.tables, "table"), count_text(self.purged, "tombstone")
        did = (
            f"would look at {tables} of {job.target}: {purged} to purge"
            if job.dry_run
            else f"maintained {tables} of {job.target}: {purged} purged, "
            f"{count_text(self.compacted, 'file')} made into {self.written:,}"
        )
        return f"{did}, {seconds:.0f} s"


def maintain(
    spark: SparkSession, job: UpkeepJob, now_ms: int, refusals: Refusals | None = None
) -> Iterator[TableUpkeep]:
    """Maintain each table that is there, silver first. Raises Misconfigured before anything is done.

    What the catalog refuses is left out, and ``refusals`` tells it. Safe at any time beside the merge job: whichever of
    the two commits later is refused by Delta and tries again.
    """
    if job.retention_hours < MIN_RETENTION_HOURS:
        raise Misconfigured(
            f"--retain-hours {job.retention_hours} is less than {MIN_RETENTION_HOURS}; files of a version that a "
            "reader or a MERGE still uses would be removed under it"
        )
    refusals = refusals or Refusals()
    if job.is_whole:
        for place in (companion_table(job.target, suffix) for suffix in WHOLE_SUFFIXES):
            if exists(spark, place):
                yield _compact_and_vacuum(spark, place, job, 0, refusals)
        return
    require_silver(spark, job.target)
    table_properties = properties(spark, job.target)
    of_bronze = SOURCE_TABLE_PROPERTY in table_properties
    made_from = table_properties.get(SOURCE_TABLE_PROPERTY, table_properties.get("lakebound.source_table"))
    if made_from != job.config.source_table:
        raise Misconfigured(
            f"{job.target} is a Delta table that neither merge_changes nor ingest_bronze made; name another target"
            if made_from is None
            else f"{job.target} was made with source_table {made_from}, the configuration says "
            f"{job.config.source_table}; name another target"
        )
    for suffix in BRONZE_SUFFIXES if of_bronze else SUFFIXES:
        table = companion_table(job.target, suffix) if suffix else job.target
        if exists(spark, table):
            purged = 0 if suffix or of_bronze else purge(spark, job, now_ms, refusals)
            if of_bronze and not suffix and not job.dry_run:
                sort_by_key(spark, table, now_ms, refusals)
            yield _compact_and_vacuum(spark, table, job, purged, refusals)


def sort_by_key(spark: SparkSession, bronze: str, now_ms: int, refusals: Refusals | None = None) -> None:
    """Sort yesterday's records by key, so that the history of a few keys reads a few files of each day.

    Only a day that has ended, and once: Delta sorts all of a day again each time it is asked to.
    """
    day = utc(now_ms - 86_400_000).date()
    statement = f"OPTIMIZE {table_sql(bronze)} WHERE {INGEST_DATE} = DATE'{day}' ZORDER BY (key)"
    _optimize(spark, bronze, statement, refusals or Refusals())


def purge(spark: SparkSession, job: UpkeepJob, now_ms: int, refusals: Refusals | None = None) -> int:
    """Remove tombstones older than the horizon, with `deletes: hard`; how many. None goes where no floor can be noted.

    The floor is noted first and in a commit of its own. It changes the table's metadata, so Delta refuses every
    MERGE that began before it and commits after it; that MERGE then reads the floor and begins again.
    """
    if job.config.horizon is None:
        return 0
    if not job.dry_run:
        merge_pending(spark, job.target, job.config.source_table)
    floor = job.config.horizon.floor_ms(now_ms)
    count = _purgeable_keys(spark, job.target, floor).count()
    if not count or job.dry_run:
        return count
    before = purge_floor_ms(spark, job.target)
    floor = floor if before is None else max(floor, before)
    refusals = refusals or Refusals()
    refusals.attempt(
        PROPERTIES,
        job.target,
        "tombstones stay, for nothing could tell the merge which are gone",
        lambda: set_properties(spark, job.target, {PURGED_BEFORE: str(floor)}),
    )
    if PROPERTIES in refusals:
        return 0
    retry_on_conflict(
        lambda: merge_into(
            job.target,
            _purgeable_keys(spark, job.target, floor),
            "t._key = s._key",
            f"WHEN MATCHED AND {is_purgeable(floor)} THEN DELETE",
        )
    )
    return count


def _purgeable_keys(spark: SparkSession, target: str, floor: int) -> DataFrame:
    """The keys whose tombstones may go.

    One that `_changes` still holds stays until a later run. Its changes are merged, but kept for readers, and `_live`
    would show an older one as soon as nothing in silver is greater.
    """
    keys = read_table(spark, target).where(is_purgeable(floor)).select("_key")
    if not has_changes(spark, target):
        return keys
    return keys.join(read_table(spark, changes_table(target)), F.col("_key") == F.col("key"), "left_anti")


def _optimize(spark: SparkSession, table: str, statement: str, refusals: Refusals) -> Row | None:
    """The metrics of an OPTIMIZE; None where the catalog refuses it."""
    instead = "the files stay as small as they were written, unless the platform compacts them"
    done = refusals.attempt(OPTIMIZE, table, instead, lambda: retry_on_conflict(lambda: spark.sql(statement).head()))
    return None if done is None else done["metrics"]


def _vacuum(spark: SparkSession, table: str, clause: str, refusals: Refusals) -> DataFrame | None:
    """What VACUUM answers; None where the catalog refuses it."""
    instead = "files of older versions stay, unless the platform removes them"
    return refusals.attempt(VACUUM, table, instead, lambda: spark.sql(f"VACUUM {table_sql(table)} {clause}"))


def _compact_and_vacuum(
    spark: SparkSession, table: str, job: UpkeepJob, purged: int, refusals: Refusals
) -> TableUpkeep:
    hours = f"RETAIN {job.retention_hours} HOURS"
    if job.dry_run:
        files = len(read_table(spark, table).inputFiles())
        unused = _vacuum(spark, table, f"{hours} DRY RUN", refusals)
        return TableUpkeep(table, True, purged, files, 0, None if unused is None else unused.count())
    done = _optimize(spark, table, f"OPTIMIZE {table_sql(table)}", refusals)
    _vacuum(spark, table, hours, refusals)
    compacted, written = (done["numFilesRemoved"], done["numFilesAdded"]) if done else (0, 0)
    return TableUpkeep(table, False, purged, compacted, written, None)
