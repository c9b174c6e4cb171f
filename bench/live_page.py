"""The page and the picture of `bench.live`: what was measured, kept by part so that one can be measured again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from bench.figures import DOCS, meaning_of, on_this_machine, put
from bench.pictures import Bar, draw
from lakebound.counts import count_text

PAGE: Final = DOCS / "BENCH-LIVE.md"
PICTURE: Final = DOCS / "bench-live.svg"
KEPT: Final = DOCS / "bench-live.json"
"""The parts, each as it was measured last."""


@dataclass(slots=True)
class Side:
    """One side's seconds, a figure a round."""

    name: str
    seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Measured:
    """A line of a table: the same work done by both sides in turns."""

    what: str
    case: str
    base: Side
    ours: Side
    aim: float | None = None
    events: int = 0
    bytes: int = 0
    faster: bool = False
    """The ratio is how many times faster ours is, at least ``aim``; else the share of the base's time, at most."""
    most_seconds: float | None = None

    def ratios(self) -> tuple[float, float, float]:
        """Least, median and greatest of the rounds."""
        pairs = zip(self.base.seconds, self.ours.seconds, strict=True)
        each = [base / ours if self.faster else ours / base for base, ours in pairs]
        return min(each), median(each), max(each)

    @property
    def missed(self) -> bool:
        """Whether the median is on the wrong side of the aim; False where none was set."""
        if self.most_seconds is not None:
            return median(self.ours.seconds) > self.most_seconds
        mid = self.ratios()[1]
        return self.aim is not None and (mid < self.aim if self.faster else mid > self.aim)

    @property
    def verdict(self) -> str:
        """The aim, and whether it was missed."""
        missed = " missed" if self.missed else ""
        if self.most_seconds is not None:
            return f"≤ {self.most_seconds:g} s{missed}"
        return "–" if self.aim is None else f"{'≥' if self.faster else '≤'} {self.aim:g} ×{missed}"

    def line(self) -> str:
        """A row of the table."""
        low, mid, high = self.ratios()
        sides = " | ".join(f"{median(side.seconds):.2f} s" for side in (self.base, self.ours))
        return f"| {self.what} | {self.case} | {sides} | {low:.2f} – **{mid:.2f}** – {high:.2f} | {self.verdict} |"


@dataclass(slots=True)
class Part:
    """What one part of the run measured, and in what conditions: a sentence on the rows, the rounds and the machine."""

    name: str
    conditions: str
    measured: list[Measured] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Its table."""
        if self.name == "formats":
            return format_lines(self.measured)
        base, ours = self.measured[0].base.name, self.measured[0].ours.name
        head = f"| what | keys | {base} | {ours} | ratio min – median – max | aim |"
        if self.name == "reads":
            head = head.replace("keys", "changes")
        return [head, "|---|---|---|---|---|---|", *(one.line() for one in self.measured)]


def conditions(rows: int, rounds: int, load_before: float, load_after: float) -> str:
    """A sentence on what was measured and how busy the machine was."""
    of = f"{rows:,} rows of silver, " if rows else ""
    counted = f"{count_text(rounds, 'round')} that {'counts' if rounds == 1 else 'count'}"
    return (
        f"{of}{counted}, {on_this_machine()}. Load of the machine: {load_before:.1f} before, {load_after:.1f} after, of"
        f" which this run makes about {os.cpu_count()}."
    )


def format_lines(measured: Sequence[Measured]) -> list[str]:
    """The table of reading each format."""
    lines = ["| format | files | MB | records/s | time against one ndjson.gz |", "|---|---|---|---|---|"]
    for one in measured:
        low, mid, high = one.ratios()
        figures = f"{one.bytes / 1e6:.0f} | {one.events / median(one.ours.seconds):,.0f}"
        lines.append(f"| {one.what} | {one.case} | {figures} | {low:.2f} – **{mid:.2f}** – {high:.2f} |")
    return lines


FORMATS_HEADING: Final = "## Reading batch files"
FORMATS: Final = """<a id="formats"></a>
{heading}

The same {records:,} records of the flat corpus, read, checked and reduced to a row a key by the Spark job on {cores}
cores; written by `make bench LIVE=1`. {load}

{table}

