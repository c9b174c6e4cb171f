"""Every key that Lakebound writes in the bucket, formatted and parsed side by side, and a record's hour partition.

Data lives under `<prefix>/<hour partition>/`; everything else under `_lakebound/<table>/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from lakebound.errors import Misconfigured
from lakebound.times import format_time, parse_time, utc

ORIGINS: Final = ("stream", "scan", "export", "incremental_export", "reread", "sweep")
FORMATS: Final = ("ndjson.gz", "avro", "parquet")

HOUR_MS: Final = 3_600_000
_SEGMENT = re.compile(r"(?:[A-Za-z0-9_]+=[A-Za-z0-9_-]+|[A-Za-z0-9][A-Za-z0-9_-]*)").fullmatch
_DIRECTIVES: Final = frozenset("YmdH")
_NAME = re.compile(
    r"(?P<origin>[a-z_]+)-(?P<time>[0-9]{8}T[0-9]{9}Z)-(?P<count>[1-9][0-9]{0,11})-(?P<digest>[0-9a-f]{32})"
    r"\.(?P<ext>ndjson\.gz|avro|parquet)"
).fullmatch
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}").fullmatch
_GAP = re.compile(r"(?P<time>[0-9]{8}T[0-9]{9}Z)-(?P<cause>[a-z_]+)\.json").fullmatch
_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch


def is_partition(text: object) -> bool:
    """Whether a text can be an hour partition: 1 to 8 plain folder names, without dots, so never above the prefix.

    Partitions reach the flusher inside messages, and a forged one must not choose where an object lands. A folder name
    that starts with `_` is refused unless it contains `=`, because Spark reads nothing in such a folder.
    """
    if type(text) is not str or len(text) > 256:
        return False
    segments = text.split("/")
    return len(segments) <= 8 and all(_SEGMENT(segment) for segment in segments)


Partition = Callable[[int, bool], str]
"""From (time in ms, is a delete) to the hour partition."""


def partitioner(template: str) -> Partition:
    """The hour partitions of a template, in which `{op}` becomes `upserts` or `deletes`.

    Only `%Y %m %d %H` may stand in the template: no finer than an hour, never an item's value. Raises Misconfigured.
    """
    for directive in re.findall(r"%(.?)", template, re.DOTALL):
        if directive not in _DIRECTIVES:
            raise Misconfigured(
                f"PARTITION_TEMPLATE has the directive %{directive}", hint="Use %Y, %m, %d, %H and {op} only"
            )

    @lru_cache(maxsize=64)
    def of_hour(hour: int, is_delete: bool) -> str:
        text = utc(hour * HOUR_MS).strftime(template)
        return text.replace("{op}", "deletes" if is_delete else "upserts")

    def of(ms: int, is_delete: bool) -> str:
        return of_hour(ms // HOUR_MS, is_delete)

    if not is_partition(of(0, False)):
        raise Misconfigured(
            f"PARTITION_TEMPLATE {template!r} does not give a folder path",
            hint="Use names, =, _ and - between slashes, such as dt=%Y-%m-%d/HH=%H",
        )
    return of


def data_folders(prefix: str, partition: Partition, *moments_ms: int) -> list[str]:
    """The folders of batch files, upserts and deletes, that were written in the hours of these moments."""
    return sorted({f"{prefix}/{partition(ms, deletes)}/" for ms in moments_ms for deletes in (False, True)})


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of a batch file. Everything in it comes from the file's content, so equal content has an equal key."""

    partition: str
    origin: str
    time_ms: int
    count: int
    digest: str
    ext: str

    def format(self, prefix: str) -> str:
        """`<prefix>/<partition>/<origin>-<time>-<count>-<digest>.<ext>`."""
        name = f"{self.origin}-{format_time(self.time_ms)}-{self.count}-{self.digest}.{self.ext}"
        return f"{prefix}/{self.partition}/{name}"

    @staticmethod
    def parse(prefix: str, key: str) -> DataKey | None:
        """The value behind a key, or None for an object that is no batch file of this prefix."""
        if not key.startswith(prefix + "/"):
            return None
        partition, _, name = key[len(prefix) + 1 :].rpartition("/")
        parts = _NAME(name)
        if parts is None or parts["origin"] not in ORIGINS or not is_partition(partition):
            return None
        try:
            time_ms = parse_time(parts["time"])
        except ValueError:
            return None
        return DataKey(partition, parts["origin"], time_ms, int(parts["count"]), parts["digest"], parts["ext"])


def _control_folder(table: str, name: str) -> str:
    return f"_lakebound/{table}/{name}/"


