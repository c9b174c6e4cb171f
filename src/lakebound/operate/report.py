"""Writes the report: one self-contained HTML page about a pipeline. It has no script and no item's value.

Charts have axes with units, follow dark mode, and have their figures in words beside them. The page says what was not
measured, and never shows it as 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from math import ceil, log2
from typing import Any, Final

import orjson

from lakebound.counts import count_text
from lakebound.operate.charts import bars, counts_over_time, seconds_over_time
from lakebound.operate.cost import Bill, amount, dollars, headline
from lakebound.operate.sample import Selection
from lakebound.operate.status import BUFFER, DEAD, FAILURES, GAPS, QUARANTINE, PipelineFacts, Status
from lakebound.ports import ObjectStore
from lakebound.times import utc
from lakebound.transport.object_keys import DataKey

_MAX_MANIFEST_BYTES: Final = 256 * 1024 * 1024
_KINDS: Final = ("missing", "ghost", "stale", "different")


@dataclass(frozen=True, slots=True)
class FileFigures:
    """A batch file: when it was written, how many records and bytes, and how long before that `stream_ingest` (or the
    backfill) took its newest record."""

    written_ms: int
    records: int
    size: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class SilverMinute:
    """What the merge job published in a stretch of time: seconds behind the files, and rows of `_changes` that wait."""

    at_ms: int
    lag_s: float
    rows: float


EVERY: Final = str(Selection())


@dataclass(frozen=True, slots=True)
class VerifyFigures:
    """What `verify` found: keys compared, and how many of each kind differ."""

    keys: int
    missing: int = 0
    ghost: int = 0
    stale: int = 0
    different: int = 0
    left_out: int = 0
    compared: str = EVERY
    """What was selected, as its document tells it; a share or a moment's changes are less than every key."""

    @property
    def is_equal(self) -> bool:
        return not (self.missing or self.ghost or self.stale or self.different)


@dataclass(frozen=True, slots=True)
class BackfillFigures:
    """The last backfill, and the records of each of its parts."""

    run: str
    mode: str
    records: int
    seconds: float
    parts: tuple[int, ...]


def recent_files(store: ObjectStore, prefix: str, since_ms: int) -> tuple[FileFigures, ...]:
    """The batch files that were written from a moment on, the newest last. Raises StoreUnavailable."""
    files = []
    for one in store.list(f"{prefix}/"):
        data = DataKey.parse(prefix, one.key)
        if data is not None and one.modified_ms >= since_ms:
            files.append(FileFigures(one.modified_ms, data.count, one.size, one.modified_ms - data.time_ms))
    return tuple(sorted(files, key=lambda file: file.written_ms))


