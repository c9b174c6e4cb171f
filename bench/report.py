"""The page of a run: its figures, what they mean for a person, its costs and its picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from statistics import median
from typing import Final

from bench.artefacts import Size
from bench.billing import MESSAGE_BYTES, Bill
from bench.pictures import Bar, draw
from bench.stages import PAGES, SEGMENT_BYTES, Ingested, Measured, Segment
from lakebound import prices

SEGMENT: Final = "one segment of a backfill"
SEGMENT_AIM: Final = 0.1
"""Of DynamoDB's time for a segment, at most."""

LAMBDA_PER_GB_SECOND: Final = prices.LAMBDA_GB_SECOND[prices.ARCHITECTURE]
INGEST_GB: Final = 0.5
FLUSHER_GB: Final = 1.0
FEWER_REQUESTS: Final = 25
FILE_BYTES: Final = 5_000_000
"""A small file of a table that is not busy; larger ones need fewer puts."""


VCPU: Final = 0.29
FLIGHT_SECONDS: Final = 45
"""QueueWindowSeconds and MaxSeconds: how long a message is out of sight before its file is written."""

FLUSHER_BYTES_PER_SECOND: Final = 20e6

DOLLAR_AIMS: Final = {"flat": 0.005, "nested": 0.010}
"""Dollars of a million changes, at most."""
DOLLARS: Final = "dollars of a million changes"
WHY: Final[dict[tuple[str, str], str]] = {
    ("stream_ingest, whole invocation", "large"): (
        "a record of 194 kB takes 0.6 ms to read from the event, 0.4 to write as a line, 0.6 to compress and 0.1 for"
        " base64, each once, by a library in C. The baseline compresses nothing, and pays for that with three times the"
        " SQS requests. isal's level 0 would save a tenth of the compression."
    ),
    ("backfill, a page to lines", "flat"): (
        "the aim is older than those of the other rows; DynamoDB sends a segment's pages more slowly than this, as the"
        " next table shows."
    ),
    (DOLLARS, "nested"): (
        "400 records are 4.7 units of 64 KiB and are billed as 5. The aim needs 3: members raw in a message attribute,"
        " which SQS does not encrypt, would make 4, and gzip at its level 9 still 5 (ADR 11)."
    ),
}
"""What bounds an aim that was missed, by stage and corpus: written by hand after a run."""

BUSY: Final = 5_000
"""Writes a second of the busy table in the sentences on what a figure means."""
LARGE_TABLE: Final = 100_000_000
"""Items of the table in the sentence on a backfill."""