{default}
"""
DEFAULT: Final = (
    "A gzip file is one task, however many cores there are; the other two are split. The default stays `ndjson.gz` in"
    " files of at most 64 MB: people can read it, and a micro-batch of a busy table has at least as many files as most"
    " clusters have cores. Where one micro-batch has fewer files than cores, lower `MaxFileBytes` until it has as many."
    " Where seconds or Spark's dollars count, choose `parquet`: it is read the fastest either way."
)


def write_page(parts: Mapping[str, Part]) -> None:
    """The figures of docs/BENCH-LIVE.md and its picture, of the parts that were measured at some time."""
    shown = {name: parts[name] for name in SECTIONS if name in parts}
    blocks = {name: "\n".join([part.conditions, "", *part.lines()]) for name, part in shown.items()}
    rows = [one for part in shown.values() for one in part.measured]
    about = title(rows)
    put(PAGE, {**blocks, "meaning": meaning_of(about, "bench-live.svg", meaning(rows))})
    axis = "times as long as a bare MERGE, or as the same query over silver; shorter is better"
    draw(PICTURE, about, axis, [bar(one) for one in rows])


SECTIONS: Final = ("appends", "merges", "wide", "reads")
TOLD: Final = {
    "file to _live": "Until a change is visible",
    "sustained": "All changes, with the merge",
    "MERGE": "The merge itself",
    "500 columns": "Until visible, 500 columns",
    "whole rows": "All rows of _live",
    "aggregate": "Sums by group of _live",
    "lookup by _key": "One row of _live, by _key",
    "lookup by the key's column": "One row of _live, by its column",
}
CHOSEN: Final = {"uniform": ", keys anywhere", "recent": ", newest keys"}


def bar(one: Measured) -> Bar:
    """The share of the other side's time."""
    mid, aim = one.ratios()[1], one.aim
    if one.faster:
        mid, aim = 1 / mid, aim and 1 / aim
    seconds = [f"{median(side.seconds):.1f} s" for side in (one.ours, one.base)]
    name = TOLD.get(one.what, one.what) + CHOSEN.get(one.case, "")
    return Bar(name, mid, f"{mid:.2f} × ({seconds[0]} for {seconds[1]})", aim, one.missed)


def title(rows: Sequence[Measured]) -> str:
    """What the picture says, in a sentence."""
    found = {(one.what, one.case): one.ratios()[1] for one in rows}
    said = []
    if share := found.get(("file to _live", "uniform")):
        said.append(f"A change is visible in {share:.2f} of a MERGE's time")
    if times := next((ratio for (what, _), ratio in found.items() if what == "lookup by _key"), None):
        said.append(f"a lookup in _live takes {times:.1f} times as long")
    return ", and ".join(said) or "Appending first, against merging at once"


def meaning(rows: Sequence[Measured]) -> Iterator[str]:
    """What the figures mean for a person who chooses: computed, for what was measured."""
    for one in rows:
        base, ours = (median(side.seconds) for side in (one.base, one.ours))
        where = {"uniform": "anywhere in the table", "recent": "among the newest keys"}.get(one.case, "")
        if one.what == "file to _live":
            yield (
                f"**Changes {where}.** {one.events:,} of them are visible in `_live` {ours:.1f} s after their file is"
                f" read; merged at once by a bare MERGE they would be in {base:.1f} s."
            )
        if one.what == "sustained":
            yield (
                f"**Many changes {where}.** With the merge that follows, one machine brings in"
                f" {one.events / ours:,.0f} a second, or {one.events / ours * 0.0864:,.0f} million a day. By bare"
                f" MERGEs it is {one.events / base:,.0f} a second."
            )
        if one.what == "lookup by _key":
            yield (
                f"**A reader of one row** waits {ours:.1f} s in `_live`, and {base:.1f} s in silver, which lacks what"
                " waits for the merge."
            )
        if one.what == "whole rows":
            yield f"**A reader of all rows** waits {ours:.1f} s in `_live`, and {base:.1f} s in silver."


def write_formats(part: Part) -> None:
    """The table of docs/SCALE.md."""
    scale = DOCS / "SCALE.md"
    scale.write_text(with_formats(scale.read_text("utf-8"), formats_section(part)), "utf-8")


def formats_section(part: Part) -> str:
    """The section of docs/SCALE.md."""
    return FORMATS.format(
        heading=FORMATS_HEADING,
        records=part.measured[0].events,
        cores=os.cpu_count(),
        load=part.conditions,
        table="\n".join(part.lines()),
        default=DEFAULT,
    )


def with_formats(page: str, section: str) -> str:
    """docs/SCALE.md with this section as its last, in the place of the one before."""
    before = re.split(rf'\n(?:<a id="formats"></a>\n)?{FORMATS_HEADING}', page)[0].rstrip("\n") + "\n"
    return f"{before}\n{section}" if section else before


def section_of(page: str, heading: str) -> str:
    """The last section of a page with its anchor if it has this heading, else ""."""
    found = re.search(rf'^(?:<a id="\w+"></a>\n)?{re.escape(heading)}$.*\Z', page, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""