def last_backfill(store: ObjectStore, table: str) -> BackfillFigures | None:
    """By the newest manifest; None where no backfill has finished. Raises StoreUnavailable."""
    manifests = [one for one in store.list(f"_lakebound/{table}/manifests/") if one.key.endswith(".json")]
    if not manifests:
        return None
    newest = max(manifests, key=lambda one: one.modified_ms)
    manifest: dict[str, Any] = orjson.loads(store.get(newest.key, _MAX_MANIFEST_BYTES))
    seconds = (int(manifest.get("finished_ms", 0)) - int(manifest.get("started_ms", 0))) / 1000
    parts = tuple(int(file[1]) for file in manifest.get("files") or ())
    run, mode = str(manifest.get("run", "")), str(manifest.get("mode", ""))
    return BackfillFigures(run, mode, int(manifest.get("records", 0)), seconds, parts)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the page shows. What is None or empty is shown as not known, never left out.

    `files` are those of the last `hours`.
    """

    status: Status
    files: tuple[FileFigures, ...] = ()
    verified: VerifyFigures | None = None
    backfill: BackfillFigures | None = None
    bill: Bill | None = None
    latency_s: tuple[float, float] | None = None
    """p50 and p99 from a change to silver, where it was measured."""
    notes: tuple[str, ...] = field(default=())
    hours: int = 24
    silver: tuple[SilverMinute, ...] = ()
    """Of the last `hours`, the newest last; empty where no merge job publishes."""


def page(figures: Figures) -> str:
    """The HTML."""
    facts = figures.status.facts
    sections = [
        _head(figures),
        _picture(figures),
        _section("Findings", _findings(figures), wide=True),
        _section("Freshness", _freshness(figures)),
        _section("Silver", _silver(figures)),
        _section("File sizes", _sizes(figures)),
        _section("Verification", _verification(figures.verified)),
        _section("Last backfill", _backfill(figures.backfill)),
        _section("Gaps and dead letters", _gaps(figures)),
        _section("Cost of a month", _cost(figures.bill)),
    ]
    title = escape(f"Lakebound: {facts.table}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(sections)}</main>"
        f"<footer>Written {_time(facts.now_ms)} by lakebound report. {escape(' '.join(figures.notes))}</footer>"
        "</body></html>\n"
    )


def _head(figures: Figures) -> str:
    status = figures.status
    since = f" since {_time(status.since_ms)} · " if status.since_ms is not None else ""
    return (
        f'<header><p class="over">DynamoDB to the lake</p><h1>{escape(status.facts.table)}</h1>'
        f'<p><strong class="state {status.state.lower()}">{status.state}</strong>'
        f"<span>{since}stack {escape(status.facts.stack)}</span></p></header>"
    )


def _picture(figures: Figures) -> str:
    facts = figures.status.facts
    records = sum(one.records for one in figures.files)
    behind = "lag not known"
    if facts.iterator_age_ms is not None:
        behind = f"{facts.iterator_age_ms / 1000:,.0f} s behind the table"
    side = _count(facts, QUARANTINE, facts.quarantined, "records in quarantine")
    side += f", {_count(facts, FAILURES, facts.failure_objects, 'failure objects')}"
    silver = "not compared"
    if figures.verified is not None:
        silver = f"{count_text(figures.verified.keys, 'key')}, {'equal' if figures.verified.is_equal else 'not equal'}"
    written = f"in the last {count_text(figures.hours, 'hour')}"
    if figures.files:
        written = f"{count_text(records, 'record')}, {_bytes(sum(f.size for f in figures.files))} {written}"
    stages = [
        ("Table", escape(facts.table), "source"),
        ("Stream", behind, side),
        (
            "Buffer queue",
            _count(facts, BUFFER, facts.buffered, "message"),
            _count(facts, DEAD, facts.dead, "dead letter"),
        ),
        ("Batch files", count_text(len(figures.files), "file"), written),
        ("Silver", silver, _latency(figures)),
    ]
    boxes = [
        f'<li><b>{name}</b><span class="figure">{figure}</span><span class="small">{more}</span></li>'
        for name, figure, more in stages
    ]
    return f'<ol class="flow" aria-label="The pipeline">{"".join(boxes)}</ol>'


def _count(facts: PipelineFacts, part: str, number: int, noun: str) -> str:
    return count_text(number, noun) if facts.is_known(part) else f"{noun}s not known"


def _latency(figures: Figures) -> str:
    if figures.latency_s is None:
        return "time from a change to silver: not measured"
    middle, late = figures.latency_s
    return f"from a change to silver: half within {middle:.1f} s (p50), 99 of 100 within {late:.1f} s (p99)"


def _findings(figures: Figures) -> str:
    if not figures.status.findings:
        return "<p>Nothing to do.</p>"
    rows = [
        f'<li class="{one.level.lower()}"><b>{one.level}</b> {escape(one.what)}'
        + (f"<br><code>{escape(one.command)}</code>" if one.command else "")
        + f'<br><span class="small">{escape(one.page)}</span></li>'
        for one in figures.status.findings
    ]
    return f'<ul class="findings">{"".join(rows)}</ul>'


def _freshness(figures: Figures) -> str:
    if not figures.files:
        return f"<p>Not measured: no batch file was written in the last {count_text(figures.hours, 'hour')}.</p>"
    files = sorted(figures.files, key=lambda one: one.written_ms)
    lags = [max(0.0, one.lag_ms / 1000) for one in files]
    newest = (figures.status.facts.now_ms - files[-1].written_ms) / 1000
    ordered = sorted(lags)
    middle, late = ordered[(len(ordered) - 1) // 2], ordered[ceil(len(ordered) * 0.99) - 1]
    words = (
        f"The newest batch file was written {newest:,.0f} s ago. From when stream_ingest (or the backfill) took a "
        f"file's newest record to the file: half within {middle:,.1f} s (p50), 99 of 100 within {late:,.1f} s (p99), "
        f"the greatest {ordered[-1]:,.1f} s."
    )
    points = [(one.written_ms, lag) for one, lag in zip(files, lags, strict=True)]
    chart = seconds_over_time(points, "From ingest to the file", "when the file was written")
    return f"<p>{words}</p>{chart}{_span(files[0].written_ms, files[-1].written_ms)}"


def _silver(figures: Figures) -> str:
    if not figures.silver:
        return (
            f"<p>Not measured: no merge job has published in the last {count_text(figures.hours, 'hour')} "
            "(<code>merge_changes --publish</code>).</p>"
        )
    points = sorted(figures.silver, key=lambda one: one.at_ms)
    late, newest = max(points, key=lambda one: one.lag_s), points[-1]
    words = (
        f"How old a batch file was when it became visible in silver: {newest.lag_s:,.0f} s as published last, the "
        f"greatest {late.lag_s:,.0f} s. Rows of _changes that wait for a merge: {newest.rows:,.0f}."
    )
    lags = seconds_over_time([(one.at_ms, one.lag_s) for one in points], "From the file to silver", "when published")
    rows = ""
    if any(one.rows for one in points):
        waits = [(one.at_ms, one.rows) for one in points]
        rows = counts_over_time(waits, "Waits for a merge", "when published", "rows")
    return f"<p>{words}</p>{lags}{rows}{_span(points[0].at_ms, newest.at_ms)}"


def _sizes(figures: Figures) -> str:
    if not figures.files:
        return f"<p>Not measured: no batch file was written in the last {count_text(figures.hours, 'hour')}.</p>"
    buckets: dict[int, int] = {}
    for one in figures.files:
        bucket = max(0, int(log2(max(1, one.size))) // 2 * 2)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    low, high = min(buckets), max(buckets)
    sizes = [
        (f"{_bytes(2**size)} to {_bytes(2 ** (size + 2))}", buckets.get(size, 0)) for size in range(low, high + 1, 2)
    ]
    mean = sum(one.size for one in figures.files) / len(figures.files)
    words = (
        f"{count_text(len(figures.files), 'file')} of the last {count_text(figures.hours, 'hour')}, "
        f"{_bytes(mean)} on average, as they lie."
    )
    return f"<p>{words}</p>{bars(sizes, 'size of a file', 'files')}"


def _verification(verified: VerifyFigures | None) -> str:
    if verified is None:
        return "<p>Not run. <code>lakebound verify</code> compares source and lake.</p>"
    word = "equal" if verified.is_equal else "not equal"
    rows = "".join(f'<tr><th>{kind}<td class="number">{getattr(verified, kind):,}' for kind in (*_KINDS, "left_out"))
    rows = rows.replace("left_out", "left out")
    level = "ok" if verified.is_equal else "gap"
    only = "" if verified.compared == EVERY else f", only: {escape(verified.compared)}"
    words = f'<strong class="state {level}">{word}</strong> {count_text(verified.keys, "key")} compared{only}.'
    return f"<p>{words}</p><table>{rows}</table>"


def _backfill(backfill: BackfillFigures | None) -> str:
    if backfill is None:
        return "<p>None was found: no run has ended with a manifest.</p>"
    shown = backfill.parts[:24]
    some = (
        f" The first {len(shown)} of {count_text(len(backfill.parts), 'file')}:"
        if len(shown) < len(backfill.parts)
        else ""
    )
    words = (
        f"Run {escape(backfill.run)} ({escape(backfill.mode)}): {count_text(backfill.records, 'record')} "
        f"in {count_text(len(backfill.parts), 'file')}, {backfill.seconds:,.0f}&nbsp;s from its start to "
        f"its manifest.{some}"
    )
    return f"<p>{words}</p>{bars([(f'file {n}', count) for n, count in enumerate(shown, 1)], 'file', 'records')}"


def _gaps(figures: Figures) -> str:
    facts = figures.status.facts
    rows = [
        f"<tr><th>{escape(gap.cause).replace('_', '_<wbr>')}<td>{_time(gap.from_ms)}"
        f"<td>{'still open' if gap.to_ms is None else _time(gap.to_ms)}"
        for gap in facts.gaps
    ]
    none = "<p>No gap that is not healed.</p>" if facts.is_known(GAPS) else "<p>Gaps: not known.</p>"
    gaps = f"<table><tr><th>gap<th>from<th>to{''.join(rows)}</table>" if rows else none
    counts = [
        ("messages in the dead-letter queue", DEAD, facts.dead),
        ("failure objects that nobody redrove", FAILURES, facts.failure_objects),
        ("records in quarantine", QUARANTINE, facts.quarantined),
    ]
    table = "".join(
        f'<tr><th>{name}<td class="number">{f"{number:,}" if facts.is_known(part) else "not known"}'
        for name, part, number in counts
    )
    return f"{gaps}<table>{table}</table>"


def _cost(bill: Bill | None) -> str:
    if bill is None:
        return "<p>Not measured.</p>"
    rows = [
        f'<tr><th>{escape(line.part)}<td class="number small">{escape(amount(line))}'
        f'<td class="number">{escape(dollars(line.dollars))}'
        if line.measured
        else f'<tr><th>{escape(line.part)}<td class="number small" colspan="2">not measured'
        for line in bill.lines
    ]
    words = headline(bill)
    return f"<p>{escape(words[0].upper() + words[1:])}.</p><table>{''.join(rows)}</table>"


def _section(title: str, body: str, *, wide: bool = False) -> str:
    return f"<section{' class=wide' if wide else ''}><h2>{title}</h2>{body}</section>"


def _span(start_ms: int, end_ms: int) -> str:
    start, end = (f"{utc(ms):%b %-d, %H:%M}" for ms in (start_ms, end_ms))
    return f'<p class="small between"><span>{start}</span><span>{end} UTC</span></p>'


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def _time(ms: int) -> str:
    return f"{utc(ms):%Y-%m-%d %H:%M:%S} UTC"


_STYLE: Final = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5b6675;--edge:#dde2e9;--line:#2563c9;--ok:#12743f;--warn:#8a5300;
--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#11151b;--card:#1a2029;--ink:#e8ecf2;--soft:#9ba7b6;--edge:#2d3644;
--line:#7db0ff;--ok:#5fd08f;--warn:#f0b557;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:68rem;margin:auto;padding:1.25rem;display:grid;gap:1rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr))}
header,.flow,.wide{grid-column:1/-1}
h1{margin:0;font-size:2rem;overflow-wrap:anywhere}
h2{margin:0 0 .5rem;font-size:1.05rem}
p{margin:.25rem 0 .5rem}
.over,.small,footer{color:var(--soft);font-size:.85rem}
.over{margin:0}
section,.flow li{background:var(--card);border:1px solid var(--edge);border-radius:.6rem;padding:1rem;min-width:0}
.state{border:2px solid;border-radius:.4rem;padding:.05rem .5rem;margin-right:.5rem}
.ok{color:var(--ok)}
.lagging,.unknown{color:var(--warn)}
.gap{color:var(--bad)}
.flow{list-style:none;margin:0;padding:0;display:flex;gap:1.5rem}
.flow li{flex:1 1 0;position:relative;display:flex;flex-direction:column}
.flow li+li:before{content:"→";position:absolute;left:-1.3rem;top:calc(50% - .8rem);color:var(--soft)}
.figure{font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}
polyline{fill:none;stroke:var(--line);stroke-width:1.5}
circle{fill:var(--line)}
.axis{stroke:var(--edge)}
text{fill:var(--soft);font-size:14px}
.end{text-anchor:end}
.mid{text-anchor:middle}
.bars,.findings{list-style:none;margin:0;padding:0}
.bars li{display:grid;grid-template-columns:9rem 1fr 4rem;gap:.5rem;align-items:center;font-size:.9rem}
.bars i{height:.8rem;border-radius:.2rem;
background:linear-gradient(var(--line),var(--line)) left/var(--share) 100% no-repeat var(--bg)}
.bars b{text-align:right}
table{width:100%;border-collapse:collapse;font-size:.9rem}
th{text-align:left;font-weight:500}
th,td{padding:.25rem 0 .25rem .9rem;border-bottom:1px solid var(--edge);vertical-align:top}
th:first-child{padding-left:0;overflow-wrap:anywhere}
.number{text-align:right}
.findings li{border-left:3px solid;padding:.1rem 0 .1rem .7rem;margin-bottom:.6rem}
.findings li.note{color:inherit;border-color:var(--soft)}
code{font-size:.85rem;overflow-wrap:anywhere}
.between{display:flex;justify-content:space-between;gap:1rem}
footer{text-align:center;padding:1rem}
@media(max-width:46rem){.flow{flex-direction:column}
.flow li+li:before{content:"↓";left:50%;top:-1.45rem}}
"""
