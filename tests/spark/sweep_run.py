"""A run of a backfill, its manifest, and the rows that silver had before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lakebound.backfill.checkpoints import WrittenFile
from lakebound.backfill.manifest import Manifest, digest_of
from lakebound.transport.object_keys import DataKey
from lakebound_spark.upkeep.sweep import SweepJob
from tests.support.independent_writer import TABLE, Record, base, item, stream

RUN, LABEL, NOW = "run-1", 500_000, 2_000_000


def manifest_of(files: Sequence[Path], **changed: Any) -> Manifest:
    written = []
    for file in files:
        parsed = DataKey.parse("data", f"data/hour/{file.name}")
        assert parsed is not None
        written.append(WrittenFile(f"ddb/{TABLE}/{file.name}", parsed.count, file.stat().st_size))
    plain = Manifest(
        run=RUN,
        table=TABLE,
        table_id="t",
        mode="scan",
        consistent=True,
        units=4,
        read=sum(file.records for file in written),
        records=sum(file.records for file in written),
        quarantined=0,
        size=1,
        consumed=1.0,
        min_label_ms=LABEL,
        max_label_ms=LABEL + 10,
        started_ms=LABEL + 60_000,
        finished_ms=LABEL + 70_000,
        digest=digest_of(tuple(written)),
        files=tuple(written),
    )
    return replace(plain, **changed)


def keep(folder: Path, manifest: Manifest) -> None:
    (folder / "aside" / "manifests").mkdir(parents=True, exist_ok=True)
    (folder / "aside" / "manifests" / f"{RUN}.json").write_bytes(manifest.encode())


def job(folder: Path, **changed: Any) -> SweepJob:
    plain = SweepJob(RUN, TABLE, str(folder / "source"), str(folder / "aside"), str(folder / "silver"))
    return replace(plain, **changed)


BEFORE: list[Record] = [
    stream("kept", 1, item("kept"), time_ms=1_000),
    stream("ghost", 2, item("ghost"), time_ms=2_000),
    stream("deleted", 3, None, time_ms=3_000),
    stream("written after", 4, item("written after"), time_ms=LABEL),
    base("newer snapshot", LABEL + 1, item("newer snapshot"), run="run-9"),
    base("old snapshot", LABEL - 1, item("old snapshot"), run="run-0"),
]
