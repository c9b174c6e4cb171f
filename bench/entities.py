"""One table against ten of the same files: what a micro-batch costs when the rules of its keys split it.

python -m bench.entities --write            into docs/ENTITIES.md, with its picture (ten minutes)
python -m bench.entities --page             the page's figures from what was kept, without a run
python -m bench.entities --events 100000    larger micro-batches

Both sides take turns within one run, on the same files: the whole work of a micro-batch, with its rows of `_metrics`.
The ten tables together hold what the one table holds. What their MERGEs or appends take is measured apart as well,
since ten tables are ten commits whatever else is saved: the aim is about the rest, beside the commits.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest.mock import patch

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from bench.figures import DOCS, keep, kept, meaning_of, put
from bench.merge import COLUMNS, MergeCase, bench_session, conditions, fill, write_events
from bench.pictures import Bar, draw
from lakebound_spark.platform.metrics import MicroBatch, prepare_metrics
from lakebound_spark.platform.tables import read_table
from lakebound_spark.reading.source import BYTES_PER_MERGE, DataFile
from lakebound_spark.silver import changes_table, micro_batch
from lakebound_spark.silver.changes_table import open_changes
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, parse_any_config
from lakebound_spark.silver.due_merge import AT_ONCE, MergeSchedule
from lakebound_spark.silver.entity_job import EntityJob, EntityMicroBatch
from lakebound_spark.silver.merge_job import MergeJob
from lakebound_spark.silver.silver_table import prepare_target

PAGE: Final = DOCS / "ENTITIES.md"
PICTURE: Final = DOCS / "bench-entities.svg"
KEPT: Final = DOCS / "bench-entities.json"
AIM: Final = 1.5
WARM_UPS: Final = 4
"""Rounds before those that count: in the first ones Java compiles more than in all that a job of days does later."""
TABLES: Final = 10
ROWS: Final = 100_000
"""Of all tables together: the sixth of the ten digits of a key is then that of its table."""
COMMITS: Final = ((micro_batch, "merge_rows"), (changes_table, "append_rows"))
"""What brings the rows of a micro-batch into a table, with its commit."""
WAYS: Final = {"appended": MergeSchedule(3600), "merged": AT_ONCE}
HEAD: Final = (
    "| a micro-batch is | seconds, 1 table | 10 tables | processor seconds, 1 table | 10 tables "
    "| 10 / 1, processor | aim |\n"
    "|---|---:|---:|---:|---:|---:|---|"
)


@dataclass(slots=True)
class Spent:
    """Seconds of each round: by the clock and of the processor, in all and within MERGEs or appends."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    commit_clock: list[float] = field(default_factory=list)
    commit_processor: list[float] = field(default_factory=list)

    def whole(self) -> tuple[float, float]:
        """The medians of the rounds: by the clock, of the processor."""
        return median(self.clock), median(self.processor)

    def commits(self) -> tuple[float, float]:
        """The same of the MERGEs or appends within the rounds."""
        return median(self.commit_clock), median(self.commit_processor)

    def beside(self) -> tuple[float, float]:
        """The same of the rounds without these."""
        pairs = (self.clock, self.commit_clock), (self.processor, self.commit_processor)
        clock, processor = (
            median(a - b for a, b in zip(all_of_it, commits, strict=True)) for all_of_it, commits in pairs
        )
        return clock, processor


def lines(name: str, one: Spent, ten: Spent) -> str:
    """The rows of one way: in all, within the commits, and beside them, which is what the aim is about."""
    commits = "the appends" if name == "appended" else "the MERGEs"
    return "\n".join(
        [
            row(f"{name}, in all", one.whole(), ten.whole(), ""),
            row(commits, one.commits(), ten.commits(), ""),
            row(f"{name}, beside {commits}", one.beside(), ten.beside(), f"≤ {AIM:g}"),
        ]
    )


def row(name: str, one: tuple[float, float], ten: tuple[float, float], aim: str) -> str:
    """A row of the table, of seconds by the clock and of the processor."""
    (a, b), (c, d) = one, ten
    missed = " missed" if aim and d / b > AIM else ""
    return f"| {name} | {a:.1f} | {c:.1f} | {b:.1f} | {d:.1f} | **{d / b:.2f}** | {aim}{missed} |"


