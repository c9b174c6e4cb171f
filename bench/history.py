"""What a micro-batch of the history costs while bronze and the history grow, going on and recomputed, in one run.

python -m bench.history --write         the whole run, into docs/BENCH-HISTORY.md (ten minutes)
python -m bench.history --page          the page from what was kept, without a run
python -m bench.history --records 200000 --records 400000   other lengths, printed only

Bronze holds the same keys each time, with ever more records of each. One micro-batch follows what was told of its
keys, the next one brings records that are late: the first is the work that a live table makes, the second what it
would cost if every key were recomputed from bronze. Afterwards the history is compared with what all of bronze says.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from bench.figures import DOCS, keep, kept, meaning_of, put
from bench.merge import LABEL, bench_session, conditions
from bench.pictures import Bar, draw
from lakebound_spark.bronze.bronze_table import INGEST_DATE, prepare_bronze
from lakebound_spark.history.history_table import differences, prepare_history, rebuild, update_history
from lakebound_spark.history.stretches import stretches
from lakebound_spark.platform.tables import read_table
from lakebound_spark.reading.schema import BRONZE_RECORD, FILE

KEYS: Final = 100_000
TOUCHED: Final = 20_000
RECORDS: Final = (200_000, 2_000_000)
WARM_UPS: Final = 1
START_MS: Final = 1_795_000_000_000
MINUTE_MS: Final = 60_000
ITEM: Final = '{"id":{"S":"%010d"},"step":{"N":"%d"},"pad":{"S":"' + "x" * 200 + '"}}'
PAGE: Final = DOCS / "BENCH-HISTORY.md"
PICTURE: Final = DOCS / "bench-history.svg"
KEPT: Final = DOCS / "bench-history.json"


@dataclass(slots=True)
class Growing:
    """One length of bronze: seconds of each round, either way."""

    records: int
    on: list[float] = field(default_factory=list)
    anew: list[float] = field(default_factory=list)

    def line(self, least: Growing) -> str:
        """A row of the table, with factors against the shortest bronze."""
        on, anew = median(self.on), median(self.anew)
        return (
            f"| {self.records:,} | {on:.1f} | **{on / median(least.on):.2f}** "
            f"| {anew:.1f} | **{anew / median(least.anew):.2f}** |"
        )


@dataclass(slots=True)
class HistoryFigures:
    """What the page is written from: a sentence on the machine and the rounds, and each length of bronze."""

    conditions: str = ""
    lengths: list[Growing] = field(default_factory=list)


HEAD: Final = "| records in bronze | going on, s | factor | recomputed, s | factor |\n|---|---|---|---|---|"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description="The history while bronze grows.")
    parser.add_argument("--records", type=int, action="append", help="records in bronze (200000 and 2000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/BENCH-HISTORY.md")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from what was kept")
    given = parser.parse_args(arguments)
    if given.page:
        write_page(kept(KEPT, HistoryFigures))
        return
    found: list[Growing] = []
    with bench_session() as (spark, folder):
        for records in given.records or RECORDS:
            growing = Growing(records)
            measure(spark, folder / str(records), growing, given.rounds, keys=KEYS, touched=TOUCHED)
            found.append(growing)
            print(growing.line(found[0]), file=sys.stderr, flush=True)
    print("\n".join(table(found)))
    if given.write:
        figures = HistoryFigures(conditions(given.rounds, WARM_UPS), found)
        keep(KEPT, figures)
        write_page(figures)


def table(lengths: Sequence[Growing]) -> list[str]:
    """Its lines."""
    return [HEAD, *(one.line(lengths[0]) for one in lengths)]


def write_page(figures: HistoryFigures) -> None:
    """The figures of docs/BENCH-HISTORY.md and its picture."""
    lengths = figures.lengths
    least, most = lengths[0], lengths[-1]
    longer = median(most.on) / median(least.on)
    about = (
        f"With {most.records / least.records:g} times as many records in bronze, a micro-batch of the history takes"
        f" {longer:.2f} times as long"
    )
    pairs = (most.on, least.on), (most.anew, least.anew)
    on, anew = ([f"{median(seconds):.0f} s" for seconds in pair] for pair in pairs)
    said = [
        f"**Records in order**, as a live table brings them: {TOUCHED:,} take {on[0]} where bronze holds"
        f" {most.records:,} records, and {on[1]} where it holds {least.records:,}.",
        f"**Records that come late**: as many take {anew[0]} and {anew[1]}. Their keys are computed from all of their"
        " records, so this grows with bronze.",
    ]
    lines = [figures.conditions, "", *table(lengths)]
    put(PAGE, {"meaning": meaning_of(about, PICTURE.name, said), "table": "\n".join(lines)})
    bars = [
        Bar(f"{name}, {one.records:,} records in bronze", median(seconds), f"{median(seconds):.0f} s")
        for name, sides in (
            ("In order", [(one, one.on) for one in lengths]),
            ("Late", [(one, one.anew) for one in lengths]),
        )
        for one, seconds in sides
    ]
    draw(PICTURE, about, f"seconds for {TOUCHED:,} records; shorter is better", bars)


def measure(spark: SparkSession, folder: Path, growing: Growing, rounds: int, *, keys: int, touched: int) -> None:
    """Micro-batches of both kinds in turns. Raises AssertionError when one took the other way, or ended wrong."""
    bronze, target = str(folder / "bronze"), str(folder / "history")
    prepare_bronze(spark, bronze, "cars")
    prepare_history(spark, target, "cars")
    steps = growing.records // keys
    # Every other version is left for the records that come late.
    told = records_of(spark.range(growing.records), F.expr(f"id % {keys}"), F.expr(f"2 * (id div {keys})"))
    _append(told, bronze, "told")
    rebuild(spark, target, bronze)
    chosen = F.col("id") * (keys // touched)
    for number in range(WARM_UPS + rounds):
        for way, step in ((growing.on, 2 * (steps + number)), (growing.anew, 2 * (steps + number) - 1)):
            changes = records_of(spark.range(touched), chosen, F.lit(step).cast("long"))
            _append(changes, bronze, str(step))
            started = time.perf_counter()
            done = update_history(spark, target, bronze, changes, f"{target}_staging")
            seconds = time.perf_counter() - started
            if done.anew != (0 if way is growing.on else touched):
                raise AssertionError(
                    f"{done.anew} of {touched} keys were recomputed; the benchmark measures another thing"
                )
            if number >= WARM_UPS:
                way.append(seconds)
    check_right(spark, target, bronze)


def check_right(spark: SparkSession, target: str, bronze: str) -> None:
    """The history is what all of bronze says. Raises AssertionError."""
    if wrong := differences(read_table(spark, target), stretches(read_table(spark, bronze))).count():
        raise AssertionError(f"{wrong} rows of the benchmark's history are not what bronze says")


def records_of(rows: DataFrame, key: Column, step: Column) -> DataFrame:
    """A change of each row's key: the item counts its steps, one a minute."""
    made = rows.select(key.alias("key_number"), step.alias("step"))

    def image(number: Column) -> Column:
        return F.when(number >= 0, F.format_string(ITEM, "key_number", number))

    values = {
        "schema": F.lit(1),
        "event_name": F.lit("MODIFY"),
        "event_id": F.col("step").cast("string"),
        "origin": F.lit("stream"),
        "source_table": F.lit("cars"),
        "key": F.format_string("id=S:%010d", "key_number"),
        "keys": F.format_string('{"id":{"S":"%010d"}}', "key_number"),
        "new_image": image(F.col("step")),
        "old_image": image(F.col("step") - 1),
        "is_deleted": F.lit(False),
        "ttl_expired": F.lit(False),
        "sequence_number": (F.col("step") + 1).cast("string"),
        "version": F.format_string(f"{LABEL}|%040d", F.col("step") + 1),
        "approx_creation_time_ms": F.lit(START_MS) + F.col("step") * MINUTE_MS,
        "ingest_time_ms": F.lit(START_MS) + F.col("step") * MINUTE_MS,
        "size_bytes": F.lit(300),
    }
    return made.select(
        *[values.get(one.name, F.lit(None)).cast(one.dataType).alias(one.name) for one in BRONZE_RECORD.fields]
    )


def _append(records: DataFrame, bronze: str, file: str) -> None:
    day = F.timestamp_millis("ingest_time_ms").cast("date")
    rows = records.withColumn(FILE, F.lit(file)).withColumn(INGEST_DATE, day)
    rows.write.format("delta").mode("append").save(bronze)


if __name__ == "__main__":
    main()
