"""Files to be merged again: those named, or those of a stretch of time.

Merging a file again changes nothing where it was merged whole (the lake is a function of the set of records), and makes
good what was left out: a file that could not be read then, a table restored to an older version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lakebound.errors import LakeboundError
from lakebound.ports import ObjectStore, StoredObject
from lakebound.transport.object_keys import HOUR_MS, DataKey


@dataclass(frozen=True, slots=True)
class Replay:
    """What is merged again, in key order."""

    files: tuple[StoredObject, ...]
    records: int

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(stored.size for stored in self.files)


def plan_replay(
    stored: Iterable[StoredObject],
    prefix: str,
    *,
    from_ms: int = 0,
    to_ms: int | None = None,
    names: Collection[str] = (),
) -> Replay:
    """The batch files that hold a record written in [from, to), or those named by key or by their last part.

    A file's name has its newest record's time; its oldest is at most an hour older, so a stretch takes an hour more
    at its end than it names. Raises LakeboundError when a name is not among them.
    """
    wanted = set(names)
    found, records = [], 0
    for one in stored:
        data = DataKey.parse(prefix, one.key)
        if data is None:
            continue
        if names:
            hit = {one.key, one.key.rpartition("/")[2]} & wanted
            if not hit:
                continue
            wanted -= hit
        elif not from_ms <= data.time_ms or (to_ms is not None and data.time_ms >= to_ms + HOUR_MS):
            continue
        found.append(one)
        records += data.count
    if wanted:
        raise LakeboundError(f"No batch file {sorted(wanted)[0]} under {prefix}/", hint="Name it as a listing does")
    return Replay(tuple(found), records)


def stage_replay(store: ObjectStore, plan: Replay, prefix: str, table: str, name: str) -> str:
    """Copy the files to a folder of their own outside the data prefix; the folder. Done twice it is done once.

    The merge job reads a whole folder: only one that holds nothing else replays nothing else. Raises StoreUnavailable.
    """
    folder = f"_lakebound/{table}/replays/{name}"
    for one in plan.files:
        store.put_if_absent(f"{folder}{one.key[len(prefix) :]}", store.get(one.key, one.size), {})
    return folder