@dataclass(slots=True)
class Way:
    """What was measured of one way of bringing rows in, and in what conditions: a sentence."""

    conditions: str
    one: Spent
    ten: Spent


TITLES: Final = {"appended": "Appended (`--merge-every`)", "merged": "Merged at once"}


def write_page(ways: Mapping[str, Way]) -> None:
    """The figures of docs/ENTITIES.md and its picture, of the ways that were measured at some time."""
    times = sorted(way.ten.whole()[1] / way.one.whole()[1] for way in ways.values())
    span = " to ".join(f"{each:.1f}" for each in dict.fromkeys((times[0], times[-1])))
    about = f"Ten tables from the same files take {span} times the processor seconds of one"
    said = [
        f"{TITLES[name]}, a micro-batch takes {way.one.whole()[1]:.1f} processor seconds with one table and"
        f" {way.ten.whole()[1]:.1f} with ten: a further table adds"
        f" {(way.ten.whole()[1] - way.one.whole()[1]) / (TABLES - 1):.1f}."
        for name, way in ways.items()
    ]
    table = [HEAD, *(lines(name, way.one, way.ten) for name, way in ways.items())]
    measured_on = list(dict.fromkeys(way.conditions for way in ways.values()))
    if len(measured_on) > 1:
        measured_on = [f"- {TITLES[name]}: {way.conditions}" for name, way in ways.items()]
    block = [meaning_of(about, PICTURE.name, said), "", *measured_on, "", *table]
    put(PAGE, {"ten tables": "\n".join(block)})
    bars = [
        Bar(f"{TITLES[name].replace('`', '')}, {tables}", spent.whole()[1], f"{spent.whole()[1]:.0f} s")
        for name, way in ways.items()
        for tables, spent in (("one table", way.one), ("ten tables", way.ten))
    ]
    draw(PICTURE, about, "processor seconds of a micro-batch; shorter is better", bars)