@dataclass(slots=True)
class Results:
    """Everything that one run measured."""

    ingests: dict[str, Ingested] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    larger: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, dict[str, float]] = field(default_factory=dict)
    item_bytes: dict[str, float] = field(default_factory=dict)
    billed: dict[str, tuple[Bill, Bill]] = field(default_factory=dict)
    """Counted on a live queue: the baseline's bill and ours."""
    segments: dict[str, Segment] = field(default_factory=dict)
    artefacts: dict[str, Size] = field(default_factory=dict)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    machine: str = field(default_factory=platform.machine)
    python: str = field(default_factory=platform.python_version)

    def rows(self) -> Iterator[Measured]:
        """Every line of the table."""
        for one in self.ingests.values():
            yield from (one.wall, one.alone, one.cpu)
        yield from self.measured

    def find(self, stage: str, corpus: str) -> Measured:
        """One line of the table."""
        return next(one for one in self.measured if (one.stage, one.corpus) == (stage, corpus))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a million changes cost, in dollars of each part."""

    sqs: float
    ingest: float
    flusher: float
    puts: float

    @property
    def total(self) -> float:
        """Dollars."""
        return self.sqs + self.ingest + self.flusher + self.puts


def costs(results: Results, corpus: str) -> tuple[Cost, Cost]:
    """The obvious implementation and ours per million changes: counted SQS requests, measured bytes and times."""
    one = results.ingests[corpus]
    million = 1e6 / one.records
    per_record = one.ours_sent.body_bytes / one.records
    base_requests, requests = (bill.per_million for bill in results.billed[corpus])
    flushed = results.find("flusher to ndjson.gz", corpus)
    deliveries_6mb = 1e6 * per_record / 6_000_000
    ours = Cost(
        requests * prices.SQS_REQUEST,
        million * (prices.LAMBDA_REQUEST + median(one.wall.ours) * INGEST_GB * LAMBDA_PER_GB_SECOND),
        deliveries_6mb * prices.LAMBDA_REQUEST + 1e6 / flushed.rate(flushed.ours) * FLUSHER_GB * LAMBDA_PER_GB_SECOND,
        1e6 * results.bytes[corpus]["ndjson.gz"] / FILE_BYTES * prices.S3_PUT,
    )
    base_bytes = one.base_sent.body_bytes / one.records
    base = Cost(
        base_requests * prices.SQS_REQUEST,
        million * (prices.LAMBDA_REQUEST + median(one.wall.base) * INGEST_GB * LAMBDA_PER_GB_SECOND),
        1e6 * base_bytes / 6_000_000 * prices.LAMBDA_REQUEST
        + 1e6 / flushed.rate(flushed.base) * FLUSHER_GB * LAMBDA_PER_GB_SECOND,
        1e6 * results.bytes[corpus]["ndjson.gz"] / FILE_BYTES * prices.S3_PUT,
    )
    return base, ours


def table(results: Results) -> list[str]:
    """The lines of the table of ratios."""
    lines = [
        "| stage | corpus | baseline | ours | ratio min – median – max | aim |",
        "|---|---|---|---|---|---|",
    ]
    for one in results.rows():
        low, mid, high = (f"{ratio:.{1 + one.is_share}f}" for ratio in one.ratios())
        ratios, unit = f"{low} – **{mid}** – {high}", one.unit
        if one.unit == "starts/s":
            sides = f"{median(one.base) * 1000:.0f} ms | {median(one.ours) * 1000:.0f} ms"
        else:
            sides = f"{_rate(one.rate(one.base))} {unit} | {_rate(one.rate(one.ours))} {unit}"
        aim = "–"
        if one.aim:
            told = f"≤ {one.aim:g} of its time" if one.is_share else f"≥ {one.aim:g}×"
            aim = f"{told} {'missed' if one.missed else '✓'}"
        lines.append(f"| {one.stage} | {one.corpus} | {sides} | {ratios} | {aim} |")
    return lines


def segment_table(results: Results) -> list[str]:
    """What a segment of a scan costs, alone and beside the seconds that DynamoDB takes for the same bytes."""
    lines = [
        "| corpus | items/s | MB/s | added, next page asked for when taken | asked for ahead | aim |",
        "|---|---|---|---|---|---|",
    ]
    for corpus, one in results.segments.items():
        speed, late, ahead = one.bytes / median(one.seconds), one.share(one.when_taken), one.share(one.ahead)
        aim = f"≤ {SEGMENT_AIM:.0%} {'✓' if ahead <= SEGMENT_AIM else 'missed'}"
        lines.append(f"| {corpus} | {one.rate:,.0f} | {speed / 1e6:,.0f} | {late:.0%} | {ahead:.0%} | {aim} |")
    return lines


def markdown(results: Results) -> str:
    """docs/BENCH.md."""
    lines = [
        "# Benchmarks",
        "",
        "For engineers who judge the speed of the live path and of the backfill. After it you know how it compares with"
        " the obvious implementation, and what a million changes cost.",
        "",
        f"`make bench` measured this on {results.cores} cores ({results.machine}, Python {results.python})."
        " Both sides take turns within one run. Quote the ratios: absolute figures depend on the machine.",
        "The baseline is in `bench/baseline/`: `TypeDeserializer`, `json.dumps`, one record a message, batches of ten,"
        " gzip level 9, a boto3 `Table.scan`.",
        "`stream_ingest` runs in a process of its own under AWS's `awslambdaric`, on a loopback Runtime API and a"
        " loopback SQS endpoint. Corpora are seeded: `flat` (28 attributes, 19 numbers), `nested` (an order of ten"
        " lines), `large` (100 KB of text); each record has both images.",
        "",
        f"![{TITLE}](bench.svg)",
        "",
        "## What the figures mean",
        "",
        *(f"- {sentence}" for sentence in meaning(results)),
        "",
        "## Every stage",
        "",
        "The ratio says how many times faster ours is.",
        "",
        *table(results),
        *missed_section(results),
    ]
    lines += ["", "## One segment of a backfill", ""]
    lines += [
        f"A scan's segment of {PAGES} pages of 1 MB, from the requests to a loopback DynamoDB to batch files in memory:"
        " how fast one worker is where neither side makes it wait, and what it adds to DynamoDB's own time where that"
        f" sends {SEGMENT_BYTES / 1e6:g} MB a second, or about 15,000 flat items (a figure taken over: the loopback"
        " waits so long before each page). That time is measured by a client that looks at no page. The worker asks for"
        " a page before it reads the one that it has.",
        "",
        *segment_table(results),
    ]
    lines += ["", "## Bytes", ""]
    lines += ["| corpus | item as JSON | line | ndjson.gz | avro | parquet | member against gzip -9 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for corpus, sizes in results.bytes.items():
        each = " | ".join(f"{sizes[name]:,.0f}" for name in ("line", "ndjson.gz", "avro", "parquet"))
        larger = (results.larger[corpus] - 1) * 100
        lines.append(f"| {corpus} | {results.item_bytes[corpus]:,.0f} | {each} | {larger:+.0f} % |")
    lines += [
        "",
        "Bytes of one record with both images, in a line and in batch files.",
        "",
        "## Billed SQS requests of a million changes",
        "",
        "Counted while both sides send to, receive from and delete from a live queue, the local stack's: a call is one"
        " request for each started 64 KiB of its bodies. The baseline sends and reads by tens.",
        "",
        *bill_table(results),
        "",
        "## Cost of a million changes",
        "",
        f"Prices of {prices.REGION} for {prices.ARCHITECTURE}, the template's default, from the bytes and times above;"
        f" {INGEST_GB:g} GB stream_ingest, {FLUSHER_GB:g} GB flusher, files of {FILE_BYTES / 1e6:g} MB. SQS: the"
        f" requests counted above. Lambda: times of this machine ({results.machine}), without the waits of the"
        " flusher's top-up.",
        "",
        "| corpus | | SQS | stream_ingest | flusher | S3 puts | sum | aim |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for corpus in results.ingests:
        base, ours = costs(results, corpus)
        line = results.bytes[corpus]["line"]
        for name, cost in (("baseline", base), ("ours", ours)):
            parts = (cost.sqs, cost.ingest, cost.flusher, cost.puts, cost.total)
            money = " | ".join(f"${dollars:.4f}" for dollars in parts)
            told = f"{corpus}, {line / 1000:.1f} kB a change"
            most = DOLLAR_AIMS.get(corpus) if name == "ours" else None
            aim = "–" if most is None else f"≤ ${most:.3f} {'missed' if cost.total > most else '✓'}"
            lines.append(f"| {told} | {name} | {money} | {aim} |")
    lines += ["", "## Sizes of what is deployed", ""]
    lines += ["Built by `src/Makefile`, as `sam build` does, for the template's default platform.", ""]
    lines += artefact_table(results)
    return "\n".join(lines) + "\n"


def bill_table(results: Results) -> list[str]:
    """Billed SQS requests of a million records, by call."""
    lines = ["| corpus | | sends | receives | deletes | sum | aim |", "|---|---|---|---|---|---|---|"]
    for corpus, (base, ours) in results.billed.items():
        for name, bill in (("baseline", base), ("ours", ours)):
            each = " | ".join(
                f"{calls * 1e6 / bill.records:,.0f}" for calls in (bill.sends, bill.receives, bill.deletes)
            )
            ratio, aim = "", "–"
            if name == "ours":
                fewer = base.per_million / ours.per_million
                ratio = f", {fewer:.1f}× fewer"
                if corpus == "flat":
                    aim = f"≥ {FEWER_REQUESTS}× {'✓' if fewer >= FEWER_REQUESTS else 'missed'}"
            lines.append(f"| {corpus} | {name} | {each} | {bill.per_million:,.0f}{ratio} | {aim} |")
    return lines


def artefact_table(results: Results) -> list[str]:
    """What the layers and functions weigh."""
    lines = ["| what | unpacked | zipped |", "|---|---|---|"]
    for name, size in results.artefacts.items():
        lines.append(f"| {name} | {_megabytes(size.unpacked)} | {_megabytes(size.zipped)} |")
    return lines


def scale(results: Results) -> str:
    """docs/SCALE.md: what each stage needs at three rates, from this run's flat corpus."""
    one, corpus = results.ingests["flat"], "flat"
    per_message = one.ours_sent.body_bytes / one.records
    file_bytes = results.bytes[corpus]["ndjson.gz"]
    cpu = median(one.cpu.ours) / one.records
    flushed = results.find("flusher to ndjson.gz", corpus)
    rows: list[tuple[str, Callable[[float], str], str]] = [
        (
            "stream shards (about 1,000 writes/s each)",
            lambda rate: f"{max(1, rate / 1000):,.0f}",
            "none of ours: the table's partitions decide; 40,000 write units a table is the first quota to raise",
        ),
        (
            "stream_ingest at once",
            lambda rate: f"{max(rate / 1000, rate * cpu / VCPU):,.0f}",
            "one per shard at least; 1,000 concurrent executions an account. `StreamParallelization`,"
            " `StreamIngestMemory`",
        ),
        (
            "– of it computing (0.5 GB is 0.29 vCPU)",
            lambda rate: f"{rate * cpu / VCPU:,.1f}",
            "`StreamIngestMemory`: CPU grows with it",
        ),
        (
            "messages/s",
            lambda rate: f"{rate * per_message / MESSAGE_BYTES:,.1f}",
            "a standard queue has no rate quota. `MessageBytes` up to 1 MiB makes a quarter of them",
        ),
        (
            f"messages in flight ({FLIGHT_SECONDS} s)",
            lambda rate: f"{rate * per_message / MESSAGE_BYTES * FLIGHT_SECONDS:,.0f}",
            "120,000 a queue. `MaxSeconds`, `QueueWindowSeconds`, `MessageBytes`",
        ),
        (
            "flushers at once",
            lambda rate: f"{max(2, rate * per_message / FLUSHER_BYTES_PER_SECOND):,.0f}",
            "`FlusherConcurrency` (2 by default, at most 1,000)",
        ),
        (
            "– of it computing",
            lambda rate: f"{rate / flushed.rate(flushed.ours):,.2f} cores",
            "receiving and putting take longer than computing",
        ),
        (
            "files/s (5 to 64 MB)",
            lambda rate: f"{max(rate * file_bytes / 67_108_864, min(rate * file_bytes / 5e6, 2 / 30)):,.2f}",
            "3,500 puts/s a prefix; never met. `MaxFileBytes`, `MaxSeconds`",
        ),
        ("MB/s into the bucket", lambda rate: f"{rate * file_bytes / 1e6:,.1f}", "–"),
        (
            "dollars a day, SQS + Lambda + puts",
            lambda rate: f"{rate * 86_400 / 1e6 * costs(results, corpus)[1].total:,.2f}",
            "`MessageBytes`: what is saved is mostly SQS",
        ),
    ]
    lines = [
        "# Scale",
        "",
        "For architects of large tables. After it you know what 1,000, 100,000 and 1,000,000 writes a second need, and"
        " which quota of AWS comes first.",
        "",
        "`make bench` computes this page from the figures of [BENCH.md](BENCH.md). It takes the flat corpus: 28"
        f" attributes, both images, {per_message:,.0f} bytes of message and {file_bytes:,.0f} bytes of file for each"
        f" record, {cpu * 1e6:,.0f} µs of CPU in stream_ingest.",
        "",
        "| what is needed | 1,000 writes/s | 100,000 writes/s | 1,000,000 writes/s | first quota; what moves it |",
        "|---|---|---|---|---|",
    ]
    for what, of, moves in rows:
        lines.append(f"| {what} | {of(1e3)} | {of(1e5)} | {of(1e6)} | {moves} |")
    lines += [
        "",
        "Assumed, not measured here: a flusher receives, deletes and puts"
        f" {FLUSHER_BYTES_PER_SECOND / 1e6:g} MB/s of message bodies (ten messages a receive, one request at a time);"
        " Lambda gives one vCPU per 1,769 MB.",
        "",
        "Which quota comes first: at 1,000 writes/s none. At 100,000 the table's own 40,000 write units. At 1,000,000"
        " the 1,000 concurrent executions of the account, since every shard holds one stream_ingest"
        " while it is read; then"
        " the messages in flight, should the flushers fall behind: at the limit a receive comes back"
        " empty though there is"
        " a backlog, and `MessageBytes` of 1 MiB gives four times the room.",
        "",
        "Merging is Spark's: cost follows the Delta files that a micro-batch touches, not the rate alone; it is not"
        " measured here.",
    ]
    return "\n".join(lines) + "\n"


