"""DynamoDB's exports: their windows, their manifests, and their data files, which are read as pages of lines."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any, Final, Protocol

import orjson

from lakebound.backfill.segment_worker import Page
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured, ObjectMissing, Poison
from lakebound.formats.ndjson import MAX_LINE_BYTES, inflate
from lakebound.ports import Clock, ObjectStore
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.raw_items import ExportLineReader
from lakebound.record.stream_records import ChangeEvent
from lakebound.times import TimeRange, parse_iso

FULL: Final = "FULL_EXPORT"
INCREMENTAL: Final = "INCREMENTAL_EXPORT"
LEAST_WINDOW_MS: Final = 15 * 60_000
MOST_WINDOW_MS: Final = 24 * 3_600_000
MAX_DATA_FILE_BYTES: Final = 600 * 1024 * 1024
MAX_MANIFEST_BYTES: Final = 256 * 1024 * 1024
_SAME_MOMENT_MS: Final = 1_000
LINES_PER_PAGE: Final = 2_000
PAGE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExportState:
    """An export as DynamoDB describes it. `status` is IN_PROGRESS, COMPLETED or FAILED."""

    arn: str
    status: str
    manifest_key: str | None = None
    export_time_ms: int | None = None
    items: int = 0
    billed_bytes: int = 0
    failure: str = ""


class Exporter(Protocol):
    """Starts and describes exports of one table into the bucket. A window holds its start and not its end."""

    def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
        """The export's ARN. The same token gives the same export. Raises Misconfigured, LakeboundError."""

    def describe(self, arn: str) -> ExportState:
        """Raises LakeboundError."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file as the export's manifest names it, with the label of its rows."""

    key: str
    items: int
    md5: str
    label_ms: int
    kind: str


