"""What a micro-batch of the history costs while bronze and the history grow, going on and recomputed, in one run.

python -m bench.history --write         the whole run, into docs/BENCH-HISTORY.md (ten minutes)
python -m bench.history --records 200000 --records 400000   other lengths, printed only

Bronze holds the same keys each time, with ever more records of each. One micro-batch follows what was told of its
keys, the next one brings records that are late: the first is the work that a live table makes, the second what it
would cost if every key were recomputed from bronze. Afterwards the history is compared with what all of bronze says.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import pyspark
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from bench.merge import DOCS, LABEL, bench_session
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
ABOUT: Final = """# The history while bronze grows

For engineers who run `build_history`. After it you know how its time grows with bronze.

`make bench HISTORY=1` wrote this page on {cores} cores (Spark {spark}, Delta on the local disk), in {rounds} rounds
after {warm_ups} that warms up. Each micro-batch has {touched:,} records, each of another key, of {keys:,} keys in all.

- *Going on*: the records are newer than all that the history holds of their keys.
- *Recomputed*: the records are late, so each of their keys is computed from all of its records.

The factor compares with the shortest bronze in the same run. Quote it: absolute figures depend on the machine.

{table}
"""


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


HEAD: Final = "| records in bronze | going on, s | factor | recomputed, s | factor |\n|---|---|---|---|---|"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.history", description="The history while bronze grows.")
    parser.add_argument("--records", type=int, action="append", help="records in bronze (200000 and 2000000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write docs/BENCH-HISTORY.md")
    given = parser.parse_args(arguments)
    found: list[Growing] = []
    with bench_session() as (spark, folder):
        for records in given.records or RECORDS:
            growing = Growing(records)
            measure(spark, folder / str(records), growing, given.rounds, keys=KEYS, touched=TOUCHED)
            found.append(growing)
            print(growing.line(found[0]), file=sys.stderr, flush=True)
    table = "\n".join([HEAD, *(one.line(found[0]) for one in found)])
    print(table)
    if given.write:
        about = ABOUT.format(
            cores=os.cpu_count(),
            spark=pyspark.__version__,
            rounds=given.rounds,
            warm_ups=WARM_UPS,
            keys=KEYS,
            touched=TOUCHED,
            table=table,
        )
        (DOCS / "BENCH-HISTORY.md").write_text(about, "utf-8")


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
