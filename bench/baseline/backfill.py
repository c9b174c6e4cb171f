"""Scan and export as anybody would read them: boto3's Table and deserializer, and json.dumps with a Decimal default."""

from __future__ import annotations

import gzip
import json
from typing import Any

from bench.baseline.stream_ingest import image, plain


def page_lines(table: Any) -> list[str]:
    """One page of a scan as lines."""
    return [json.dumps(item, default=plain) for item in table.scan()["Items"]]


def export_lines(body: bytes) -> list[str]:
    """A data file of a full export as lines."""
    lines = gzip.decompress(body).splitlines()
    return [json.dumps(image(json.loads(line)["Item"]), default=plain) for line in lines]
