"""Appending first and merging when it pays, against the engine's bare MERGE; and what reading `_live` costs.

python -m bench.live --write                  all parts, into the docs (about twelve minutes on two quiet cores)
python -m bench.live --write --rows 5000000 --minutes 120    the same on a larger table, with every round
python -m bench.live --only reads --rows 1000000    one part of it, on a smaller table, printed only
python -m bench.live --only wide --write      one part again; the page keeps the others as they were measured
python -m bench.live --page                   the page and its picture from what was kept, without a run
python -m bench.live --only formats --write   the table of docs/SCALE.md alone
python -m bench.live --only merges --keys recent    appends and merges with one way of choosing keys, printed only

Both sides of every ratio take turns within one run, on equal tables of the same layout. The bare MERGE is that of
`bench.merge`: it is given the reduced, typed rows as Parquet. Ours begins with the batch file.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from pyspark.sql import DataFrame, SparkSession

from bench import corpora
from bench.figures import keep, kept
from bench.live_page import KEPT, Measured, Part, Side, conditions, write_formats, write_page
from bench.merge import (
    COLUMNS,
    WIDE,
    WIDE_EVENTS,
    WIDE_ROWS,
    MergeCase,
    bare_merge,
    bench_session,
    check_equal,
    config_of,
    fill,
    put_file,
    stage,
    write_events,
)
from lakebound.formats.registry import encoder_of
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.batch_files import FileBuilder
from lakebound_spark.platform.sql_text import literal
from lakebound_spark.platform.tables import hold
from lakebound_spark.reading.latest import latest_per_key
from lakebound_spark.reading.one_pass import read_once
from lakebound_spark.reading.source import DataFile
from lakebound_spark.silver.changes_table import open_changes, pending
from lakebound_spark.silver.merge import merge_rows, row_bounds
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.pending_merge import merge_pending
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.silver.views import create_views

KEYS: Final = ("uniform", "recent")
APPEND_AIM: Final = {"uniform": 0.2, "recent": 0.4}
SUSTAINED_AIM: Final = {"uniform": 2.5, "recent": 1.6}
MERGE_AIM: Final = {"uniform": 0.7, "recent": 1.0}
WIDE_SECONDS: Final = 8.0
FILE_BYTES_PER_RECORD: Final = 243
"""Of the flat corpus as ndjson.gz, by docs/BENCH.md: what makes 64 MB of it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    rows: int = 1_000_000
    events: int = 100_000
    micro_batches: int = 3
    """In a round of appends, which ends with the merge of all of them."""
    rounds: int = 3
    wide_columns: int = WIDE
    wide_rows: int = WIDE_ROWS
    wide_events: int = WIDE_EVENTS
    records: int = 64_000_000 // FILE_BYTES_PER_RECORD
    """In the files of each format."""
    keys: tuple[str, ...] = KEYS
    """How the events of appends and merges choose theirs."""
    seconds: float = math.inf
    """Of the rounds of each loop: after so many none begins, but for the first that counts."""

    def turns(self, warm_ups: int = 1, rounds: int | None = None) -> Iterator[tuple[int, bool]]:
        """The number of each round, and whether it counts."""
        started = time.perf_counter()
        for turn in range(warm_ups + (rounds or self.rounds)):
            if turn > warm_ups and time.perf_counter() - started > self.seconds:
                return
            yield turn, turn >= warm_ups


