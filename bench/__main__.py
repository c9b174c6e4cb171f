"""`make bench`: measure every stage against the obvious implementation, print one table, write it with a plot to docs.

python -m bench            the whole run, into docs/BENCH.md, docs/SCALE.md and docs/bench.svg
python -m bench --quick    two rounds, printed only
python -m bench --from FILE    the pages and the picture once more from the results that a run kept (docs/bench.json)
python -m bench --only backfill    the stages whose name holds that word, printed only
python -m bench.merge      the merge on real Delta, against the engine's bare MERGE; --write puts it into docs
python -m bench.live       appends, merges and reads of `_live`; --write puts them into docs
python -m bench.entities   one table against ten of the same files; --write puts it into docs
python -m bench.history    the history on real Delta, while bronze grows; --write puts it into docs
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import artefacts, billing, report, stages
from bench.figures import DOCS, keep, kept
from bench.live_page import FORMATS_HEADING, section_of, with_formats
from demo.local_stack import LocalStack
from lakebound.adapters.sqs import SqsQueue

CORPORA: Final = ("flat", "nested", "large")


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios against the obvious implementation.")
    parser.add_argument("--quick", action="store_true", help="two rounds of everything, printed only")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where BENCH.md and bench.svg go")
    parser.add_argument("--only", metavar="WORD", default="", help="stages with this word in their name, printed only")
    parser.add_argument("--from", dest="kept", metavar="FILE", type=Path, help="write the pages of a run's results")
    parser.add_argument("--keep", metavar="FILE", type=Path, help="where the results go (bench.json beside BENCH.md)")
    arguments = parser.parse_args()
    if arguments.kept:
        if not arguments.kept.is_file():
            parser.error(f"there is no file {arguments.kept}: a run keeps its results in bench.json beside BENCH.md")
        try:
            results = kept(arguments.kept, report.Results)
        except msgspec.ValidationError as error:
            # A run of an older bench kept no figures of pages that were asked for ahead.
            parser.error(f"{arguments.kept} is of another bench ({error}): measure again with python -m bench")
        write(results, arguments.docs)
        return
    rounds = 2 if arguments.quick else 15
    heavy = 2 if arguments.quick else 7
    results = report.Results()
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting")

        def doing(what: str) -> None:
            progress.update(task, description=what)
            if not console.is_terminal:
                console.print(what)

        def wanted(name: str) -> bool:
            if arguments.only not in name:
                return False
            doing(name)
            return True

        for corpus in CORPORA:
            if wanted(f"stream_ingest, {corpus}"):
                results.ingests[corpus] = stages.ingest(corpus, rounds)
        for corpus in CORPORA:
            if not wanted(f"compression and flusher, {corpus}"):
                continue
            measured, larger = stages.compression(corpus, heavy)
            results.measured.append(measured)
            results.larger[corpus] = larger
            deliveries = {"flat": 10, "nested": 8, "large": 2}[corpus]
            for file_format in ("ndjson.gz", "avro", "parquet"):
                results.measured.append(stages.flusher(corpus, file_format, heavy, deliveries))
            results.bytes[corpus] = dict(stages.bytes_per_record(corpus))
            results.item_bytes[corpus] = stages.item_bytes(corpus)
        for corpus in CORPORA:
            if wanted(f"backfill, {corpus}"):
                results.measured.append(stages.page_decode(corpus, rounds))
                results.measured.append(stages.export_conversion(corpus, rounds))
                results.segments[corpus] = stages.segment(corpus, heavy)
        if wanted("billed SQS requests"):
            with LocalStack() as stack:
                sqs = stack.client("sqs")
                for corpus in CORPORA:
                    queue_url = sqs.create_queue(QueueName=f"bench-{corpus}")["QueueUrl"]
                    ours = billing.ours(sqs, SqsQueue(queue_url, sqs), corpus, 10)
                    results.billed[corpus] = (billing.baseline(sqs, queue_url, corpus, 1), ours)
        if wanted("artefacts"):
            results.artefacts |= artefacts.built()
        if wanted("cold start"):
            results.measured += stages.cold_start(heavy)
    if arguments.only:
        tables = (report.table, report.segment_table, report.bill_table, report.artefact_table)
        print("\n".join(line for one in tables for line in ["", *one(results)]))
        return
    if place := arguments.keep or (None if arguments.quick else arguments.docs / "bench.json"):
        keep(place, results)
    print(report.markdown(results))
    if not arguments.quick:
        write(results, arguments.docs)


def write(results: report.Results, docs: Path) -> None:
    """The pages and the picture in the folder ``docs``."""
    (docs / "BENCH.md").write_text(report.markdown(results), "utf-8")
    scale = docs / "SCALE.md"
    formats = section_of(scale.read_text("utf-8"), FORMATS_HEADING) if scale.exists() else ""
    scale.write_text(with_formats(report.scale(results), formats), "utf-8")
    report.plot(results, docs / "bench.svg")
    print(f"written to BENCH.md, SCALE.md and bench.svg in {docs}")


if __name__ == "__main__":
    main()
