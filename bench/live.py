"""Appends to `_changes`, their one merge and reads of `_live`, against bare MERGEs and silver, in one run.

python -m bench.live --write                          the whole run, into docs/BENCH-LIVE.md (half an hour)
python -m bench.live --rows 1000000 --keys uniform    a part of it, printed only

The bare MERGE is that of `bench.merge`: it gets the reduced, typed rows as Parquet. An append reads the batch file,
checks it, reduces and types it, and commits.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import pyspark
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from bench.merge import (
    COLUMNS,
    DOCS,
    MergeCase,
    bare_merge,
    bench_session,
    check_equal,
    config_of,
    fill,
    stage,
    write_events,
)
from lakebound_spark.platform.tables import read_table
from lakebound_spark.silver.changes_table import open_changes
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.pending_merge import merge_pending
from lakebound_spark.silver.silver_table import prepare_target

RUN: Final = "bench000"
ABOUT: Final = """# `_live`: seconds instead of a MERGE

For engineers who choose `--merge-every`. After it you know how soon a change can be read, what a merge of many
micro-batches costs, and what reading `_live` costs over reading silver.

`make bench LIVE=1` wrote this page on {cores} cores (Spark {spark}, Delta on the local disk). Both sides take turns
within one run. Quote the ratios: absolute figures depend on the machine. Every micro-batch has {events:,} events in one
file; one event in ten is of a new key.

{table}

**visible / MERGE**: the time from a file in the bucket to its changes in `_live`, over the time of one bare MERGE of
the same rows. **events/s**: with one merge after {rounds} appends, reading and typing included, over a bare MERGE of
typed rows in each micro-batch.

Reading `_live` while {events:,} events wait, over reading silver:

{reads}
"""


@dataclass(slots=True)
class LiveCase:
    """One table and one way of choosing keys: seconds of each round, of the merge, and of each query."""

    rows: int
    keys: str
    bare: list[float] = field(default_factory=list)
    append: list[float] = field(default_factory=list)
    merge: float = 0.0
    reads: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """A row of the first table."""
        visible = median(ours / bare for ours, bare in zip(self.append, self.bare, strict=True))
        sustained = sum(self.bare) / (sum(self.append) + self.merge)
        return (
            f"| {self.rows:,} | {self.keys} | {median(self.append):.1f} s | {median(self.bare):.1f} s "
            f"| **{visible:.2f}** | {self.merge:.1f} s | **{sustained:.2f}** |"
        )


HEAD: Final = (
    "| rows in the table | keys | append | bare MERGE | visible / MERGE | one merge of all appends | events/s |\n"
    "|---|---|---|---|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description="Appends and reads of _live.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the table (%(default)s)")
    parser.add_argument("--keys", choices=("uniform", "recent"), action="append", help="which keys change (both)")
    parser.add_argument("--events", type=int, default=100_000, help="events a micro-batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=6, help="micro-batches before the merge (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/BENCH-LIVE.md")
    given = parser.parse_args(arguments)
    found = []
    with bench_session() as (spark, folder):
        filled = folder / "filled"
        prepare_target(spark, str(filled), config_of(len(COLUMNS)))
        fill(spark, str(filled), len(COLUMNS), given.rows)
        for keys in given.keys or ("uniform", "recent"):
            case = LiveCase(given.rows, keys)
            measure(spark, filled, folder / keys, case, given.events, given.rounds)
            found.append(case)
            print(case.line(), case.reads, file=sys.stderr, flush=True)
            shutil.rmtree(folder / keys)
    table = "\n".join([HEAD, *(case.line() for case in found)])
    kinds = list(found[0].reads)
    lines = [
        "| query | " + " | ".join(f"{case.keys} keys wait" for case in found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    lines += [f"| {kind} | " + " | ".join(f"{case.reads[kind]:.1f}" for case in found) + " |" for kind in kinds]
    reads = "\n".join(lines)
    print(f"{table}\n\n{reads}")
    if given.write:
        about = ABOUT.format(
            cores=os.cpu_count(),
            spark=pyspark.__version__,
            events=given.events,
            rounds=given.rounds,
            table=table,
            reads=reads,
        )
        (DOCS / "BENCH-LIVE.md").write_text(about, "utf-8")


def measure(spark: SparkSession, filled: Path, folder: Path, case: LiveCase, events: int, rounds: int) -> None:
    """Bare MERGEs and appends in turns on copies of the table ``filled``; the first round warms up."""
    ours, bare = str(folder / "ours"), str(folder / "bare")
    for target in (ours, bare):
        shutil.copytree(filled, target)
    config = config_of(len(COLUMNS))
    open_changes(spark, ours, config.columns)
    to = Destination(ours, config, str(folder / "staging"), append_as=RUN)
    size = MergeCase(len(COLUMNS), case.rows, events, case.keys)
    for number in range(1 + rounds):
        file = write_events(folder, size, number)
        staged = stage(spark, folder / f"rows-{number}", file, config)
        started = time.perf_counter()
        bare_merge(bare, staged, config)
        between = time.perf_counter()
        merge_micro_batch(spark, [file], number, to)
        ended = time.perf_counter()
        if number:
            case.bare.append(between - started)
            case.append.append(ended - between)
        else:
            merge_pending(spark, ours, config.source_table)
        if number == 1:
            case.reads = read_ratios(spark, ours)
    started = time.perf_counter()
    merge_pending(spark, ours, config.source_table)
    case.merge = time.perf_counter() - started
    check_equal(spark, ours, bare)


def read_ratios(spark: SparkSession, target: str) -> dict[str, float]:
    """For each kind of query the time over `_live` against that over silver, the least of three turns."""
    queries: dict[str, Callable[[DataFrame], DataFrame]] = {
        "every row, all columns": lambda rows: rows.agg(F.max(F.xxhash64("*"))),
        "aggregate of two columns": lambda rows: rows.groupBy("state").agg({"odometer": "sum"}),
        "count(*)": lambda rows: rows.groupBy().count(),
        "one key by `_key`": lambda rows: rows.where("_key = 'id=S:0000424242'"),
        "one key by its own column": lambda rows: rows.where("id = '0000424242'"),
    }
    ratios = {}
    for kind, query in queries.items():
        seconds: dict[str, list[float]] = {"live": [], "silver": []}
        for _ in range(3):
            for name, rows in (("live", live_rows(spark, target)), ("silver", read_table(spark, target))):
                started = time.perf_counter()
                query(rows.where("NOT _is_deleted")).collect()
                seconds[name].append(time.perf_counter() - started)
        ratios[kind] = min(seconds["live"]) / min(seconds["silver"])
    return ratios


if __name__ == "__main__":
    main()