LOOPS: Final = 7
"""Loops of rounds in all parts: two of appends, two of merges, and those of reads, of the wide table and of formats."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    usual = Extent()
    parser = argparse.ArgumentParser(prog="python -m bench.live", description="Appends, merges and reads of _live.")
    parser.add_argument("--rows", type=int, default=usual.rows, help="rows of silver (%(default)s)")
    parser.add_argument("--events", type=int, default=usual.events, help="events a micro-batch (%(default)s)")
    parser.add_argument("--micro-batches", type=int, default=usual.micro_batches, help="before a merge (%(default)s)")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="rounds that count (%(default)s)")
    parser.add_argument("--records", type=int, default=usual.records, help="in the files of a format (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of rounds, in all parts together (%(default)s)")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="a part (all)")
    parser.add_argument("--keys", choices=KEYS, help="of the events of appends and merges, printed only (both)")
    parser.add_argument(
        "--write", action="store_true", help="write the page, its picture and the table of docs/SCALE.md"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from what was kept")
    given = parser.parse_args(arguments)
    if given.keys and given.write:
        parser.error("--write needs both ways of choosing keys: leave out --keys")
    extent = Extent(given.rows, given.events, given.micro_batches, given.rounds, records=given.records)
    extent = replace(extent, seconds=given.minutes * 60 / LOOPS, keys=(given.keys,) if given.keys else KEYS)
    if given.page:
        write_page(kept(KEPT, dict[str, Part]))
        return
    with bench_session() as (spark, folder):
        for name in given.only or PARTS:
            part = measured_part(spark, folder / name, name, extent)
            print("\n".join(part.lines()), flush=True)
            if not given.write:
                continue
            parts = kept(KEPT, dict[str, Part]) | {name: part}
            keep(KEPT, parts)
            if name == "formats":
                write_formats(part)
            else:
                write_page(parts)


def measured_part(spark: SparkSession, folder: Path, name: str, extent: Extent) -> Part:
    """One part of the page, measured now; ``folder`` is gone afterwards."""
    folder.mkdir()
    load = os.getloadavg()[0]
    measured = PARTS[name](spark, folder, extent)
    shutil.rmtree(folder)
    rounds = len(measured[-1].ours.seconds)
    rows = {"wide": extent.wide_rows, "formats": 0}.get(name, extent.rows)
    return Part(name, conditions(rows, rounds, load, os.getloadavg()[0]), measured)


@contextmanager
def timed(into: list[float], *, counts: bool = True) -> Iterator[None]:
    """Append the block's seconds to ``into``, unless the round is one that warms up."""
    started = time.perf_counter()
    yield
    if counts:
        into.append(time.perf_counter() - started)


def filled_table(spark: SparkSession, folder: Path, rows: int, columns: int = len(COLUMNS)) -> Path:
    """A silver table of so many rows, to be copied. It stands beside the part's ``folder``, for all parts."""
    target = folder.parent / f"filled-{columns}-{rows}"
    if not target.exists():
        prepare_target(spark, str(target), config_of(columns))
        fill(spark, str(target), columns, rows)
    return target


def measure_appends(spark: SparkSession, folder: Path, extent: Extent) -> list[Measured]:
    """Micro-batches appended, and merged together at the end of a round, against a bare MERGE of each."""
    filled, found = filled_table(spark, folder, extent.rows), []
    for keys in extent.keys:
        against = Side("bare MERGE"), Side("ours")
        append = Measured("file to _live", keys, *against, APPEND_AIM[keys], events=extent.events)
        in_all = extent.events * extent.micro_batches
        sustained = Measured("sustained", keys, Side("bare MERGE"), Side("ours"), SUSTAINED_AIM[keys], events=in_all)
        sustained.faster = True
        case = MergeCase(len(COLUMNS), extent.rows, extent.events, keys)
        appends_against_merges(spark, filled, folder / keys, case, extent, append, sustained)
        found += [append, sustained]
        print("\n".join(one.line() for one in (append, sustained)), file=sys.stderr, flush=True)
        shutil.rmtree(folder / keys)
    return found


def appends_against_merges(
    spark: SparkSession,
    filled: Path,
    folder: Path,
    case: MergeCase,
    extent: Extent,
    append: Measured,
    sustained: Measured,
) -> None:
    """Rounds of both, on copies of ``filled``. The first round is one of two micro-batches, and warms up."""
    ours, bare, config = str(folder / "ours"), str(folder / "bare"), config_of(case.columns)
    for target in (ours, bare):
        shutil.copytree(filled, target)
    open_changes(spark, ours, config.columns)
    to = Destination(ours, config, str(folder / "staging"), append_as="bench")
    number = 0
    for turn, counts in extent.turns():
        merges: list[float] = []
        appends: list[float] = []
        notes: list[float] = []
        for _ in range(extent.micro_batches if turn else min(2, extent.micro_batches)):
            file = write_events(folder, case, number)
            staged = stage(spark, folder / f"rows-{number}", file, config)
            with timed(merges):
                bare_merge(bare, staged, config)
            with timed(appends):
                merge_micro_batch(spark, [file], number, to)
            # What the job asks after each append, to see whether a merge is due.
            with timed(notes):
                pending(spark, ours)
            shutil.rmtree(folder / f"rows-{number}")
            number += 1
        with timed(notes):
            merge_pending(spark, ours, config.source_table, to.staging)
        if counts:
            append.base.seconds += merges
            append.ours.seconds += appends
            sustained.base.seconds.append(sum(merges))
            sustained.ours.seconds.append(sum(appends) + sum(notes))
        print(
            f"{case.keys}: MERGEs {_seconds(merges)}, appends {_seconds(appends)}, merge of all {notes[-1]:.1f}",
            file=sys.stderr,
            flush=True,
        )
    check_equal(spark, ours, bare)