def windows(hours: TimeRange) -> list[TimeRange]:
    """Equal windows of 15 minutes to 24 hours that cover these hours, on whole seconds. Fewer hours begin earlier.

    A larger window is harmless: its rows are the items' states at its end, and that is their label. Where there are
    several, each has 12 hours or more, so no inner edge lies within W of the start (ORDERING.md).
    """
    begin = hours.from_ms // 1000
    end = ceil(hours.to_ms / 1000)
    begin = min(begin, end - LEAST_WINDOW_MS // 1000)
    count = ceil((end - begin) / (MOST_WINDOW_MS // 1000))
    edges = [begin + (end - begin) * number // count for number in range(count)] + [end]
    return [TimeRange(low * 1000, high * 1000) for low, high in pairwise(edges)]


@dataclass(frozen=True, slots=True)
class ExpectedExport:
    """The export that was requested: its table, its moment or window, and the label of its rows."""

    kind: str
    table_arn: str
    table_id: str
    label_ms: int
    time_ms: int | None = None
    window: TimeRange | None = None


def read_manifest(store: ObjectStore, summary_key: str, expected: ExpectedExport) -> list[DataFile]:
    """The data files of a completed export.

    Raises LakeboundError where its summary differs from what was requested, or its counts do not agree.
    """
    summary = _json(summary_key, store.get(summary_key, MAX_MANIFEST_BYTES))
    _check_expected(summary_key, summary, expected)
    listing_key, listing, prefix = _listing(store, summary)
    files = []
    for line in listing.splitlines():
        if line.strip():
            entry = _json(listing_key, line)
            key = prefix + str(entry["dataFileS3Key"])
            # The md5 covers the object's bytes as stored. In the developer guide's sample of manifest-files.json
            # (S3DataExport.Output) it is sQMSpEILNgoQmarvDFonGQ== beside the etag
            # af83d6f217c19b8b0fff8023d8ca4716-1, and S3's etag of an object put in one part is
            # hex(md5(md5(object))) and "-1", which the sample's two values fit.
            files.append(
                DataFile(key, int(entry["itemCount"]), str(entry["md5Checksum"]), expected.label_ms, expected.kind)
            )
    counted = sum(file.items for file in files)
    if counted != int(summary["itemCount"]):
        raise LakeboundError(
            f"{listing_key} names files of {count_text(counted, 'item')}, {summary_key} says {summary['itemCount']}",
            hint="The export is not whole: start a new backfill",
        )
    return files


def _listing(store: ObjectStore, summary: dict[str, Any]) -> tuple[str, bytes, str]:
    """(key of manifest-files.json, its bytes, the prefix that its keys lack).

    Real exports name whole keys of the bucket, with the export's prefix. The developer guide's sample has the prefix
    2020-Nov and keys without it. So where no object has the key as given, the prefix is put before it.
    """
    key, prefix = str(summary["manifestFilesS3Key"]), str(summary.get("s3Prefix") or "").strip("/")
    try:
        return key, store.get(key, MAX_MANIFEST_BYTES), ""
    except ObjectMissing:
        if not prefix or key.startswith(f"{prefix}/"):
            raise
    key = f"{prefix}/{key}"
    return key, store.get(key, MAX_MANIFEST_BYTES), f"{prefix}/"


def _check_expected(key: str, summary: dict[str, Any], expected: ExpectedExport) -> None:
    is_kind = summary.get("outputFormat") == "DYNAMODB_JSON" and summary.get("exportType", FULL) == expected.kind
    for is_right, wrong in (
        (is_kind, "describes another kind of export"),
        (summary.get("tableArn") == expected.table_arn, "is an export of another table"),
        # A new table got the name while the export ran: the export would bring the old table's items back.
        (summary.get("tableId") == expected.table_id, "belongs to a table that was deleted and created again"),
    ):
        if not is_right:
            raise LakeboundError(f"{key} {wrong}", hint="Start a new backfill")
    times = {"exportTime": expected.time_ms}
    if expected.window is not None:
        times = {"exportFromTime": expected.window.from_ms, "exportToTime": expected.window.to_ms}
    for name, ms in times.items():
        # DescribeExport and the manifest may round a moment differently.
        if ms is not None and abs(export_time_ms(str(summary.get(name))) - ms) > _SAME_MOMENT_MS:
            raise LakeboundError(f"{key} has another {name} than was requested", hint="Start a new backfill")


def export_time_ms(text: str) -> int:
    """Milliseconds of a manifest's time. Raises LakeboundError for any other text."""
    try:
        return parse_iso(text)
    except ValueError:
        raise LakeboundError("an export's manifest lacks its times", hint="Start a new backfill") from None


def _json(key: str, body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise LakeboundError(f"{key} is not the JSON of an export's manifest", hint="Start a new backfill")
    return value


class ExportFiles:
    """Port PageSource: some of an export's data files, line by line.

    A start is `{"file": n, "line": n}`. To go on inside a file, it is inflated again from its beginning. A file is held
    compressed, at most MAX_DATA_FILE_BYTES.
    """

    def __init__(
        self, files: Sequence[DataFile], decoder: SnapshotDecoder, store: ObjectStore, clock: Clock, *, origin: str
    ) -> None:
        self.origin = origin
        self._files = files
        self._decoder = decoder
        self._reader = ExportLineReader(decoder.reader, incremental=origin == "incremental_export")
        self._store = store
        self._clock = clock
        self._at: tuple[int, int] = (-1, 0)
        self._lines: Iterator[bytes] = iter(())

    def page(self, start: Any, limit: int | None) -> Page:
        number, line = (start["file"], start["line"]) if start else (0, 0)
        asked = self._clock.now_ms()
        if number >= len(self._files):
            return Page(asked, asked, (), 0.0, None)
        file = self._files[number]
        if self._at != (number, line):
            self._lines = self._open(file)
            for _ in range(line):
                next(self._lines)
        values, size = [], 0
        for text in self._lines:
            values.append(self._reader.read(text))
            size += len(text)
            if len(values) >= LINES_PER_PAGE or size >= PAGE_BYTES:
                break
        line += len(values)
        ended = not values or line >= file.items
        if ended:
            self._expect_end(file, line)
            number, line = number + 1, 0
        self._at = (number, line) if not ended else (-1, 0)
        following = {"file": number, "line": line} if number < len(self._files) else None
        return Page(asked, file.label_ms, values, 0.0, following)

    def decode(self, value: Any, label_ms: int, event_id: str) -> ChangeEvent:
        if self.origin == "export":
            return self._decoder.export_line(value, label_ms, event_id)
        return self._decoder.change_line(value, label_ms, event_id)

    def _expect_end(self, file: DataFile, lines: int) -> None:
        if lines != file.items or next(self._lines, None) is not None:
            raise LakeboundError(
                f"{file.key} does not hold the {count_text(file.items, 'line')} that its manifest says",
                hint="The export is damaged: start a new backfill",
            )

    def _open(self, file: DataFile) -> Iterator[bytes]:
        body = self._store.get(file.key, MAX_DATA_FILE_BYTES)
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        if b64encode(digest).decode() != file.md5:
            raise LakeboundError(
                f"{file.key} does not have the md5 that its manifest says",
                hint="The export is damaged: start a new backfill",
            )
        return inflate_lines(file.key, body)


def inflate_lines(key: str, body: bytes) -> Iterator[bytes]:
    """The lines of gzip data of any number of members, without line feeds and without empty lines.

    Holds one line and one chunk in memory. Raises LakeboundError for damaged data and for a line above MAX_LINE_BYTES.
    """
    rest = b""
    try:
        for piece in inflate(body):
            *lines, rest = (rest + piece).split(b"\n")
            yield from filter(None, lines)
            if len(rest) > MAX_LINE_BYTES:
                raise LakeboundError(f"{key} has a line of more than {MAX_LINE_BYTES} bytes")
    except Poison as poison:
        raise LakeboundError(
            f"{key} is not whole gzip data: {poison.detail}", hint="It is damaged: start a new backfill"
        ) from None
    if rest:
        yield rest


def check_window(window: TimeRange, recovery_from_ms: int | None) -> None:
    """Raises Misconfigured for a window that point-in-time recovery does not reach."""
    if recovery_from_ms is None:
        raise Misconfigured(
            "the table has no point-in-time recovery, which exports need", hint="Enable it, or use mode scan"
        )
    if window.from_ms < recovery_from_ms:
        raise Misconfigured(
            "from is before the earliest time that point-in-time recovery reaches",
            hint="Use a later from, or mode scan and a sweep",
        )
