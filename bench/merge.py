"""Whole micro-batches against the engine's bare MERGE of the same rows, in turns, in one run.

python -m bench.merge --write                         the whole run, into docs/BENCH-MERGE.md (half an hour)
python -m bench.merge --rows 1000000 --keys uniform   a part of it, printed only
python -m bench.merge --page                          the page from what was kept, without a run
python -m bench.merge --wide                          the table of 500 columns, printed only

Both sides start from equal tables of the same layout, clustered by key. Ours reads the batch file, checks it, reduces
it to a row a key, parses and casts its images, and merges under the guard; the bare MERGE is given the reduced, typed
rows as Parquet and updates or inserts by key without any condition. A ratio of 1.2 means a fifth longer than that.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from bench.figures import DOCS, keep, kept, meaning_of, on_this_machine, put
from bench.pictures import Bar, draw
from lakebound.transport.batch_files import BatchFile
from lakebound_spark.platform.session import local_session
from lakebound_spark.platform.sql_text import insert_clause, update_clause
from lakebound_spark.platform.tables import merge_into, read_table
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.latest import latest_per_key
from lakebound_spark.reading.source import DataFile, data_files
from lakebound_spark.silver.config import MergeConfig, parse_config
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.rows import typed_rows
from lakebound_spark.silver.silver_table import prepare_target

AIM: Final = 1.2
WARM_UPS: Final = 2
# A job that runs for days is compiled by the second tier, which `local.conf` leaves out for short runs.
SETTINGS: Final = {"spark.driver.extraJavaOptions": "-XX:+UseSerialGC", "spark.driver.memory": "3g"}
PAGE: Final = DOCS / "BENCH-MERGE.md"
PICTURE: Final = DOCS / "bench-merge.svg"
KEPT: Final = DOCS / "bench-merge.json"
LABEL: Final = "2026-11-01T00:00:00.000"
COLUMNS: Final = {
    "id": "string",
    "trip": "string",
    "soc": "decimal(5,2)",
    "speed": "double",
    "odometer": "bigint",
    "at": {"type": "timestamp", "unit": "ms"},
    "plugged": "boolean",
    "doors": "array<string>",
    "state": "string",
    "temperature": "decimal(4,1)",
}
WIDE: Final = 500
WIDE_ROWS: Final = 20_000
WIDE_EVENTS: Final = 2_000
MORE_TYPES: Final = ("double", "bigint", "decimal(9,2)", "string")


@contextmanager
def bench_session() -> Iterator[tuple[SparkSession, Path]]:
    """A session and a folder for its tables, both gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix="lakebound-bench-"))
    settings = SETTINGS | {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    spark = local_session("lakebound bench", log=folder / "java.log", settings=settings)
    try:
        yield spark, folder
    finally:
        spark.stop()
        shutil.rmtree(folder)


def config_of(columns: int) -> MergeConfig:
    """COLUMNS and as many numbers more as make ``columns``."""
    more = {f"a{n}": MORE_TYPES[n % len(MORE_TYPES)] for n in range(columns - len(COLUMNS))}
    return parse_config({"source_table": "cars", "columns": {**COLUMNS, **more}})


@dataclass(slots=True)
class MergeCase:
    """One size of table and one way of choosing keys: seconds of each round, and what ours wrote."""

    columns: int
    rows: int
    events: int
    keys: str
    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    rewritten: list[int] = field(default_factory=list)
    conditions: str = ""
    """A sentence on the machine and the rounds."""

    @property
    def name(self) -> str:
        """What tells it from the other cases, in words."""
        chosen = {"uniform": "keys anywhere", "recent": "newest keys"}[self.keys]
        return f"{self.rows:,} rows, {self.columns} columns, {chosen}"

    def ratios(self) -> tuple[float, float, float]:
        """Least, median and greatest of ours / bare."""
        each = [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]
        return min(each), median(each), max(each)

    def line(self) -> str:
        """A row of the table."""
        low, mid, high = self.ratios()
        missed = "" if mid <= AIM else " missed"
        return (
            f"| {self.rows:,} | {self.columns} | {self.keys} | {self.events:,} "
            f"| {self.events / median(self.ours):,.0f} "
            f"| {self.events / median(self.bare):,.0f} | {low:.2f} – **{mid:.2f}** – {high:.2f} | ≤ {AIM}{missed} "
            f"| {median(self.rewritten) / self.events:.2f} |"
        )


HEAD: Final = (
    "| rows in the table | columns | keys | events | ours, events/s | bare MERGE, events/s | ours / bare | aim "
    "| rows written anew an event |\n|---|---|---|---|---|---|---|---|---|"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.merge", description="Micro-batches against bare MERGEs.")
    parser.add_argument("--rows", type=int, action="append", help="rows of the table (1000000 and 5000000)")
    parser.add_argument("--keys", choices=("uniform", "recent"), action="append", help="which keys change (both)")
    parser.add_argument("--events", type=int, default=100_000, help="events a micro-batch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    parser.add_argument("--wide", action="store_true", help="the wide table only")
    parser.add_argument("--write", action="store_true", help="write docs/BENCH-MERGE.md")
    parser.add_argument("--json", action="store_true", help="the rounds as JSON")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from what was kept")
    given = parser.parse_args(arguments)
    if given.page:
        write_page(kept(KEPT, dict[str, MergeCase]).values())
        return
    if given.wide and given.rows:
        parser.error("--wide is a table of its own size; leave out --rows")
    found: list[MergeCase] = []
    with bench_session() as (spark, folder):
        tables = [] if given.wide else [(len(COLUMNS), rows) for rows in given.rows or (1_000_000, 5_000_000)]
        if given.wide or not given.rows:
            tables.append((WIDE, WIDE_ROWS))
        for columns, rows in tables:
            filled = folder / f"{rows}"
            prepare_target(spark, str(filled), config_of(columns))
            fill(spark, str(filled), columns, rows)
            for keys in given.keys or ("uniform", "recent"):
                case = MergeCase(columns, rows, WIDE_EVENTS if columns == WIDE else given.events, keys)
                measure(spark, filled, folder / keys, case, given.rounds)
                case.conditions = conditions(given.rounds, WARM_UPS)
                found.append(case)
                print(case.line(), file=sys.stderr, flush=True)
                shutil.rmtree(folder / keys)
    table = "\n".join([HEAD, *(one.line() for one in found)])
    print(json.dumps([asdict(one) for one in found], indent=2) if given.json else table)
    if given.write:
        cases = kept(KEPT, dict[str, MergeCase]) | {one.name: one for one in found}
        keep(KEPT, cases)
        write_page(cases.values())


def conditions(rounds: int, warm_ups: int) -> str:
    """A sentence on the machine and the rounds."""
    return f"Measured {on_this_machine()}, in rounds that count and rounds that warm up: {rounds} and {warm_ups}."


def write_page(cases: Collection[MergeCase]) -> None:
    """The figures of docs/BENCH-MERGE.md and its picture, of the cases that were measured at some time."""
    said = list(dict.fromkeys(one.conditions for one in cases))
    if len(said) > 1:
        said = [f"- {one.name}: {one.conditions}" for one in cases]
    most = max(one.ratios()[1] for one in cases)
    about = f"A whole micro-batch takes up to {most:.1f} times as long as the engine's bare MERGE of the same rows"
    table = "\n".join([*said, "", HEAD, *(one.line() for one in cases)])
    put(PAGE, {"meaning": meaning_of(about, PICTURE.name, meaning(cases)), "table": table})
    draw(PICTURE, about, "times as long as the bare MERGE; shorter is better", [bar(one) for one in cases])


def bar(one: MergeCase) -> Bar:
    """The ratio of the case, with the seconds of both sides."""
    mid = one.ratios()[1]
    return Bar(one.name, mid, f"{mid:.2f} × ({median(one.ours):.0f} s for {median(one.bare):.0f} s)", AIM, mid > AIM)


def meaning(cases: Collection[MergeCase]) -> Iterator[str]:
    """What the figures mean for a person who has a table: computed, for what was measured."""
    for one in cases:
        if one.keys == "uniform":
            rate = one.events / median(one.ours)
            yield (
                f"**{one.rows:,} rows of {one.columns} columns.** {one.events:,} changes anywhere in the table are in"
                f" it {median(one.ours):.0f} s after their file is read. So on the machine of this run the job keeps up"
                f" with {rate:,.0f} changes a second, in micro-batches as large as this."
            )


def measure(spark: SparkSession, filled: Path, folder: Path, measured: MergeCase, rounds: int) -> None:
    """Both sides in turns on copies of the table ``filled``; the first rounds warm up and are not counted."""
    ours, bare = str(folder / "ours"), str(folder / "bare")
    for target in (ours, bare):
        shutil.copytree(filled, target)
    config = config_of(measured.columns)
    for number in range(WARM_UPS + rounds):
        file = write_events(folder, measured, number)
        staged = stage(spark, folder / f"rows-{number}", file, config)
        started = time.perf_counter()
        bare_merge(bare, staged, config)
        between = time.perf_counter()
        done = merge_micro_batch(spark, [file], number, Destination(ours, config, str(folder / "staging")))
        ended = time.perf_counter()
        if number >= WARM_UPS:
            measured.bare.append(between - started)
            measured.ours.append(ended - between)
            measured.rewritten.append(done.rewritten)
    check_equal(spark, ours, bare)


def fill(spark: SparkSession, target: str, columns: int, rows: int) -> None:
    """Rows as the merge would have written them, in files sorted by key."""
    config = config_of(columns)
    made = spark.range(rows).select(
        F.format_string("id=S:%010d", "id").alias("key"),
        F.lit("{}").alias("keys"),
        F.concat(F.lit(f"{LABEL}|"), F.lpad((F.col("id") + 1).cast("string"), 40, "0")).alias("version"),
        F.lit(1_000).alias("stream_time_ms"),
        F.expr(_sql_item(columns)).alias("stream_image"),
        F.lit("").alias("base"),
        F.lit(None).cast("string").alias("base_image"),
    )
    typed = typed_rows(made, config.columns, ("stream",))
    typed.select(
        F.col("key").alias("_key"),
        *[F.col(f"stream_columns.c{n}").alias(column.name) for n, column in enumerate(config.columns)],
        F.col("stream_image").alias("_item"),
        F.lit(False).alias("_is_deleted"),
        F.col("version").alias("_version"),
        F.col("stream_time_ms").cast("long").alias("_stream_time_ms"),
        F.col("base").alias("_base"),
        F.lit(False).alias("_ttl_expired"),
    ).repartitionByRange(max(2, rows // 100_000), "_key").write.format("delta").mode("append").save(target)


def _sql_item(columns: int) -> str:
    ten = (
        """'{"id":{"S":"', format_string('%010d', id), '"},"trip":{"S":"t', id % 977, '"},"soc":{"N":"', """
        """(id % 1000) / 10, """
        """'"},"speed":{"N":"', id % 130, '.5"},"odometer":{"N":"', id * 7, '"},"at":{"N":"17950000', """
        """lpad(id % 100000, 5, '0'), '"},"plugged":{"BOOL":false},"doors":{"SS":["left","right"]},"""
        """"state":{"S":"driving"},"temperature":{"N":"21.5"}'"""
    )
    more = ", ".join(f"""',"a{n}":{{"N":"', id + {n}, '"}}'""" for n in range(columns - len(COLUMNS)))
    return f"concat({ten}{', ' if more else ''}{more}, '}}')"


def write_events(folder: Path, measured: MergeCase, number: int) -> DataFile:
    """A batch file of changes, one in ten of a new key and one in ten a second change of a key."""
    rows, events, keys = measured.rows, measured.events, measured.keys
    chance = random.Random(f"{rows}-{keys}-{number}")
    new = events // 10
    again = events // 10
    known = events - new - again
    chosen = chance.sample(range(rows), known) if keys == "uniform" else list(range(rows - known, rows))
    chosen += range(rows + number * new, rows + (number + 1) * new)
    chosen += chance.choices(chosen, k=again)
    lines = [_line(key, (number + 1) * 10**9 + place, measured.columns, chance) for place, key in enumerate(chosen)]
    members = ("".join(lines[start : start + 500]) for start in range(0, events, 500))
    content = b"".join(gzip.compress(member.encode(), 1, mtime=0) for member in members)
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = folder / f"stream-20261118T110000000Z-{events}-{digest}.ndjson.gz"
    path.write_bytes(content)
    (file,) = data_files([(f"file:{path}", f"file:{path}", len(content))])
    return file


def put_file(folder: Path, file: BatchFile) -> DataFile:
    """The file below the folder, under its key."""
    path = folder / file.key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.body)
    (put,) = data_files([(f"file:{path}", f"file:{path}", len(file.body))])
    return put


def _line(key: int, sequence: int, columns: int, chance: random.Random) -> str:
    image = {
        "id": {"S": f"{key:010d}"},
        "trip": {"S": f"t{chance.randrange(10_000)}"},
        "soc": {"N": f"{chance.randrange(10_000) / 100}"},
        "speed": {"N": f"{chance.random() * 130:.3f}"},
        "odometer": {"N": str(chance.randrange(500_000))},
        "at": {"N": str(1_795_000_000_000 + sequence)},
        "plugged": {"BOOL": chance.random() < 0.5},
        "doors": {"SS": ["left", "right"]},
        "state": {"S": chance.choice(("driving", "parked", "charging"))},
        "temperature": {"N": f"{chance.randrange(-200, 400) / 10}"},
    }
    image |= {f"a{n}": {"N": str(chance.randrange(100_000))} for n in range(columns - len(COLUMNS))}
    record: dict[str, Any] = {
        "schema": 1,
        "event_name": "MODIFY",
        "event_id": f"e{sequence}",
        "origin": "stream",
        "source_table": "cars",
        "key": f"id=S:{key:010d}",
        "keys": {"id": image["id"]},
        "new_image": image,
        "old_image": image,
        "is_deleted": False,
        "ttl_expired": False,
        "sequence_number": str(sequence),
        "version": f"{LABEL}|{sequence:040d}",
        "snapshot_label_ms": None,
        "snapshot_run": None,
        # Recent, as on the live path.
        "approx_creation_time_ms": time.time_ns() // 1_000_000,
        "ingest_time_ms": 1_795_000_001_000,
        "size_bytes": 200,
    }
    return json.dumps(record, separators=(",", ":")) + "\n"


def stage(spark: SparkSession, folder: Path, file: DataFile, config: MergeConfig) -> DataFrame:
    """The micro-batch reduced and typed, as Parquet."""
    checked = checked_records(spark, [file], config.source_table)
    assert checked.records is not None
    assert not checked.bad_files
    typed_rows(latest_per_key(checked.records), config.columns).write.parquet(str(folder))
    return spark.read.parquet(str(folder))


def bare_merge(target: str, rows: DataFrame, config: MergeConfig) -> None:
    """Update or insert by key, whatever is there."""
    columns = {column.name: f"s.stream_columns.c{number}" for number, column in enumerate(config.columns)}
    values = {
        "_item": "s.stream_image",
        "_is_deleted": "s.stream_image IS NULL",
        "_version": "s.version",
        "_stream_time_ms": "s.stream_time_ms",
        "_base": "s.base",
        "_ttl_expired": "s.stream_ttl",
        **columns,
    }
    insert = insert_clause({"_key": "s.key", **values})
    merge_into(
        target, rows, "t._key = s.key", f"WHEN MATCHED THEN {update_clause(values)}", f"WHEN NOT MATCHED THEN {insert}"
    )


def check_equal(spark: SparkSession, ours: str, bare: str) -> None:
    """Both tables hold the same: a side that merged less would look faster than it is."""
    one, other = (_fingerprint(spark, target) for target in (ours, bare))
    if one != other:
        raise AssertionError("the two sides of the benchmark do not hold the same rows")


def _fingerprint(spark: SparkSession, target: str) -> Any:
    rows = read_table(spark, target)
    return rows.agg(
        F.count("*"), F.sum(F.xxhash64("_key", "_item", "_version", "soc", "at").cast("decimal(38,0)"))
    ).head()


if __name__ == "__main__":
    main()
