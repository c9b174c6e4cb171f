"""The page: whole without a network, readable on a phone, and nothing in it but figures and names."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakebound.operate.charts import seconds_over_time, time_ticks, value_ticks
from lakebound.operate.cost import Usage, measure
from lakebound.operate.report import Figures, FileFigures, SilverMinute, page
from lakebound.operate.status import BUFFER, DEAD, FAILURES, GAPS, QUARANTINE, assess
from tests.support.operator_stack import BUCKET, Lakebound, Operated, refused
from tests.support.report_figures import FILES, FULL, WELL
from tests.support.stream_records import NOW_MS

VOID = frozenset(("meta", "br", "circle", "line", "polyline", "wbr"))
OPTIONAL = frozenset(("tr", "th", "td"))


class Tags(HTMLParser):
    """Every tag with its attributes, and what stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID | OPTIONAL:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID | OPTIONAL:
            assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


@pytest.mark.parametrize("figures", [FULL, Figures(assess(WELL))], ids=["full", "empty"])
def test_the_page_is_whole_in_itself(figures: Figures) -> None:
    text = page(figures)
    tags = parsed(text)
    assert (tags.open, tags.links) == ([], [])
    assert not {"script", "link", "iframe", "img"} & tags.tags
    assert not re.search(r"https?:|url\(|@import", text)


def test_the_page_says_what_was_found() -> None:
    text = page(FULL)
    for told in (
        "GAP",
        "mapping_disabled",
        "lakebound backfill start --mode heal",
        "not equal",
        "336,776 keys",
        "nightly-7",
    ):
        assert told in text


def test_a_name_with_markup_stays_text() -> None:
    status = assess(replace(WELL, table="<script>alert(1)</script>"))
    assert "<script>" not in page(Figures(status))


def test_a_peak_is_not_averaged_away() -> None:
    many = tuple(FileFigures(NOW_MS + n * 1_000, 1, 1_000, 500_000 if n == 700 else 1_000) for n in range(5_000))
    text = page(replace(FULL, files=many))
    assert "the greatest 500.0 s" in text
    assert "From ingest to the file, seconds; the greatest is 500.0" in text


def test_what_was_not_seen_or_measured_is_never_nought() -> None:
    blind = tuple(f"{part}: no right" for part in (BUFFER, DEAD, FAILURES, GAPS, QUARANTINE))
    status = assess(replace(WELL, buffered=0, iterator_age_ms=None, unknown=blind))
    did = Usage(24, None, None, None, None, None, None, None, None, None, None, alarms=20)
    text = page(Figures(status, bill=measure(did)))
    assert ">UNKNOWN<" in text
    assert not re.search(r"\b0 (messages|puts|dead|failure|records|requests)", text)
    assert text.count("not measured") >= 5
    assert "At least $2.00 a month" in text


def test_each_percentile_says_of_what() -> None:
    for text in (page(FULL), page(replace(FULL, latency_s=None))):
        for sentence in re.split(r"[.:<>](?=\s|<|$)", text):
            if "p50" in sentence:
                assert "half within" in sentence


@given(st.floats(0, 1e7, allow_nan=False))
@example(0.1)
def test_the_ticks_of_an_axis_are_few_round_and_reach_the_greatest(greatest: float) -> None:
    ticks = value_ticks(greatest)
    assert 3 <= len(ticks) <= 6
    assert ticks[0] == 0
    assert ticks[-1] >= greatest * (1 - 1e-9)
    assert ticks[-1] <= max(2.5 * greatest, 1e-8)


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 3_000 * 86_400_000))
def test_the_times_of_an_axis_are_few_and_within_it(start: int, length: int) -> None:
    ticks = time_ticks(start, start + length)
    assert 1 <= len(ticks) <= 5
    assert all(start <= tick <= start + length for tick in ticks)


def test_the_chart_has_both_axes_with_their_units() -> None:
    minute = 60_000
    chart = seconds_over_time([(at * minute, at * 1.0) for at in range(60)], "From ingest to the file", "written")
    assert re.findall(r"<text[^>]*>([^<]*)</text>", chart) == [
        "0", "20", "40", "60", "00:00", "00:20", "00:40", "From ingest to the file, seconds", "written, UTC",
    ]  # fmt: skip
    hours = seconds_over_time([(0, 0.0), (3 * 86_400_000, 9_000.0)], "Lag", "written")
    assert "Lag, hours" in hours
    assert ">Jan 2<" in hours