def _seconds(each: Sequence[float]) -> str:
    return " ".join(f"{one:.1f}" for one in each)


def measure_merges(spark: SparkSession, folder: Path, extent: Extent) -> list[Measured]:
    """The guarded MERGE against the bare one, of the same typed rows."""
    filled, found = filled_table(spark, folder, extent.rows), []
    for keys in extent.keys:
        one = Measured("MERGE", keys, Side("bare MERGE"), Side("guarded"), MERGE_AIM[keys], events=extent.events)
        case = MergeCase(len(COLUMNS), extent.rows, extent.events, keys)
        guarded_against_bare(spark, filled, folder / keys, case, extent, one)
        found.append(one)
        print(one.line(), file=sys.stderr, flush=True)
        shutil.rmtree(folder / keys)
    return found


def guarded_against_bare(
    spark: SparkSession, filled: Path, folder: Path, case: MergeCase, extent: Extent, one: Measured
) -> None:
    """Both in turns on copies of ``filled``; each is the first in every other round."""
    ours, bare, config = str(folder / "ours"), str(folder / "bare"), config_of(case.columns)
    names = [column.name for column in config.columns]
    for target in (ours, bare):
        shutil.copytree(filled, target)
    for number, counts in extent.turns():
        rows = stage(spark, folder / f"rows-{number}", write_events(folder, case, number), config)
        bounds = rows.agg(*row_bounds()).head()  # the job counts them as it holds its rows
        for side in (one.base, one.ours)[:: 1 if number % 2 else -1]:
            with timed(side.seconds, counts=counts):
                if side is one.base:
                    bare_merge(bare, rows, config)
                else:
                    merge_rows(spark, ours, rows, names, ("stream",), bounds=bounds, is_held=True)
    check_equal(spark, ours, bare)


READ_AIM: Final = {"whole rows": 1.7, "aggregate": 3.0, "lookup by _key": 2.0, "lookup by the key's column": 2.0}


def queries(rows: str, columns: Sequence[str], key: int) -> dict[str, str]:
    """What people ask: everything of every row, some columns of every row, one row by its key in two ways."""
    every = ", ".join(f"`{name}`" for name in columns)
    return {
        "whole rows": f"SELECT count(*), sum(CAST(xxhash64({every}) AS DECIMAL(38,0))) FROM {rows}",
        "aggregate": f"SELECT state, count(*), avg(soc), max(at) FROM {rows} GROUP BY state ORDER BY state",
        "lookup by _key": f"SELECT {every} FROM {rows} WHERE _key = 'id=S:{key:010d}'",
        "lookup by the key's column": f"SELECT {every} FROM {rows} WHERE id = '{key:010d}'",
    }


