"""The sweep of ORDERING.md: for each row that the source no longer has, an ABSENT record goes through the registers.

The sweep never deletes a row itself. Its records are merged like all others, so a stream record that is newer than the
run still wins when it arrives later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.backfill.manifest import Manifest
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.record.attributes import parse_key
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.envelope import encode_line
from lakebound.transport.batch_files import FileBuilder
from lakebound.transport.object_keys import RunFolder, partitioner
from lakebound_spark.platform.objects import write_object
from lakebound_spark.platform.tables import read_snapshot
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.source import DataFile, literal_path
from lakebound_spark.silver.config import EntitiesConfig
from lakebound_spark.upkeep.run_merge_check import (
    base_registers,
    count_unmerged_keys,
    find_run_files,
    ghosts,
)
from lakebound_spark.upkeep.silver_side import SilverSide

MIN_GUARD: Final = 1_000
GUARD_SHARE: Final = 0.01


class SweepRefusal(Exception):
    """A precondition does not hold, or the guard refuses. The text says what to do."""


@dataclass(frozen=True, slots=True)
class SweepJob:
    """One sweep of one run. `control_folder` is `_lakebound/<table>`; `max_deletes` above 0 raises the guard.

    With a ``config`` of several tables the target is a name for all of them, and they are swept together.
    """

    run: str
    table: str
    source: str
    control_folder: str
    target: str
    max_deletes: int = 0
    dry_run: bool = False
    partition_template: str = "dt=%Y-%m-%d/HH=%H"
    config: EntitiesConfig | None = None

    @property
    def silver(self) -> SilverSide:
        """The rows that are compared with the run."""
        return SilverSide.of(self.target, self.config)


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep found and wrote."""

    run: str
    records: int
    visible: int
    ghosts: int
    files: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"sweep run={self.run} run_records={self.records} visible_rows={self.visible} "
            f"ghosts={self.ghosts} files={len(self.files)}"
        )


def sweep(spark: SparkSession, job: SweepJob, now_ms: int) -> SweepResult:
    """Check every precondition, find the ghosts and write their ABSENT records. Raises SweepRefusal, Misconfigured.

    The merge job then merges the records. After that, another sweep finds no ghost.
    """
    manifest = load_manifest(spark, job)
    check_manifest(manifest, job.table)
    files = require_run_files(spark, job.source, manifest)
    # Both passes read one version, so a merge that commits between them adds no row that the guard did not count.
    silver = job.silver.rows(spark, read_snapshot)
    checked = checked_records(spark, files, job.table)
    bad = checked.bad_files
    if bad:
        raise SweepRefusal(f"{bad[0].path}: {bad[0].reason}; put it right, merge, then sweep again")
    if checked.count != manifest.records:
        raise SweepRefusal(
            f"the manifest has {count_text(manifest.records, 'record')}, its files {checked.count}; "
            "mirror the bucket again, merge, then sweep again"
        )
    run_keys = job.silver.of_tables(base_registers(spark, checked.records))
    late = count_unmerged_keys(silver, run_keys)
    if late:
        raise SweepRefusal(
            f"run {job.run} has {count_text(late, 'key')} not merged yet; run merge_changes, then sweep again"
        )
    label = manifest.first_label_ms
    found = ghosts(silver, run_keys, label, job.run)
    visible, count = silver.where(~F.col("_is_deleted")).count(), found.count()
    check_guard(count, visible, job.max_deletes)
    written: tuple[str, ...] = ()
    if count and not job.dry_run:
        keys = (str(row["_key"]) for row in found.toLocalIterator())
        written = write_absent(spark, job, keys, label, now_ms)
    return SweepResult(job.run, manifest.records, visible, count, written)


def require_run_files(spark: SparkSession, source: str, manifest: Manifest) -> list[DataFile]:
    """The run's files below the data prefix. Raises SweepRefusal when a file is missing."""
    files, missing = find_run_files(spark, source, manifest)
    if missing:
        raise SweepRefusal(
            f"run {manifest.run} has {count_text(len(missing), 'file')} not below {source}, the first is {missing[0]}; "
            "mirror the bucket again, merge, then try again"
        )
    return files


def check_manifest(manifest: Manifest, table: str) -> None:
    """Raises SweepRefusal for a run that no sweep may start from."""
    if manifest.table != table:
        raise SweepRefusal(f"run {manifest.run} read table {manifest.table}, not {table}; name its own table")
    if not manifest.is_complete:
        raise SweepRefusal(
            f"run {manifest.run} ({manifest.mode}{'' if manifest.consistent else ', not consistent'}) did not read the "
            "whole table consistently; sweep after a scan or a full export"
        )
    if manifest.quarantined:
        raise SweepRefusal(
            f"run {manifest.run} has {count_text(manifest.quarantined, 'item')} in quarantine: the source "
            "has them, the run's "
            "files do not; a sweep would remove their rows"
        )


def check_guard(ghosts: int, visible: int, max_deletes: int) -> None:
    """Raises SweepRefusal for more deletions than 1,000, than 1 % of the rows and than were approved."""
    allowed = max(MIN_GUARD, int(visible * GUARD_SHARE), max_deletes)
    if ghosts > allowed:
        raise SweepRefusal(
            f"{ghosts} of {count_text(visible, 'row')} would be removed, more than {allowed}; make sure "
            "that the run read the right "
            f"table, then approve with --max-deletes {ghosts}"
        )


def load_manifest(spark: SparkSession, job: SweepJob) -> Manifest:
    """The run's manifest in `control_folder`. Raises Misconfigured."""
    key = RunFolder.of(job.table, job.run).manifest()
    path = f"{job.control_folder.rstrip('/')}/manifests/{job.run}.json"
    try:
        if "://" in path:
            body = bytes(spark.read.format("binaryFile").load(literal_path(path)).select("content").collect()[0][0])
        else:
            body = Path(path).read_bytes()
        return Manifest.decode(key, body)
    except LakeboundError as error:
        raise Misconfigured(str(error)) from None
    except Exception as error:
        raise Misconfigured(
            f"there is no manifest at {path} ({type(error).__name__}); the run has not ended, or --aside is wrong"
        ) from None


def absent_files(job: SweepJob, keys: Iterable[str], label_ms: int, now_ms: int) -> Iterator[tuple[str, bytes]]:
    """The batch files of the ghosts' ABSENT records, as (path below the data prefix, bytes)."""
    partition = partitioner(job.partition_template)(now_ms, True)
    files = FileBuilder("data", "sweep")
    decoder: SnapshotDecoder | None = None
    names: tuple[str, ...] = ()
    for position, text in enumerate(keys):
        attributes = parse_key(text)
        if decoder is None or names != tuple(attributes):
            names = tuple(attributes)
            decoder = SnapshotDecoder(job.table, job.run, "sweep", names)
        event = decoder.absent(attributes, label_ms, f"{job.run}|sweep|{now_ms}|{position}")
        files.add(partition, encode_line(event, now_ms), 1, now_ms)
    for file in files.take_files():
        yield file.key.removeprefix("data/"), file.body


def write_absent(
    spark: SparkSession, job: SweepJob, keys: Iterable[str], label_ms: int, now_ms: int
) -> tuple[str, ...]:
    """Write the ghosts' files below the data prefix, each whole or not at all. Returns their paths."""
    written = []
    for name, body in absent_files(job, keys, label_ms, now_ms):
        path = f"{job.source.rstrip('/')}/{name}"
        write_object(spark, path, body)
        written.append(path)
    return tuple(written)