def test_a_chart_of_one_file_and_one_of_a_week_are_drawn() -> None:
    for files in ((FILES[0],), (FILES[0], replace(FILES[1], written_ms=FILES[0].written_ms + 7 * 86_400_000))):
        parsed(page(replace(FULL, files=files)))


def test_a_page_that_cannot_be_written_is_a_sentence(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    assert "There is no folder" in lakebound.err("report", "--out", str(tmp_path / "no" / "page.html"))


def test_the_verb_writes_the_page(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    key = f"ddb/flights/dt=2026-11-24/HH=03/stream-20261124T030534123Z-2-{'a' * 32}.ndjson.gz"
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
    told = {"keys": 5, "missing": ["k"], "ghost": [], "stale": [], "different": [], "left_out": []}
    (tmp_path / "v.json").write_text(json.dumps(told))
    out = tmp_path / "page.html"
    assert lakebound("report", "--out", str(out), "--verification", str(tmp_path / "v.json")) == 0
    text = out.read_text()
    assert "1 file" in text
    assert "not equal" in text
    assert "5 keys compared.</p>" in text
    (tmp_path / "v.json").write_text(json.dumps(told | {"compared": "share 3 of 30"}))
    assert lakebound("report", "--out", str(out), "--verification", str(tmp_path / "v.json")) == 0
    assert "5 keys compared, only: share 3 of 30.</p>" in out.read_text()
    assert lakebound("report", "--out", str(out), "--verification", str(out)) == 2


def test_the_latency_that_was_measured_is_shown(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert lakebound("report", "--out", str(out), "--latency", "21.4,48.9") == 0
    assert "from a change to silver: half within 21.4 s (p50), 99 of 100 within 48.9 s (p99)" in out.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        *(("report", "--latency", text) for text in ("fast", "1", "1,2,3", "nan,nan", "1,inf", "-1,2", "2,1", ",")),
        ("report", "--verification", __file__),
        ("replay", "--from", "2026-11-24T05:00:00Z", "--to", "2026-11-24T03:00:00Z"),
        ("replay", "--from", "2026-11-24", "--to", "2026-11-24"),
    ],
    ids=" ".join,
)
def test_a_value_that_says_nothing_is_refused_before_the_stack_is_asked(
    lakebound: Lakebound, operated: Operated, arguments: tuple[str, ...]
) -> None:
    """The report of a large bucket takes minutes, and `nan` would stand on its page."""
    operated.answers["describe_stacks"] = refused("DescribeStacks", "Throttling")
    verb, option, text, *_ = arguments
    said = lakebound.err(*arguments)
    assert option in said or text in said
    assert "AWS throttles these calls" in lakebound.err(
        verb, *(["--from", "2026-11-24"] if verb == "replay" else []), status=1
    )


def test_how_far_silver_was_behind_is_drawn_with_its_peak_and_what_waits() -> None:
    minutes = tuple(SilverMinute(NOW_MS + n * 60_000, 4_000 if n == 700 else 10, 50 * n) for n in range(1_440))
    text = page(replace(FULL, silver=minutes))
    assert "10 s as published last, the greatest 4,000 s. Rows of _changes that wait for a merge: 71,950." in text
    assert "From the file to silver, minutes; the greatest is 66.7" in text
    assert "Waits for a merge, thousand rows; the greatest is 72.0" in text
    assert "Waits for a merge, rows; the greatest is 9,000.0" in page(FULL)
    assert "Waits for a merge" not in page(replace(FULL, silver=(SilverMinute(NOW_MS, 10, 0),)))
    assert "Not measured: no merge job has published in the last 24 hours" in page(replace(FULL, silver=()))


@pytest.mark.parametrize("hours", [24, 24 * 7, 24 * 40])
def test_the_verb_shows_what_the_merge_job_published(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, hours: int
) -> None:
    at = datetime.now(UTC) - timedelta(hours=hours * 0.9)
    for name, value in (("SilverLagSeconds", 321.0), ("SilverPendingRows", 77.0)):
        metric = {"MetricName": name, "Dimensions": [{"Name": "table", "Value": "flights"}], "Value": value}
        operated.client("cloudwatch").put_metric_data(Namespace="Lakebound", MetricData=[metric | {"Timestamp": at}])
    out = tmp_path / "page.html"
    assert lakebound("report", "--out", str(out), "--hours", str(hours)) == 0
    assert "321 s as published last, the greatest 321 s. Rows of _changes that wait for a merge: 77." in out.read_text()