class DigestFolder(NamedTuple):
    """A folder whose documents are named by a SHA-256: `_lakebound/<table>/<name>/<sha256>.json`."""

    name: str

    def prefix(self, table: str) -> str:
        """The folder of one table, with its closing slash."""
        return _control_folder(table, self.name)

    def key(self, table: str, digest: str) -> str:
        """The key of the document that this SHA-256 names."""
        return f"{self.prefix(table)}{digest}.json"

    def key_about(self, table: str, subject: str) -> str:
        """The key of the document about something else: an object, by its key, or `message <id>`."""
        return self.key(table, sha256(subject.encode()).hexdigest())

    def parse(self, table: str, key: str) -> str | None:
        """The SHA-256 in a key of this folder and table; None for any other key."""
        digest = key[len(self.prefix(table)) : -len(".json")]
        return digest if _SHA256(digest) and key == self.key(table, digest) else None


CLAIMS: Final = DigestFolder("claims")
"""Messages that are too large for SQS, each named by the digest of its own bytes."""

QUARANTINE: Final = DigestFolder("quarantine")
"""Poison records, each named by its payload's digest: delivered again, a record meets its own object."""

REDRIVEN: Final = DigestFolder("redriven")
"""Notes that a failure object or a quarantined record was redriven or discarded, each about the object's key."""

DISCARDED: Final = DigestFolder("discarded")
"""Copies of what an operator discarded, each about an object's key or `message <id>`."""


def heartbeat_prefix(table: str) -> str:
    """Where the flusher puts the files of heartbeats, without a closing slash: never under a data prefix."""
    return _control_folder(table, "heartbeat").rstrip("/")


def failures_folder(mapping_id: str) -> str:
    """The folder where Lambda itself puts what a stream mapping gave up on, with its closing slash."""
    return f"aws/lambda/{mapping_id}/"


def check_run(name: str) -> None:
    """Raises Misconfigured for a name that no backfill can bear."""
    if not _RUN(name):
        raise Misconfigured(
            f"the execution's name {name!r} cannot name a run",
            hint="Use 1 to 80 letters, digits, dots, dashes and underscores",
        )


class RunFolder(NamedTuple):
    """Where one backfill keeps what is its own: its plan, the work of its stages, its segments' checkpoints."""

    table: str
    run: str

    @staticmethod
    def of(table: str, run: str) -> RunFolder:
        """Raises Misconfigured for a run whose name cannot stand in a key, in an event id or in silver's `_base`."""
        check_run(run)
        return RunFolder(table, run)

    def plan(self) -> str:
        """What the run reads and how fast, written once before the first page."""
        return f"{_control_folder(self.table, 'backfills')}{self.run}/plan.json"

    def work(self, stage: str) -> str:
        """What a stage leaves: units of `files` and `reread`, an export's ARN, since when nothing is dead (`clear`)."""
        return f"{_control_folder(self.table, 'backfills')}{self.run}/{stage}.json"

    def segments(self) -> str:
        """The folder of the segment checkpoints, with its closing slash."""
        return f"{_control_folder(self.table, 'backfills')}{self.run}/segments/"

    def segment(self, number: int) -> str:
        """One segment's checkpoint."""
        return f"{self.segments()}{number}.json"

    def manifest(self) -> str:
        """What the run wrote, written last."""
        return f"{_control_folder(self.table, 'manifests')}{self.run}.json"

    def exports(self) -> str:
        """The prefix given to DynamoDB's export, without a closing slash."""
        return f"{_control_folder(self.table, 'exports')}{self.run}"

    @staticmethod
    def parse(table: str, key: str) -> RunFolder | None:
        """The run whose plan or manifest this key is, or None."""
        for start, end in (
            (_control_folder(table, "backfills"), "/plan.json"),
            (_control_folder(table, "manifests"), ".json"),
        ):
            run = key[len(start) : -len(end)]
            if key == f"{start}{run}{end}" and _RUN(run):
                return RunFolder(table, run)
        return None


def runs_folder(table: str) -> str:
    """The folder that holds a table's backfills, with its closing slash."""
    return _control_folder(table, "backfills")


class GapKey(NamedTuple):
    """Where one gap is recorded: found again, the same gap meets its own object."""

    table: str
    from_ms: int
    cause: str

    def format(self) -> str:
        return f"{gaps_folder(self.table)}{format_time(self.from_ms)}-{self.cause}.json"

    @staticmethod
    def parse(table: str, key: str) -> GapKey | None:
        """The value behind a gap's key of this table, or None."""
        start = gaps_folder(table)
        parts = _GAP(key[len(start) :]) if key.startswith(start) else None
        if parts is None:
            return None
        try:
            return GapKey(table, parse_time(parts["time"]), parts["cause"])
        except ValueError:
            return None


class StreamCheckKey(NamedTuple):
    """Where it is kept what was last seen of a table's stream; beside the gaps, and none of them."""

    table: str

    def format(self) -> str:
        return f"{gaps_folder(self.table)}seen.json"

    @staticmethod
    def parse(table: str, key: str) -> StreamCheckKey | None:
        """The value behind that key of this table, or None."""
        seen = StreamCheckKey(table)
        return seen if key == seen.format() else None


def gaps_folder(table: str) -> str:
    """The folder that holds a table's gaps, with its closing slash."""
    return _control_folder(table, "gaps")
