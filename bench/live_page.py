"""The page and the picture of `bench.live`: what was measured, kept by part so that one can be measured again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import pyspark

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
PAGE: Final = "BENCH-LIVE"
KEPT: Final = ROOT / ".build" / "bench-live"


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
    def verdict(self) -> str:
        """The aim, and whether it was missed."""
        if self.most_seconds is not None:
            missed = median(self.ours.seconds) > self.most_seconds
            return f"≤ {self.most_seconds:g} s{' missed' if missed else ''}"
        if self.aim is None:
            return "–"
        mid = self.ratios()[1]
        missed = mid < self.aim if self.faster else mid > self.aim
        return f"{'≥' if self.faster else '≤'} {self.aim:g} ×{' missed' if missed else ''}"

    def line(self) -> str:
        """A row of the table."""
        low, mid, high = self.ratios()
        sides = " | ".join(f"{median(side.seconds):.2f} s" for side in (self.base, self.ours))
        return f"| {self.what} | {self.case} | {sides} | {low:.2f} – **{mid:.2f}** – {high:.2f} | {self.verdict} |"


@dataclass(slots=True)
class Part:
    """What one part of the run measured, on how large a table, and how busy the machine was before and after."""

    name: str
    rows: int
    load_before: float
    load_after: float = 0.0
    rounds: int = 0
    measured: list[Measured] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Its table."""
        if self.name == "formats":
            return format_lines(self.measured)
        base, ours = self.measured[0].base.name, self.measured[0].ours.name
        head = f"| what | keys | {base} | {ours} | ratio min – median – max | aim |"
        if self.name == "reads":
            head = head.replace("keys", "")
        return [head, "|---|---|---|---|---|---|", *(one.line() for one in self.measured)]

    @property
    def conditions(self) -> str:
        """A sentence on the machine."""
        return (
            f"Load of the machine when it was measured: {self.load_before:.1f} before, {self.load_after:.1f} after, of"
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


def save_part(part: Part) -> None:
    """Keep a part for the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{part.name}.json").write_text(json.dumps(asdict(part), indent=1), "utf-8")


def load_parts(names: Sequence[str]) -> dict[str, Part]:
    """The parts that were kept. Raises SystemExit where one was never measured here."""
    if missing := [name for name in names if not (KEPT / f"{name}.json").exists()]:
        raise SystemExit(f"the page needs {', '.join(missing)} too: run python -m bench.live --only … --write for each")
    return {name: _part(json.loads((KEPT / f"{name}.json").read_text("utf-8"))) for name in names}


def _part(kept: dict[str, object]) -> Part:
    lines = kept.pop("measured")
    assert isinstance(lines, list)
    measured = [Measured(**{**one, "base": Side(**one["base"]), "ours": Side(**one["ours"])}) for one in lines]
    return Part(**kept, measured=measured)  # type: ignore[arg-type]  # as `asdict` wrote it


ABOUT: Final = """# Appending first against merging at once

For people who choose `--merge-every`. After it you know how soon a change is visible, what the merges then cost, and
how much longer a query over `_live` takes than one over the table.

`make bench LIVE=1` wrote this page on {cores} cores (Spark {spark}, Delta on the local disk). Rounds that count, after
those that warm up: {rounds}. Both sides take turns within one run. Quote the ratios: absolute figures depend on the
machine.
The bare MERGE is given the reduced, typed rows as Parquet and updates or inserts them without a condition. Ours begins
with the batch file. `uniform` draws keys from the whole table, `recent` takes the newest; one event in ten is of a new
key.

![ratios against their aims](bench-live.svg)

## From a file in the bucket to `_live`, and what a day of it costs

*File to `_live`*: a micro-batch of {events:,} events against one bare MERGE of the same rows into {rows:,} rows. The
ratio is the share of the MERGE's time for which a reader waits. *Sustained*: {micro_batches} such micro-batches and
the one merge of them all, against a bare MERGE of each. The ratio is how many times as many events the same machine
brings in.

{appends}

{appends_load}

## The merge itself

The guarded MERGE against the bare one, of the same typed rows: below 1 the guard costs nothing.

{merges}

{merges_load}

## What a query over `_live` costs

The same query over `<table>_live` with one change pending for every hundred rows, and over `<table>_current`, which
shows nothing of what is pending. *Whole rows* reads and hashes all columns of all rows. *Aggregate* groups
{reads_rows:,} rows by one column. The lookups are of one key.

{reads}

{reads_load}

A query over `_live` has to look up each row among the pending ones, so it costs most for queries that otherwise read
almost nothing. Ask `_current` where the age of the last merge is good enough.

## A table of 500 columns

{wide_events:,} events until `_live` shows them.

{wide}

{wide_load}
"""

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


STEPS_HEADING: Final = "## Where an append goes"
"""The last section of the page, from `bench.append_steps`; it stays as somebody wrote it."""


def write_page(parts: dict[str, Part]) -> None:
    """The page and its picture."""
    page = DOCS / f"{PAGE}.md"
    steps = section_of(page.read_text("utf-8"), STEPS_HEADING)
    page.write_text(f"{markdown(parts)}\n{steps}" if steps else markdown(parts), "utf-8")
    plot(parts, DOCS / "bench-live.svg")


def write_formats(part: Part) -> None:
    """The table of docs/SCALE.md."""
    scale = DOCS / "SCALE.md"
    scale.write_text(with_formats(scale.read_text("utf-8"), formats_section(part)), "utf-8")


def markdown(parts: dict[str, Part]) -> str:
    """The page."""
    appends = parts["appends"]
    append, sustained = appends.measured[:2]
    filled = {name: "\n".join(part.lines()) for name, part in parts.items()}
    filled |= {f"{name}_load": part.conditions for name, part in parts.items()}
    return ABOUT.format(
        **filled,
        cores=os.cpu_count(),
        spark=pyspark.__version__,
        rounds=", ".join(f"{part.rounds} of {name}" for name, part in parts.items()),
        rows=appends.rows,
        reads_rows=parts["reads"].rows,
        events=append.events,
        micro_batches=sustained.events // append.events,
        wide_events=parts["wide"].measured[0].events,
    )


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
    """The last section of a page if it has this heading, else ""."""
    found = re.search(rf"^{re.escape(heading)}$.*\Z", page, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def plot(parts: dict[str, Part], path: Path) -> None:
    """One bar a line: its median ratio, least and greatest, and the aim."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "lakebound"
    from matplotlib import pyplot

    rows = [one for part in parts.values() for one in part.measured if one.aim is not None][::-1]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.2))
    for place, one in enumerate(rows):
        low, mid, high = one.ratios()
        colour = "#2a9d8f" if one.faster else "#2a6f97"
        axes.barh(place, mid, color=colour, xerr=[[mid - low], [high - mid]], ecolor="#999999", height=0.6)
        axes.annotate(f" {mid:.2f}×", (high, place), va="center", fontsize=8)
        axes.plot([one.aim, one.aim], [place - 0.4, place + 0.4], color="#e07a5f", linewidth=2)
    axes.set_yticks(range(len(rows)), [f"{one.what} ({one.case})" for one in rows], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    told = "blue: share of the other side's time, less is better; green: times as fast, more is better; red: aim"
    axes.set_xlabel(told, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
