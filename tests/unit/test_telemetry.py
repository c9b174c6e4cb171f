"""Files are too small only under load: a quiet table's files are small and right."""

import pytest

from lakebound.adapters.telemetry import small_under_load
from lakebound.live.flush import FlushResult


@pytest.mark.parametrize(
    ("records", "age_ms", "sizes", "expected"),
    [
        (60_000, 30_000, (2_000_000, 2_000_000), True),
        (60_000, 30_000, (6_000_000,), False),
        (20_000, 30_000, (2_000_000,), False),
        (900, 0, (1_000,), False),
        (0, 30_000, (), False),
    ],
)
def test_small_files_count_only_under_load(records: int, age_ms: int, sizes: tuple[int, ...], expected: bool) -> None:
    files = [(f"file-{place}", size) for place, size in enumerate(sizes)]
    assert small_under_load(FlushResult(records=records, oldest_age_ms=age_ms, files=files)) is expected
