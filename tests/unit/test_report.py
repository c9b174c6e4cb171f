"""The page: whole without a network, readable on a phone, and nothing in it but figures and names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lakebound.cost import Plan, estimated
from lakebound.gaps import Gap
from lakebound.report import BackfillSeen, Figures, FileSeen, Verified, page
from lakebound.status import judge
from tests.events.building import NOW_MS
from tests.unit.conftest import Lakebound
from tests.unit.operated import BUCKET, Operated
from tests.unit.test_status import WELL

FILES = tuple(
    FileSeen(NOW_MS - (60 - n) * 60_000, 400 + n, 2 ** (14 + n % 9) + n, 9_000 + (n * 7_919) % 21_000)
    for n in range(60)
)
FULL = Figures(
    status=judge(replace(WELL, dead=3, quarantined=2, gaps=(Gap(NOW_MS - 7_200_000, None, "mapping_disabled"),))),
    files=FILES,
    verified=Verified(336_776, missing=1),
    backfill=BackfillSeen("nightly-7", "scan", 336_776, 84.0, (90_000, 84_000, 81_000, 81_776)),
    bill=estimated(Plan(120, 900)),
    latency_s=(21.4, 48.9),
)
VOID = frozenset(("meta", "br", "circle", "line", "polyline"))
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


@pytest.mark.parametrize("figures", [FULL, Figures(judge(WELL))], ids=["full", "empty"])
def test_the_page_is_whole_in_itself(figures: Figures) -> None:
    text = page(figures)
    tags = parsed(text)
    assert tags.open == []
    assert tags.links == []
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
    status = judge(replace(WELL, table="<script>alert(1)</script>"))
    assert "<script>" not in page(Figures(status))


def test_a_peak_is_not_averaged_away() -> None:
    many = tuple(FileSeen(NOW_MS + n * 1_000, 1, 1_000, 500_000 if n == 700 else 1_000) for n in range(5_000))
    assert "500.0 seconds to the file" in page(replace(FULL, files=many))


def test_the_verb_writes_the_page(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    key = f"ddb/flights/dt=2026-11-24/HH=03/stream-20261124T030534123Z-2-{'a' * 32}.ndjson.gz"
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"x")
    told = {"keys": 5, "missing": ["k"], "ghost": [], "stale": [], "different": [], "left_out": []}
    (tmp_path / "v.json").write_text(json.dumps(told))
    out = tmp_path / "page.html"
    assert lakebound("report", "--out", str(out), "--verification", str(tmp_path / "v.json")) == 0
    text = out.read_text()
    assert "1 files" in text
    assert "not equal" in text
    assert lakebound("report", "--out", str(out), "--verification", str(out)) == 2


def test_the_latency_that_was_measured_is_shown(lakebound: Lakebound, operated: Operated, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert lakebound("report", "--out", str(out), "--latency", "21.4,48.9") == 0
    assert "p50 21.4 s, p99 48.9 s" in out.read_text()
    assert lakebound("report", "--out", str(out), "--latency", "fast") == 2
