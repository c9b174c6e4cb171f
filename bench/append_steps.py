"""Where an append goes: the processor seconds of each step of a micro-batch, each added to the one before.

python -m bench.append_steps                               100,000 events of 10 columns, printed
python -m bench.append_steps --columns 500 --events 2000   a wide table
python -m bench.append_steps --format parquet              the same records in another format

The steps of a line run on the same file, after rounds that warm up. Processor seconds, and not those of a clock, so
that another program on the machine changes little. Those of the Java process hold its compiler and its collector too.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import orjson
from pyspark.sql import DataFrame, Observation, SparkSession

from bench.merge import COLUMNS, MergeCase, bench_session, config_of, put_file, write_events
from lakebound.formats.registry import encoder_of
from lakebound.record.stream_records import ChangeEvent
from lakebound.transport.batch_files import FileBuilder
from lakebound_spark.platform.tables import hold
from lakebound_spark.reading.digests import files_of_other_bytes
from lakebound_spark.reading.files import aggregates_of
from lakebound_spark.reading.latest import latest_per_key
from lakebound_spark.reading.schema import WHOLE
from lakebound_spark.reading.source import DataFile, read_records
from lakebound_spark.silver.changes_table import append_changes, open_changes, pending
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.rows import typed_rows
from lakebound_spark.silver.silver_table import prepare_target

ROUNDS: Final = 8
"""The first five warm up."""

Seconds = tuple[float, float]
"""Processor seconds of the Java process and of this one."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.append_steps", description="Where an append goes.")
    parser.add_argument("--events", type=int, default=100_000, help="in the micro-batch (%(default)s)")
    parser.add_argument("--columns", type=int, default=len(COLUMNS), help="of the table (%(default)s)")
    parser.add_argument("--format", choices=("ndjson.gz", "avro", "parquet"), default="ndjson.gz", help="of the file")
    given = parser.parse_args(arguments)
    found: dict[str, list[Seconds]] = {}
    with bench_session() as (spark, folder):
        java, config, target = java_process(), config_of(given.columns), str(folder / "silver")
        prepare_target(spark, target, config)
        open_changes(spark, target, config.columns)
        case = MergeCase(given.columns, 1_000_000, given.events, "uniform")
        for number in range(ROUNDS):
            file = in_format(folder, write_events(folder, case, number), given.format)
            for name, step in steps(spark, folder, file, config, target).items():
                before = processor_seconds(java), time.process_time()
                step()
                after = processor_seconds(java), time.process_time()
                if number >= ROUNDS // 2:
                    found.setdefault(name, []).append((after[0] - before[0], after[1] - before[1]))
    print(f"| {given.events:,} events, {given.columns} columns, {given.format} | Java, s | Python, s |\n|---|---|---|")
    for name, each in found.items():
        print(f"| {name} | {median(one for one, _ in each):.2f} | {median(one for _, one in each):.2f} |")


def in_format(folder: Path, file: DataFile, file_format: str) -> DataFile:
    """The records of an NDJSON file in a file of this format, as the flusher writes it."""
    if file_format == "ndjson.gz":
        return file
    encode, builder = encoder_of(file_format).encode, FileBuilder("data", "stream", file_format)
    for line in gzip.decompress(Path(file.path.removeprefix("file:")).read_bytes()).splitlines():
        record = orjson.loads(line)
        event = ChangeEvent(**{name: record[name] for name in ChangeEvent._fields if name in record})
        builder.add("dt=2026-11-18/HH=11", encode(event, record["ingest_time_ms"]), 1, record["ingest_time_ms"])
    (written,) = builder.take_files()
    return put_file(folder, written)


def steps(
    spark: SparkSession, folder: Path, file: DataFile, config: MergeConfig, target: str
) -> dict[str, Callable[[], object]]:
    """What an append does, from the file to what is asked after it."""
    read = read_records(spark, [file])
    counted = read.observe(Observation(), *aggregates_of(read, config.source_table)).where(WHOLE)
    latest = latest_per_key(counted)
    typed, rows = typed_rows(latest, config.columns, ("stream",)), str(folder / "rows")

    def append() -> None:
        held = spark.read.parquet(rows)
        append_changes(spark, target, held, config.columns, ("stream",), "bench", rescue=False)

    return {
        "digest": lambda: files_of_other_bytes(spark, [file]),
        "text": lambda: compute(spark.read.text(file.path)),
        "records": lambda: compute(read),
        "records, counted": lambda: compute(counted),
        "one row a key": lambda: compute(latest),
        "typed": lambda: compute(typed),
        "typed and held": lambda: hold(typed, rows),
        "appended, of the held rows": append,
        "what waits, asked": lambda: pending(spark, target),
        "**the whole micro-batch**": lambda: merge_micro_batch(
            spark, [file], 0, Destination(target, config, str(folder / "staging"), append_as="bench")
        ),
    }


def compute(rows: DataFrame) -> None:
    """All columns of all rows, kept nowhere."""
    rows.write.format("noop").mode("overwrite").save()


def java_process() -> int:
    """The id of the Java process that this one started. Raises SystemExit elsewhere than on Linux."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for child in children.read_text().split() if children.exists() else ():
        if Path(f"/proc/{child}/comm").read_text().strip() == "java":
            return int(child)
    raise SystemExit("there is no Java process below this one, or this system does not tell; run it on Linux")


def processor_seconds(process: int) -> float:
    """Those that the process has used so far, in its own code and in the system's."""
    # proc(5): utime and stime are the fields 14 and 15; the second, the name, may hold blanks and parentheses.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