TITLE: Final = "How many times faster and cheaper Lakebound is than the obvious implementation"


def plot(results: Results, path: Path) -> None:
    """The stages that a person notices, and the dollars."""
    bars = [
        _bar(f"From the stream to the queue, {one.wall.corpus} items", one.wall) for one in results.ingests.values()
    ]
    for stage, told in (
        ("cold start of stream_ingest", "Start of stream_ingest"),
        ("flusher to ndjson.gz", "From the queue to a file, flat items"),
        ("backfill, a page to lines", "From a scan to a file's lines, flat items"),
    ):
        bars += [_bar(told, one) for one in results.measured if one.stage == stage and one.corpus in ("flat", "–")]
    for corpus, most in DOLLAR_AIMS.items():
        base, ours = (cost.total for cost in costs(results, corpus))
        told = f"{base / ours:.0f} × (${ours:.4f})"
        bars.append(Bar(f"Dollars of a million changes, {corpus} items", base / ours, told, base / most, ours > most))
    draw(path, TITLE, "times less time or money", bars, powers=True)


def _bar(name: str, one: Measured) -> Bar:
    mid = one.ratios()[1]
    aim = 1 / one.aim if one.is_share else one.aim
    return Bar(name, mid, f"{mid:.{1 + one.is_share}f} ×", aim or None, one.missed)


