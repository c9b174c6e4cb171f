"""How long a change took to its file and to `_live`, from what each of them says of itself."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from lakebound.ports import StoredObject


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of some durations, in seconds."""

    p50: float
    p99: float

    @staticmethod
    def of(durations_ms: Iterable[int]) -> Seconds:
        """Nearest-rank percentiles; at least one duration."""
        ordered = sorted(durations_ms)
        at = [ordered[max(0, -(-len(ordered) * percent // 100) - 1)] / 1000 for percent in (50, 99)]
        return Seconds(*at)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured over every record of the batch files.

    `base` counts those of a backfill, which stand for no single write: they are not timed, nor are the records of the
    `unmatched` keys, which are not as many as their writes.
    """

    records: int
    base: int
    duplicates: int
    unmatched: int
    file_bytes: int
    line_bytes: int
    to_file: Seconds
    to_live: Seconds


def measure(
    folder: Path,
    files: Mapping[str, StoredObject],
    sent_ms: Mapping[str, Sequence[int]],
    shown_ms: Mapping[str, int],
) -> Measured:
    """Read every file of the mirror once.

    `files` and `shown_ms` are by path in the folder: when S3 wrote the file (S3 cuts that to the second) and when
    the micro-batch that took it was visible in `_live`. `sent_ms` has each key's writes in order; the n-th version of
    a key is the n-th write. A record delivered twice counts where it arrived first.
    """
    first: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    line_bytes = records = base = 0
    for path, stored in files.items():
        shown = shown_ms[path]
        with gzip.open(folder / path, "rb") as lines:
            for line in lines:
                record = orjson.loads(line)
                line_bytes += len(line)
                records += 1
                if record["origin"] != "stream":
                    base += 1
                    continue
                arrived = stored.modified_ms, shown
                versions = first[record["key"]]
                known = versions.get(record["version"])
                versions[record["version"]] = arrived if known is None else min(known, arrived)
    to_file, to_live, unmatched = [], [], 0
    for key, versions in first.items():
        sent = sent_ms.get(key, ())
        if len(sent) != len(versions):
            unmatched += 1
            continue
        for at, version in zip(sent, sorted(versions), strict=True):
            written, shown = versions[version]
            to_file.append(written - at)
            to_live.append(shown - at)
    return Measured(
        records=records,
        base=base,
        duplicates=records - base - sum(map(len, first.values())),
        unmatched=unmatched,
        file_bytes=sum(stored.size for stored in files.values()),
        line_bytes=line_bytes,
        to_file=Seconds.of(to_file),
        to_live=Seconds.of(to_live),
    )


def shown_by_file(checkpoint: Path, folder: Path, micro_batches: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """When each file was visible: Spark's checkpoint names each micro-batch's files, the job says when it ended."""
    # A MERGE of what waited is told under the number of the micro-batch before it, and took no file.
    ended = {batch["batch"]: int(batch["merged_at_ms"]) for batch in micro_batches if batch["files"]}
    shown: dict[str, int] = {}
    for log in (checkpoint / "sources" / "0").iterdir():
        if not log.name.removesuffix(".compact").isdigit():
            continue
        for line in log.read_text().splitlines()[1:]:
            entry = json.loads(line)
            path = Path(unquote(entry["path"].removeprefix("file://")))
            shown[path.relative_to(folder).as_posix()] = ended[entry["batchId"]]
    return shown
