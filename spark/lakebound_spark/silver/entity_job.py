"""The merge job for several tables of one source: what a micro-batch brings, split by the rules of its keys."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import ArrayType, LongType, StringType, StructField, StructType

from lakebound.counts import count_text
from lakebound.errors import Misconfigured
from lakebound_spark.platform.metrics import COLUMN_TYPE, MicroBatch, Totals
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import (
    MicroBatchWork,
    claim_checkpoint,
    has_commits,
    staging_folder,
)
from lakebound_spark.platform.tables import (
    exists,
    read_table,
    retry_on_conflict,
    set_properties,
    table_sql,
)
from lakebound_spark.reading.source import data_files, split_by_bytes
from lakebound_spark.silver.changes_table import Pending, has_changes, open_changes, pending
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig
from lakebound_spark.silver.entity_batch import Brought, Destinations, bring_entities
from lakebound_spark.silver.entity_sql import entity_sql
from lakebound_spark.silver.freshness import Standing, newest_record_ms, pending_standing
from lakebound_spark.silver.key_sql import keys_sql
from lakebound_spark.silver.merge_job import (
    BRONZE,
    MergeJob,
    destination,
    files_until_ms,
    metrics_row,
    reader_of_bronze,
    reader_of_files,
    record_gap,
)
from lakebound_spark.silver.micro_batch import MergeResult, Read
from lakebound_spark.silver.preparation import prepare_silver
from lakebound_spark.silver.purge_horizon import purge_floor_ms
from lakebound_spark.silver.silver_table import extent_of, extent_property, require_own


@dataclass(frozen=True, slots=True)
class EntityJob:
    """One run for several tables.

    ``whole`` is what they have in common. Its target is a name without a table: `<target>_metrics` and
    `<target>_bad_files` beside it are about all of them. ``accepts_rules`` takes the operator's word that keys may move
    from table to table. ``keeps_progress`` is false where the stream keeps its progress elsewhere than in the
    checkpoint, as a pipeline does, so that nothing there tells whether files have passed.
    """

    whole: MergeJob
    config: EntitiesConfig
    accepts_rules: bool = False
    keeps_progress: bool = True

    @classmethod
    def of(
        cls, whole: MergeJob, config: EntitiesConfig, *, accepts_rules: bool = False, keeps_progress: bool = True
    ) -> EntityJob:
        """The job whose target, in ``whole``, is no table. Raises Misconfigured where it is one."""
        if whole.target in config.tables:
            raise Misconfigured(
                f"{whole.target} is one of the tables of the configuration; give as target a name of their own for "
                "what is about all of them, such as that of the source table"
            )
        # The old image is read for all if one of them shows it.
        keeps = any(table.keep_expired for table in config.tables.values())
        of_all = MergeConfig(config.source_table, keep_expired=keeps)
        return cls(replace(whole, config=of_all), config, accepts_rules, keeps_progress)

    def of_table(self, target: str) -> MergeJob:
        """What is done with one of the tables, as a job of that table."""
        return replace(self.whole, target=target, config=self.config.tables[target])

    def tables(self) -> list[MergeJob]:
        """A job for each table."""
        return [self.of_table(target) for target in self.config.tables]

    def totals(self) -> EntityTotals:
        """Sums in which nothing is counted yet."""
        return EntityTotals(tables=len(self.config.tables))

    def work(self, run: str) -> MicroBatchWork:
        """What is done with each micro-batch of the run of this id."""
        return EntityWork(self.whole.target, run, self)

    def prepare(self, spark: SparkSession, merge: Callable[[str], object], refusals: Refusals) -> None:
        """Make each table as `prepare_silver` does, and tie the checkpoint to them and to their rules.

        Raises Misconfigured, also where the rules are others than those that the tables were made by, unless the job
        accepts that.
        """
        _prepare(spark, self, merge, refusals)

    def label(self, target: str) -> dict[str, str]:
        """The table that was merged; lines without one are about all of them."""
        return {"table": target}

    def appended(self, done: MicroBatch) -> dict[str, int]:
        """The keys that a micro-batch appended to each table."""
        assert isinstance(done, EntityMicroBatch)
        return {one["table"]: one["appended"] for one in done.by_table if one["appended"]}

    def merge_row(self, target: str, row: MicroBatch) -> EntityMicroBatch:
        """The same with the table that was merged, as `<target>_metrics` of them all has it."""
        return EntityMicroBatch(**asdict(row), by_table=[_counts_of(target, row)])

    def merge_run(self, target: str, run: str) -> str:
        """The id under which a merge of what waited for a table is recorded: appends have a number in each table."""
        return f"{run}-merge-{list(self.config.tables).index(target)}"

    def standing(self, spark: SparkSession) -> Standing:
        """What the tables say together: the newest record of the whole, and what waits in each."""
        return _standing(spark, self)

    def refusal_message(self, totals: EntityTotals) -> str:
        """What is wrong where no table got anything of what came in, and what to do."""
        if totals.unmatched:
            return (
                f"nothing was merged: no `where` takes the keys of {count_text(totals.unmatched, 'record')} of "
                f"{self.config.source_table}; `lakebound config infer --entities` shows the patterns of keys"
            )
        return self.whole.refusal_message(totals)


_SUMMED: Final = ("stale", "keys", "inserted", "updated", "rewritten", "inexact", "rescued", "appended")
_COUNTED: Final = ("records", *_SUMMED)
_BY_TABLE: Final = ArrayType(
    StructType([StructField("table", StringType()), *(StructField(name, LongType()) for name in _COUNTED)])
)


@dataclass(frozen=True, slots=True)
class EntityMicroBatch(MicroBatch):
    """What a micro-batch did to all tables. ``unmatched`` counts records whose key belongs to no table.

    ``by_table`` has the counts of each table that got a key. They are in the row of all tables, since a row in a table
    of metrics for each of ten took as much processor time as the ten appends.
    """

    unmatched: int = 0
    by_table: Sequence[Mapping[str, Any]] = field(default=(), metadata={COLUMN_TYPE: _BY_TABLE})


@dataclass(slots=True)
class EntityTotals(Totals):
    """Sums over all tables."""

    unmatched: int = 0
    tables: int = 0
    """How many tables there are; no sum."""

    @property
    def all_refused(self) -> bool:
        """Whether something came in and no table got anything of it."""
        return bool(self.refused or self.bad_files or self.unmatched) and not (self.records or self.stale)

    def place(self, target: str) -> str:
        """Where the records went, as the sentence says it."""
        return f"the {count_text(self.tables, 'table')} of {target}"

    def sentence(self, target: str, seconds: float) -> str:
        """What the run did, for a person."""
        told = Totals.sentence(self, target, seconds)
        if not self.unmatched:
            return told
        return f"{told}; {count_text(self.unmatched, 'record')} with keys of no table"

    def gaps(self, target: str) -> list[str]:
        """The lines for standard error: those that begin with `GAP:`, and one for keys of no table."""
        lines = Totals.gaps(self, target)
        if self.unmatched:
            lines.append(
                f"UNMATCHED: {count_text(self.unmatched, 'record', 'belongs', 'belong')} to no table of {target}, "
                "since no `where` takes such a key; add a table for it, or one with `where: rest`, and give a new "
                "checkpoint. `lakebound config infer --entities` shows the patterns of keys"
            )
        return lines

    def __str__(self) -> str:
        return f"{Totals.__str__(self)} unmatched={self.unmatched}"


def _prepare(spark: SparkSession, job: EntityJob, merge: Callable[[str], object], refusals: Refusals) -> None:
    whole = job.whole
    others = [target for target in job.config.tables if _has_other_rules(spark, job, target)]
    # A rule that the first records contradict leaves tables without a row, and no key can move out of these.
    if moved := [target for target in others if not _is_empty(spark, target)]:
        _move_keys(spark, job, moved, merge)
    for target in others:
        set_properties(spark, target, extent_property(job.config.tables[target].extent))
    ids = []
    for target, config in job.config.tables.items():
        appends = whole.schedule.appends
        ids.append(
            prepare_silver(spark, target, config, whole.checkpoint, partial(merge, target), refusals, appends=appends)
        )
    # A checkpoint is of these tables and of these rules: under others it has passed files of which a table lacks keys.
    extents = json.dumps([config.extent for config in job.config.tables.values()])
    digest = hashlib.sha256(extents.encode()).hexdigest()[:16]
    named = f"the tables {', '.join(job.config.tables)}"
    claim_checkpoint(spark, whole.checkpoint, named, " ".join([*ids, digest]), unless_used=job.keeps_progress)


def _has_other_rules(spark: SparkSession, job: EntityJob, target: str) -> bool:
    if not exists(spark, target):
        return False
    config = job.config.tables[target]
    # Nothing is removed from a table of somebody else's.
    return extent_of(require_own(spark, target, config)) != list(config.extent)


def _is_empty(spark: SparkSession, target: str) -> bool:
    return read_table(spark, target).isEmpty() and not pending(spark, target).appends


def _move_keys(spark: SparkSession, job: EntityJob, moved: list[str], merge: Callable[[str], object]) -> None:
    """Take from each of these tables the rows that are not its own any more; a new checkpoint brings those it lacks."""
    named = ", ".join(moved)
    if not job.accepts_rules:
        raise Misconfigured(
            f"the rules changed: keys may leave or come to {named}. Start with --rules-changed and a new --checkpoint: "
            "rows that leave are removed, and every file is read again, which changes nothing in the other tables. Or "
            "drop these tables, each with its _changes, and give a new checkpoint"
        )
    if has_commits(spark, job.whole.checkpoint):
        raise Misconfigured(
            f"--rules-changed needs a new --checkpoint: {job.whole.checkpoint} has passed files with keys that now "
            f"come to {named}"
        )
    purged = [target for target in moved if purge_floor_ms(spark, target) is not None]
    if purged:
        raise Misconfigured(
            f"{', '.join(purged)} had tombstones purged, and would not take older records of the keys that come to it; "
            "drop it, and it is made anew from the files"
        )
    for target in moved:
        merge(target)
        place = list(job.config.tables).index(target)
        foreign = f"coalesce({entity_sql(job.config.rules, keys_sql('_key'))} <> {place}, true)"
        retry_on_conflict(partial(spark.sql, f"DELETE FROM {table_sql(target)} WHERE {foreign}"))
        if has_changes(spark, target):
            # It still holds what is merged, so `_live` would show a row that has left.
            open_changes(spark, target, job.config.tables[target].columns, start_afresh=True)


def _standing(spark: SparkSession, job: EntityJob) -> Standing:
    each = [pending_standing(spark, target, job.whole.schedule) for target in job.config.tables]
    since = [one.due_since_ms for one in each if one.due_since_ms is not None]
    return Standing(
        now_ms=max(one.now_ms for one in each),
        newest_record_ms=newest_record_ms(spark, job.whole.target),
        waiting=Pending(
            tuple(append for one in each for append in one.waiting.appends),
            sum(one.waiting.rows for one in each),
            sum(one.waiting.bytes for one in each),
        ),
        merged_ms=min(one.merged_ms for one in each),
        due_since_ms=min(since, default=None),
    )


@dataclass(frozen=True)
class EntityWork(MicroBatchWork):
    """A micro-batch of names of files, or of bronze's records, brought into all tables."""

    job: EntityJob
    kind = EntityMicroBatch

    def results(self, batch: DataFrame, batch_id: int) -> Iterator[EntityMicroBatch]:
        """At most `bytes_per_merge` of files at once. Doing it again changes nothing in any table."""
        spark, whole = batch.sparkSession, self.job.whole
        if whole.reader == BRONZE:
            started = time.monotonic()
            checked, brought = bring_entities(spark, reader_of_bronze(batch, whole.config), self._destinations())
            if checked.count or checked.refused:
                yield self._row(spark, metrics_row(batch_id, 0, checked, MergeResult(), started), brought, started)
            return
        files = data_files((row["path"], row["url"], row["length"], row["modified_ms"]) for row in batch.collect())
        waiting = list(files)
        for some in split_by_bytes(files, whole.bytes_per_merge):
            started = time.monotonic()
            read: Read[DataFrame] = reader_of_files(spark, some, whole.target, whole.config)
            checked, brought = bring_entities(spark, read, self._destinations())
            del waiting[: len(some)]
            row = replace(
                metrics_row(batch_id, len(some), checked, MergeResult(), started),
                oldest_file_ms=min(file.modified_ms for file in some),
                files_until_ms=files_until_ms(some, waiting),
            )
            yield self._row(spark, row, brought, started)

    def _destinations(self) -> Destinations:
        staging = staging_folder(self.job.whole.checkpoint)
        tables = tuple(
            replace(destination(self.job.of_table(target), self.run), staging=f"{staging}/{number}")
            for number, target in enumerate(self.job.config.tables)
        )
        return Destinations(self.job.config.source_table, self.job.config.rules, tables, staging)

    def _row(self, spark: SparkSession, row: MicroBatch, brought: Brought, started: float) -> EntityMicroBatch:
        """The row of all tables, with the counts of each."""
        by_table = []
        for target, (checked, result) in brought.tables.items():
            record_gap(spark, self.job.whole.control_folder, self.job.config.source_table, result.stale)
            by_table.append(_counts_of(target, metrics_row(row.batch, row.files, checked, result, started)))
        sums = {name: sum(counts[name] for counts in by_table) for name in _SUMMED}
        records = row.records - brought.unmatched_records - sums["stale"]
        whole = asdict(row) | sums | {"records": records}
        return EntityMicroBatch(**whole, unmatched=brought.unmatched_records, by_table=by_table)


def _counts_of(target: str, row: MicroBatch) -> dict[str, Any]:
    return {"table": target} | {name: getattr(row, name) for name in _COUNTED}