def meaning(results: Results) -> Iterator[str]:
    """What the figures mean for a person who has a table: computed from this run, for what it measured."""
    if flat := results.ingests.get("flat"):
        base, ours = (BUSY * median(seconds) / flat.records / VCPU for seconds in (flat.cpu.base, flat.cpu.ours))
        yield (
            f"**A busy table.** {BUSY:,} flat writes a second keep {ours:.1f} invocations of stream_ingest computing at"
            f" any moment ({INGEST_GB:g} GB have {VCPU:g} of a processor), where the baseline keeps {base:.1f}. Such a"
            f" table's stream has about {BUSY // 1000} shards, and each takes one invocation at least: so"
            f" {max(BUSY // 1000, ceil(ours))} run at once, the baseline's {max(BUSY // 1000, ceil(base))}."
        )
    if set(DOLLAR_AIMS) <= set(results.billed) and "flat" in results.ingests:
        base_cost, our_cost = (cost.total * BUSY * 86_400 / 1e6 for cost in costs(results, "flat"))
        yield (
            f"**Its cost.** The same table makes {BUSY * 86_400 / 1e6:,.0f} million changes a day:"
            f" ${our_cost:,.2f} of SQS, Lambda and puts, not ${base_cost:,.2f}."
        )
    flushed = [one for one in results.measured if (one.stage, one.corpus) == ("flusher to ndjson.gz", "flat")]
    for one in flushed:
        base, ours = (1e6 / one.rate(seconds) for seconds in (one.base, one.ours))
        size = f" Their files have {results.bytes['flat']['ndjson.gz']:,.0f} MB." if "flat" in results.bytes else ""
        yield (
            f"**The flusher.** A million flat changes take {ours:.1f} s of its computing, not {base:,.0f} s, so what it"
            f" waits for is SQS and S3.{size}"
        )
    if segment := results.segments.get("flat"):
        theirs = LARGE_TABLE * segment.bytes / segment.items / SEGMENT_BYTES / 3600
        yield (
            f"**A backfill.** For {LARGE_TABLE / 1e6:,.0f} million flat items DynamoDB needs {theirs:.1f} hours in one"
            f" segment, at its own {SEGMENT_BYTES / 1e6:g} MB a second; we add {segment.share(segment.ahead):.0%}."
            " n segments take an nth of both."
        )
    for one in results.measured:
        if one.stage == "cold start of stream_ingest":
            base, ours = (median(seconds) * 1000 for seconds in (one.base, one.ours))
            yield (
                f"**A cold start.** The first delivery to a new instance of stream_ingest waits {ours:,.0f} ms"
                f" ({base:,.0f} ms with the baseline) on this machine, beside what AWS takes for the instance."
            )


def missed(results: Results) -> Iterator[tuple[str, str]]:
    """Stage and corpus of each aim that this run missed."""
    yield from ((one.stage, one.corpus) for one in results.rows() if one.missed)
    for corpus, (base, ours) in results.billed.items():
        if corpus == "flat" and base.per_million / ours.per_million < FEWER_REQUESTS:
            yield "billed SQS requests", corpus
        if corpus in results.ingests and costs(results, corpus)[1].total > DOLLAR_AIMS.get(corpus, inf):
            yield DOLLARS, corpus
    yield from ((SEGMENT, corpus) for corpus, one in results.segments.items() if one.share(one.ahead) > SEGMENT_AIM)


def missed_section(results: Results) -> list[str]:
    """What bounds each aim that was missed."""
    found = [
        f"- {f'{stage}, {corpus}'.removesuffix(', –')}: {WHY.get((stage, corpus), UNKNOWN)}"
        for stage, corpus in missed(results)
    ]
    return ["", "## What bounds the missed aims", "", *found] if found else []


UNKNOWN: Final = "what bounds it is not known yet."


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
