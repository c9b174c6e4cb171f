"""Jobs run by their own `main`, in this process and its session; and bronze made without the job."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.bronze.bronze_table import bronze_rows
from lakebound_spark.reading.schema import BRONZE_RECORD
from tests.support.independent_writer import Record

SUMS = re.compile(r"\w+=\d")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run answered and printed: the lines that are JSON, its line of sums, and its last sentence."""

    status: int
    batches: list[dict[str, Any]]
    last_line: str
    """The sums (`rows=3`); of a job without any its last line."""
    sentence: str


def run_main(main: Callable[[Sequence[str]], int], *arguments: object) -> Ran:
    out = io.StringIO()
    with redirect_stdout(out):
        status = main([str(argument) for argument in arguments])
    lines = out.getvalue().splitlines()
    told = [line for line in lines if not line.startswith("{")]
    sums = [line for line in told if SUMS.match(line)] or told[-1:] or [""]
    batches = [json.loads(line) for line in lines if line.startswith("{")]
    return Ran(status, batches, sums[-1], told[-1] if told else "")


def bronze_frame(spark: SparkSession, records: Iterable[Record]) -> DataFrame:
    """The records with bronze's fields and types."""
    rows = [
        [json.dumps(r[n], separators=(",", ":")) if isinstance(r[n], dict) else r[n] for n in BRONZE_RECORD.names]
        for r in records
    ]
    return spark.createDataFrame(rows, BRONZE_RECORD)


def append_to_bronze(target: Path, records: DataFrame, file: str) -> None:
    """What the job would append if ``records`` stood in the file of that name."""
    rows = bronze_rows(records.withColumn("_file", F.lit(f"file:/{file}")), set())
    rows.coalesce(1).write.format("delta").mode("append").save(str(target))
