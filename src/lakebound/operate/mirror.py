"""A local copy of the batch files under a data prefix, for Spark to read where it cannot read S3.

A batch file is immutable and its name holds its content's digest: one that is there need never be looked at again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lakebound.ports import ObjectStore, StoredObject
from lakebound.transport.object_keys import DataKey


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What a round copies, in key order, and how many batch files were there already."""

    prefix: str
    missing: tuple[StoredObject, ...]
    present: int

    @property
    def size(self) -> int:
        """Bytes to copy."""
        return sum(stored.size for stored in self.missing)


def plan_mirror(store: ObjectStore, prefix: str, folder: Path) -> MirrorPlan:
    """Which batch files of the prefix the folder lacks. What is no batch file of ours is not mirrored."""
    missing, present = [], 0
    for stored in store.list(prefix + "/"):
        if DataKey.parse(prefix, stored.key) is None:
            continue
        if _place(folder, prefix, stored.key).exists():
            present += 1
        else:
            missing.append(stored)
    return MirrorPlan(prefix, tuple(missing), present)


def copy_missing(
    store: ObjectStore, plan: MirrorPlan, folder: Path, *, copied: Callable[[StoredObject], None], threads: int = 4
) -> None:
    """Copy what the plan lists, each under a hidden name first: a reader of the folder sees whole files only.

    Raises what the store raises, and OSError; whatever was copied by then stays, and the next plan goes on from there.
    """

    def copy(stored: StoredObject) -> StoredObject:
        place = _place(folder, plan.prefix, stored.key)
        place.parent.mkdir(parents=True, exist_ok=True)
        # Spark passes over names that begin with a dot or an underscore. The copy keeps its own, new time: a file
        # stream passes over files more than a week older than the newest it has seen, and would lose a late one.
        hidden = place.with_name(f".{place.name}.{os.getpid()}")
        hidden.write_bytes(store.get(stored.key, stored.size))
        hidden.replace(place)
        return stored

    with ThreadPoolExecutor(threads) as pool:
        for stored in _in_turn(pool, copy, plan.missing):
            copied(stored)


def _in_turn(
    pool: ThreadPoolExecutor, copy: Callable[[StoredObject], StoredObject], missing: tuple[StoredObject, ...]
) -> Iterator[StoredObject]:
    try:
        yield from pool.map(copy, missing)
    finally:
        pool.shutdown(cancel_futures=True)


def _place(folder: Path, prefix: str, key: str) -> Path:
    return folder.joinpath(*key[len(prefix) + 1 :].split("/"))