def processor_seconds() -> float:
    """Of this process and of all that it started, so far."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        parents[int(folder.name)] = int(stat[1])
        used[int(folder.name)] = sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family and pid not in family}:
        family |= more
    return sum(used[pid] for pid in family if pid in used)


@contextmanager
def spent(into: Spent, *, counts: bool) -> Iterator[None]:
    """Note what the block takes, and what the MERGEs or appends within it take."""
    commits = [0.0, 0.0]

    def timed(commit: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            began, used = time.perf_counter(), processor_seconds()
            try:
                return commit(*given, **more)
            finally:
                commits[0] += time.perf_counter() - began
                commits[1] += processor_seconds() - used

        return call

    began, used = time.perf_counter(), processor_seconds()
    with ExitStack() as patches:
        for module, name in COMMITS:
            patches.enter_context(patch.object(module, name, timed(vars(module)[name])))
        yield
    took, burnt = time.perf_counter() - began, processor_seconds() - used
    told = f"{took:.1f} s, {burnt:.1f} s of processor, within commits {commits[0]:.1f} and {commits[1]:.1f} s"
    print(told, file=sys.stderr, flush=True)
    if counts:
        into.clock.append(took)
        into.processor.append(burnt)
        into.commit_clock.append(commits[0])
        into.commit_processor.append(commits[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.entities", description="One table against ten.")
    parser.add_argument("--events", type=int, default=20_000, help="events a micro-batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    parser.add_argument("--only", choices=list(WAYS), help="one way (both)")
    parser.add_argument("--write", action="store_true", help="write the figures of docs/ENTITIES.md and their picture")
    parser.add_argument("--page", action="store_true", help="measure nothing: write them from what was kept")
    given = parser.parse_args(arguments)
    if given.page:
        write_page(kept(KEPT, dict[str, Way]))
        return
    table, ways = [HEAD], kept(KEPT, dict[str, Way])
    with bench_session() as (spark, folder):
        for name in [given.only] if given.only else WAYS:
            one, ten = measured(
                spark, folder / name, name, MergeCase(len(COLUMNS), ROWS, given.events, "uniform"), given.rounds
            )
            table.append(lines(name, one, ten))
            about = f"{given.events:,} events, {len(COLUMNS)} columns a table. {conditions(given.rounds, WARM_UPS)}"
            ways[name] = Way(about, one, ten)
            shutil.rmtree(folder / name)
    print("\n".join(table))
    if given.write:
        keep(KEPT, ways)
        write_page(ways)


def measured(spark: SparkSession, folder: Path, name: str, case: MergeCase, rounds: int) -> tuple[Spent, Spent]:
    """What one table and ten take, in turns; the first rounds warm up."""
    folder.mkdir()
    one, ten = jobs(folder, WAYS[name])
    prepared(spark, one, ten)
    sides = (one.work("bench"), Spent()), (ten.work("bench"), Spent())
    for number in range(WARM_UPS + rounds):
        batch = batch_of(spark, write_events(folder, case, number))
        for work, took in sides[:: 1 if number % 2 else -1]:
            with spent(took, counts=number >= WARM_UPS):
                work(batch, number)
    check_equal(spark, one, ten)
    return sides[0][1], sides[1][1]


def jobs(folder: Path, schedule: MergeSchedule) -> tuple[MergeJob, EntityJob]:
    """The job of one table, and that of ten with a tenth of the keys each; the last also takes new keys."""

    def config(document: dict[str, Any]) -> Any:
        return parse_any_config({"source_table": "cars", **document})

    def job(target: str, config: MergeConfig) -> MergeJob:
        where = str(folder / target)
        return MergeJob("", f"{where}-checkpoint", where, config, {}, "files", 1, BYTES_PER_MERGE, "", schedule)

    rules = [{"id": f"00000{place}*"} for place in range(TABLES - 1)]
    tables = {
        str(folder / f"t{place}"): {"where": rule, "columns": COLUMNS} for place, rule in enumerate([*rules, "rest"])
    }
    entities: EntitiesConfig = config({"tables": tables})
    one: MergeConfig = config({"columns": COLUMNS})
    return job("one", one), EntityJob.of(job("ten", one), entities)


def prepared(spark: SparkSession, one: MergeJob, ten: EntityJob) -> None:
    """Fill the one table, and split it into the ten, which are copies of it as long as it is empty."""
    prepare_target(spark, one.target, one.config)
    suffixes = [""]
    prepare_metrics(spark, one.target, MicroBatch)
    if one.schedule.appends:
        open_changes(spark, one.target, one.config.columns)
        suffixes.append("_changes")
    for table in ten.tables():
        for suffix in suffixes:
            shutil.copytree(one.target + suffix, table.target + suffix)
    prepare_metrics(spark, ten.whole.target, EntityMicroBatch)
    fill(spark, one.target, len(COLUMNS), ROWS)
    filled, parts = read_table(spark, one.target), ten.tables()
    for place, table in enumerate(parts):
        digit = F.substring("_key", len("id=S:00000") + 1, 1).cast("int")
        mine = digit >= place if place == len(parts) - 1 else digit == place
        filled.where(mine).write.format("delta").mode("append").save(table.target)


def batch_of(spark: SparkSession, file: DataFile) -> DataFrame:
    """A micro-batch of one file's name, as the stream gives it."""
    row = (file.path, file.url, file.length, file.modified_ms)
    return spark.createDataFrame([row], "path STRING, url STRING, length LONG, modified_ms LONG")


def check_equal(spark: SparkSession, one: MergeJob, ten: EntityJob) -> None:
    """The ten tables together hold what the one holds: a side that did less would look faster than it is."""
    suffix, names = ("_changes", ("key", "version")) if one.schedule.appends else ("", ("_key", "_version"))

    def rows(table: MergeJob) -> DataFrame:
        return read_table(spark, f"{table.target}{suffix}").select(*names)

    def digest(found: DataFrame) -> object:
        return found.agg(F.count("*"), F.sum(F.xxhash64(*names).cast("decimal(38,0)"))).head()

    if digest(rows(one)) != digest(reduce(DataFrame.unionAll, map(rows, ten.tables()))):
        raise AssertionError("one table and ten do not hold the same rows")


if __name__ == "__main__":
    main()
