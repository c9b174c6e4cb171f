"""The scan as anybody would write it: a boto3 Table, and json.dumps with a Decimal default."""

from __future__ import annotations

import json
from typing import Any

from bench.baseline.stream_ingest import plain


def page_lines(table: Any) -> list[str]:
    """One page of a scan as lines."""
    return [json.dumps(item, default=plain) for item in table.scan()["Items"]]
