"""The benchmark of `_live` still runs, and both of its sides hold the same rows. No time is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from bench import live, live_page
from bench.live_page import Measured, Side

TINY = live.Extent(
    rows=500, events=100, micro_batches=1, rounds=1, wide_columns=12, wide_rows=200, wide_events=50, records=1_000
)


@pytest.mark.soak
@pytest.mark.parametrize("name", list(live.PARTS))
def test_a_part_runs_and_gives_both_sides_the_same_rows(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Each part compares what its two sides hold, and raises when they differ."""
    part = live.measured_part(spark, tmp_path / name, name, TINY)
    assert part.measured
    assert all(len(one.ours.seconds) == len(one.base.seconds) >= 1 for one in part.measured)
    assert len(part.lines()) == 2 + len(part.measured)


def measured(what: str, base: list[float], ours: list[float], **how: float) -> Measured:
    return Measured(what, "uniform", Side("bare MERGE", base), Side("ours", ours), **how)  # type: ignore[arg-type]


def test_the_table_says_what_was_missed() -> None:
    share = measured("append", [10.0, 20.0, 10.0], [2.0, 2.0, 3.0], aim=0.2)
    assert share.line() == "| append | uniform | 10.00 s | 2.00 s | 0.10 – **0.20** – 0.30 | ≤ 0.2 × |"
    share.ours.seconds[0] = 2.5
    assert share.line().endswith("≤ 0.2 × missed |")
    times = measured("sustained", [10.0, 20.0, 30.0], [10.0, 10.0, 10.0], aim=2.5)
    times.faster = True
    assert times.line().endswith("1.00 – **2.00** – 3.00 | ≥ 2.5 × missed |")
    seconds = measured("500 columns", [20.0], [8.5], most_seconds=8.0)
    assert seconds.line().endswith("≤ 8 s missed |")


def test_the_section_of_the_page_on_scale_takes_the_place_of_the_one_before() -> None:
    page = "# Scale\n\nFigures.\n"
    first = live_page.with_formats(page, f"{live_page.FORMATS_HEADING}\n\nold\n")
    assert live_page.section_of(first, live_page.FORMATS_HEADING) == f"{live_page.FORMATS_HEADING}\n\nold\n"
    again = live_page.with_formats(first, f"{live_page.FORMATS_HEADING}\n\nnew\n")
    assert again == f"# Scale\n\nFigures.\n\n{live_page.FORMATS_HEADING}\n\nnew\n"
    assert live_page.section_of(page, live_page.FORMATS_HEADING) == ""


def test_a_section_keeps_the_anchor_by_which_other_pages_name_it() -> None:
    page = live_page.with_formats("# Scale\n", f'<a id="formats"></a>\n{live_page.FORMATS_HEADING}\n\nfigures\n')
    section = live_page.section_of(page, live_page.FORMATS_HEADING)
    assert live_page.with_formats("# Scale\n", section) == page
