"""The manifest of a run: its files, counts and labels. It is written last; the merge check and the sweep rely on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from lakebound.backfill.checkpoints import Checkpoint, WrittenFile
from lakebound.errors import LakeboundError

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """One finished run. Times are in milliseconds, `size` in bytes, `consumed` in read units."""

    run: str
    table: str
    table_id: str
    mode: str
    consistent: bool
    units: int
    read: int
    records: int
    quarantined: int
    size: int
    consumed: float
    min_label_ms: int | None
    max_label_ms: int | None
    started_ms: int
    finished_ms: int
    digest: str
    files: tuple[WrittenFile, ...]
    heals: tuple[tuple[int, str], ...] = ()
    """(from, cause) of each gap that the run heals once all of it is merged."""

    @property
    def sweep_command(self) -> str:
        """What removes the ghosts that the run found, with the names of docs/OPERATIONS.md#status-gap to fill in."""
        return f"lakebound-sweep --run {self.run} --table {self.table} --source DATA --aside ASIDE --target TARGET"

    @property
    def close_command(self) -> str:
        """What closes the gaps that the run heals, as `sweep_command` has its names."""
        return f"lakebound backfill close --run {self.run} --source DATA --target TARGET"

    @property
    def is_complete(self) -> bool:
        """Whether the run read every item consistently. Only such a run may be swept from."""
        return self.mode in ("scan", "export") and self.consistent

    @property
    def first_label_ms(self) -> int:
        """The smallest label of the run, which its sweep's rows bear."""
        assert self.min_label_ms is not None or not self.records
        return self.min_label_ms if self.min_label_ms is not None else self.started_ms - 60_000

    def encode(self) -> bytes:
        """As one JSON document."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        fields["files"] = [[file.key, file.records, file.size] for file in self.files]
        return orjson.dumps({"v": VERSION} | fields)

    @staticmethod
    def decode(key: str, body: bytes) -> Manifest:
        """Raises LakeboundError for a document that is no manifest, or whose list of files was changed."""
        try:
            fields = orjson.loads(body)
            if fields.pop("v") != VERSION:
                raise ValueError("version")
            fields["files"] = tuple(WrittenFile(*file) for file in fields["files"])
            fields["heals"] = tuple((int(begin), str(cause)) for begin, cause in fields["heals"])
            manifest = Manifest(**fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LakeboundError(f"{key} is not a manifest of this version", hint="Start a new backfill") from None
        if manifest.digest != digest_of(manifest.files):
            raise LakeboundError(f"{key} was changed after it was written", hint="Start a new backfill")
        return manifest


def digest_of(files: Sequence[WrittenFile]) -> str:
    """The SHA-256 of the files' keys, counts and sizes, in key order."""
    lines = [f"{file.key} {file.records} {file.size}\n" for file in sorted(files, key=lambda file: file.key)]
    return sha256("".join(lines).encode()).hexdigest()


def gather(checkpoints: Sequence[Checkpoint]) -> tuple[WrittenFile, ...]:
    """Each file of these checkpoints once, in key order."""
    files = {file.key: file for checkpoint in checkpoints for file in checkpoint.files}
    return tuple(files[key] for key in sorted(files))