def measure_reads(spark: SparkSession, folder: Path, extent: Extent) -> list[Measured]:
    """Queries over `_live` with one row in a hundred pending, against the same over `_current`."""
    target, config = "bench_silver", config_of(len(COLUMNS))
    place = folder / target
    shutil.copytree(filled_table(spark, folder, extent.rows), place)
    spark.sql(f"CREATE TABLE {target} USING delta LOCATION {literal(str(place))}")
    open_changes(spark, target, config.columns)
    create_views(spark, target)
    to = Destination(target, config, str(folder / "staging"), append_as="bench")
    appends = 5
    case = MergeCase(len(COLUMNS), extent.rows, max(1, extent.rows // 100 // appends), "uniform")
    for number in range(appends):
        merge_micro_batch(spark, [write_events(folder, case, number)], number, to)
    columns = [name for name in spark.table(f"{target}_current").columns if name != "_stale_since"]
    found = {name: Measured(name, "1 % pending", Side("silver"), Side("_live"), aim) for name, aim in READ_AIM.items()}
    answers: dict[str, int] = {}
    for number, counts in extent.turns(2, 3 * extent.rounds):
        # A key without a pending change, or one that has one: both kinds come, and both sides get the same.
        key = (number * 7_919_317 + 13) % extent.rows
        for view in ("current", "live"):
            for name, query in queries(f"{target}_{view}", columns, key).items():
                side = found[name].base if view == "current" else found[name].ours
                with timed(side.seconds, counts=counts):
                    answers[f"{name} {view}"] = len(spark.sql(query).collect())
        if answers["lookup by _key live"] != 1 or answers["lookup by the key's column live"] != 1:
            raise AssertionError("a lookup in _live did not find its row")
    merge_pending(spark, target, config.source_table, to.staging)
    check_same(spark, target, columns)
    for name in (f"{target}_current", f"{target}_live"):
        spark.sql(f"DROP VIEW {name}")
    for name in (target, f"{target}_changes"):
        spark.sql(f"DROP TABLE {name}")
    return list(found.values())


def check_same(spark: SparkSession, target: str, columns: Sequence[str]) -> None:
    """After a merge `_live` shows what silver shows."""
    one, other = (
        spark.sql(queries(f"{target}_{view}", columns, 0)["whole rows"]).head() for view in ("live", "current")
    )
    if one != other:
        raise AssertionError("_live and _current do not show the same after a merge")


def measure_wide(spark: SparkSession, folder: Path, extent: Extent) -> list[Measured]:
    """A wide table: the seconds until `_live` shows a micro-batch, against a bare MERGE."""
    found = Measured("500 columns", "uniform", Side("bare MERGE"), Side("ours"), events=extent.wide_events)
    found.most_seconds, columns = WIDE_SECONDS, extent.wide_columns
    filled, config = filled_table(spark, folder, extent.wide_rows, columns), config_of(columns)
    ours, bare = str(folder / "ours"), str(folder / "bare")
    for target in (ours, bare):
        shutil.copytree(filled, target)
    open_changes(spark, ours, config.columns)
    to = Destination(ours, config, str(folder / "staging"), append_as="bench")
    case = MergeCase(columns, extent.wide_rows, extent.wide_events, "uniform")
    for number, counts in extent.turns():
        file = write_events(folder, case, number)
        rows = stage(spark, folder / f"rows-{number}", file, config)
        with timed(found.base.seconds, counts=counts):
            bare_merge(bare, rows, config)
        with timed(found.ours.seconds, counts=counts):
            merge_micro_batch(spark, [file], number, to)
    merge_pending(spark, ours, config.source_table, to.staging)
    check_equal(spark, ours, bare)
    return [found]


def measure_formats(spark: SparkSession, folder: Path, extent: Extent) -> list[Measured]:
    """Reading and reducing the same records in each format, from one file and from sixteen."""
    found: list[tuple[list[DataFile], Measured]] = []
    base = Side("one ndjson.gz")
    for file_format in ("ndjson.gz", "avro", "parquet"):
        for count, files in write_files(folder / file_format, file_format, extent.records).items():
            size = sum(file.length for file in files)
            one = Measured(file_format, str(count), base, Side("ours"), events=extent.records, bytes=size)
            found.append((files, one))
    base.seconds = found[0][1].ours.seconds
    for _, counts in extent.turns():
        for files, one in found:
            with timed(one.ours.seconds, counts=counts):
                checked, _ = read_once(spark, files, corpora.TABLE, partial(_reduced, folder / "staging"))
            if checked.count != extent.records or checked.bad_files:
                raise AssertionError(f"{checked.count} of {extent.records} records of {one.what} were read")
    return [one for _, one in found]


def _reduced(staging: Path, records: DataFrame, _: Collection[str]) -> DataFrame:
    return hold(latest_per_key(records), str(staging))


def write_files(folder: Path, file_format: str, records: int) -> dict[int, list[DataFile]]:
    """The flat corpus in one file and in sixteen, as the flusher writes them."""
    decoder, encode = StreamDecoder(corpora.TABLE), encoder_of(file_format).encode
    now_ms = time.time_ns() // 1_000_000
    builders = {count: FileBuilder("data", "stream", file_format) for count in (1, 16)}
    written: dict[int, list[DataFile]] = {count: [] for count in builders}
    for number, record in enumerate(corpora.records("flat", records), 1):
        data = encode(decoder.decode(record, now_ms), now_ms)
        for count, builder in builders.items():
            builder.add("dt=2026-11-18/HH=11", data, 1, now_ms)
            if number * count // records > (number - 1) * count // records:
                written[count] += [put_file(folder / str(count), file) for file in builder.take_files()]
    return written


PARTS: Final[dict[str, Callable[[SparkSession, Path, Extent], list[Measured]]]] = {
    "appends": measure_appends,
    "merges": measure_merges,
    "reads": measure_reads,
    "wide": measure_wide,
    "formats": measure_formats,
}


if __name__ == "__main__":
    main()
