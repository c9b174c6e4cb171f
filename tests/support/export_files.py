"""Exports in the layout that AWS documents, written into a bucket in memory or a folder.

From the developer guide's page on export output (S3DataExport.Output): manifest-summary.json and manifest-files.json
(JSON lines) with a checksum beside each, data files as gzip of JSON lines, an empty `_started`. A full export's data
lies beside its manifests; incremental exports share one folder `AWSDynamoDB/data/`. The guide calls the checksums
`.checksum`; real exports write `.md5`, the md5 in base64, and whole keys of the bucket (both seen in
test/alternator/test_export.py of scylladb, which is run against AWS).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lakebound.backfill.exports import FULL, ExportState
from lakebound.times import TimeRange, iso_millis
from tests.support.backfill_world import TABLE_ARN, Bucket, Table, World, world

TABLE_ID = "12345a12-abcd-123a-ab12-1234abc12345"
ID = "01693685827463-2d8752fd"


def md5(body: bytes) -> str:
    return b64encode(hashlib.md5(body).digest()).decode()


def layout(
    prefix: str,
    lines: Sequence[dict[str, Any]],
    kind: str,
    at_ms: int,
    window: TimeRange | None = None,
    files: int = 2,
    table_id: str = TABLE_ID,
) -> dict[str, bytes]:
    top = f"{prefix}/AWSDynamoDB" if prefix else "AWSDynamoDB"
    root = f"{top}/{ID}"
    data = f"{root}/data" if window is None else f"{top}/data"
    objects: dict[str, bytes] = {f"{root}/_started": b""}
    entries = []
    for number in range(files):
        some = lines[number::files]
        text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in some)
        body = gzip.compress(text.encode(), mtime=0)
        key = f"{data}/{hashlib.md5(f'{kind}{number}'.encode()).hexdigest()[:26]}.json.gz"
        objects[key] = body
        # S3's etag of an object that was put in one part of a multipart upload.
        etag = hashlib.md5(hashlib.md5(body).digest()).hexdigest() + "-1"
        entries.append({"itemCount": len(some), "md5Checksum": md5(body), "etag": etag, "dataFileS3Key": key})
    listing = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
    summary: dict[str, Any] = {
        "version": "2020-06-30" if window is None else "2023-08-01",
        "exportArn": f"{TABLE_ARN}/export/{ID}",
        "startTime": iso_millis(at_ms),
        "endTime": iso_millis(at_ms + 360_000),
        "tableArn": TABLE_ARN,
        "tableId": table_id,
        "exportTime": iso_millis(at_ms),
        "s3Bucket": "lake-files",
        "s3Prefix": prefix or None,
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"{root}/manifest-files.json",
        "billedSizeBytes": 0,
        "itemCount": len(lines),
        "outputFormat": "DYNAMODB_JSON",
        "exportType": kind,
    }
    if window is not None:
        del summary["exportTime"]
        summary |= {
            "exportFromTime": iso_millis(window.from_ms),
            "exportToTime": iso_millis(window.to_ms),
            "outputView": "NEW_AND_OLD_IMAGES",
        }
    for name, body in (("manifest-summary", json.dumps(summary).encode()), ("manifest-files", listing)):
        objects[f"{root}/{name}.json"] = body
        objects[f"{root}/{name}.md5"] = md5(body).encode()
    return objects


@dataclass
class Exports:
    """Port Exporter over a Table that remembers its writes; done at the second look."""

    table: Table
    bucket: Bucket
    started: dict[str, tuple[str, str, TimeRange | None, int]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    damage: Any = None

    def start(self, kind: str, prefix: str, token: str, window: TimeRange | None) -> str:
        self.starts += 1
        arn = f"{TABLE_ARN}/export/{token}"
        if arn in self.started:
            return arn
        at = self.table.clock.ms // 1000 * 1000
        if kind == FULL:
            lines = [{"Item": item} for item in self.table.as_of(at).values()]
        else:
            assert window is not None
            assert window.to_ms <= self.table.clock.ms
            lines = self.table.changes(window.from_ms, window.to_ms)
        objects = layout(f"{prefix}/{len(self.started)}", lines, kind, at, window, table_id=self.table.table_id)
        if self.damage is not None:
            self.damage(objects)
        self.bucket.objects |= objects
        self.started[arn] = (kind, next(key for key in objects if key.endswith("manifest-summary.json")), window, at)
        return arn

    def describe(self, arn: str) -> ExportState:
        _, summary, _, at = self.started[arn]
        self.looks[arn] = self.looks.get(arn, 0) + 1
        done = self.looks[arn] > 1
        return ExportState(arn, "COMPLETED" if done else "IN_PROGRESS", summary if done else None, at)


def exports_of(made: World, kind: type[Exports] = Exports) -> Exports:
    """Gives the world's backfill an exporter of its table, and returns it."""
    exports = kind(made.table, made.bucket)
    object.__setattr__(made.context.ports, "exporter", lambda arn: exports)
    return exports


def exporting(count: int = 50, **options: Any) -> tuple[World, Exports]:
    """A world with exports, its table filled with that many cars ten seconds ago."""
    made = world(**options)
    exports = exports_of(made)
    for number in range(count):
        made.table.put(f"car-{number:03}", number)
    made.clock.pass_ms(10_000)
    return made, exports
