"""How far a run is merged, found without Spark: its files one after the other, then silver's rows.

Memory: one file, and about 250 bytes a key of the run, never its items.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple, Protocol

from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.backfill.manifest import Manifest
from lakebound.counts import count_text
from lakebound.errors import ObjectMissing, Poison
from lakebound.formats.registry import reader_of
from lakebound.operate.file_check import MAX_FILE_BYTES, Files
from lakebound.record.attributes import parse_key
from lakebound.record.base_records import base_register
from lakebound.record.entity_rules import EntityRules
from lakebound.transport.object_keys import DataKey


class Registers(NamedTuple):
    """What silver compares of a key: its base register, its stream time, and whether its row shows an item."""

    key: str
    base: str
    stream_time_ms: int | None
    is_shown: bool


class MergedTable(Protocol):
    """The silver table that a run is merged into."""

    def registers(self) -> Iterator[Registers]:
        """Those of every row of the newest version, in no order."""

    def left_out(self) -> frozenset[str]:
        """The names of the files that the merge job noted as bad."""


def check_run_merge(
    files: Files, prefix: str, silver: MergedTable, manifest: Manifest, rules: EntityRules | None = None
) -> RunMergeCheck:
    """Compare the run's files below ``prefix`` and the silver table with the manifest.

    With ``rules`` silver is several tables, and keys that belong to none of them are left out.
    Raises StoreUnavailable when the files cannot be listed or read, and what the table raises.
    """
    names = {file.key.rpartition("/")[2] for file in manifest.files}
    listed = {stored.key.rpartition("/")[2]: stored.key for stored in files.list(f"{prefix}/")}
    bases, records, damaged = dict[str, str](), 0, list[str]()
    for name in sorted(names & listed.keys()):
        try:
            found = list(_base_records(files, prefix, listed[name], manifest))
        except (Poison, ObjectMissing):
            damaged.append(name)
            continue
        records += len(found)
        for key, base in found:
            if rules is not None and rules.rule_of(parse_key(key)) is None:
                continue
            bases[key] = max(base, bases.get(key, ""))
    missing = tuple(sorted(names - listed.keys()))
    unmerged, ghosts = _compare(silver, bases, manifest)
    counted = manifest.is_complete and not (missing or damaged or unmerged)
    left_out = tuple(sorted(names & silver.left_out()))
    return RunMergeCheck(missing, tuple(damaged), left_out, records, unmerged, ghosts if counted else None)


def _base_records(files: Files, prefix: str, key: str, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(key, base register) of each record of the run's table. Raises Poison for a file that is not what it was."""
    name = DataKey.parse(prefix, key)
    body = files.get(key, MAX_FILE_BYTES)
    if name is None or sha256(body).hexdigest()[: len(name.digest)] != name.digest:
        raise Poison("digest", "the content is not the one that the name was made from")
    count = 0
    for record in reader_of(name.ext)(body):
        count += 1
        if record["source_table"] == manifest.table:
            is_present = record["new_image"] is not None
            yield (
                record["key"],
                base_register(record["snapshot_label_ms"], record["snapshot_run"], is_present=is_present),
            )
    if count != name.count:
        raise Poison("count", f"{count_text(count, 'record')}, the name says {name.count}")


def _compare(silver: MergedTable, bases: dict[str, str], manifest: Manifest) -> tuple[int, int]:
    """(keys of the run that are not merged, ghosts: rows that it would have to remove)."""
    absent = base_register(manifest.first_label_ms, manifest.run, is_present=False)
    merged, ghosts = 0, 0
    for row in silver.registers():
        base = bases.get(row.key)
        if base is not None:
            merged += row.base >= base
        # What the stream has touched since the run began, or a newer run has read, no sweep of this run removes.
        elif row.is_shown and row.base < absent and (row.stream_time_ms or 0) < manifest.first_label_ms:
            ghosts += 1
    return len(bases) - merged, ghosts
