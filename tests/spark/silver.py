"""A silver table under test: micro-batches go in as files, rows and changes come out as Python values."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession

from lakebound_spark.jobs.merge_changes import main
from lakebound_spark.platform.metrics import MicroBatch
from lakebound_spark.platform.tables import newest_version
from lakebound_spark.reading.source import DataFile, data_files
from lakebound_spark.silver.changes_table import open_changes
from lakebound_spark.silver.config import MergeConfig, parse_config
from lakebound_spark.silver.live_rows import live_rows
from lakebound_spark.silver.merge_job import merge_micro_batch
from lakebound_spark.silver.micro_batch import Destination
from lakebound_spark.silver.pending_merge import PendingMerge, merge_pending
from lakebound_spark.silver.silver_table import prepare_target
from tests.support.independent_writer import TABLE


@dataclass(frozen=True, slots=True)
class Silver:
    """The table at ``path``, made from ``config``."""

    spark: SparkSession
    path: str
    config: MergeConfig
    staging: str = ""

    @classmethod
    def create(
        cls, spark: SparkSession, path: Path, columns: Mapping[str, Any] | str, *, appends: bool = False, **more: Any
    ) -> Silver:
        """The empty table, with ``appends`` its `_changes` too; ``more`` are further settings of the configuration."""
        config = parse_config({"source_table": TABLE, "columns": columns, **more})
        prepare_target(spark, str(path), config)
        if appends:
            open_changes(spark, str(path), config.columns)
        return cls(spark, str(path), config)

    def merge(self, *files: Path) -> MicroBatch:
        """One micro-batch of these files, without the stream around it."""
        to = Destination(self.path, self.config, self.staging or f"{self.path}_staging")
        return merge_micro_batch(self.spark, data_files_at(files), 0, to)

    def append(self, *files: Path) -> MicroBatch:
        """One micro-batch of these files that is not merged."""
        to = Destination(self.path, self.config, self.staging or f"{self.path}_staging", append_as="abcdef0123456789")
        return merge_micro_batch(self.spark, data_files_at(files), 0, to)

    def merge_pending(self) -> PendingMerge | None:
        """Merge what was appended."""
        return merge_pending(self.spark, self.path, TABLE, self.staging or f"{self.path}_staging")

    def live_rows(self) -> dict[str, Row]:
        """The rows of `_live`, tombstones too."""
        found = live_rows(self.spark, self.path).collect()
        by_key = {row["_key"]: row for row in found}
        assert len(by_key) == len(found), "_live has two rows for one key"
        return by_key

    def rows(self) -> dict[str, Row]:
        found = self.spark.read.format("delta").load(self.path).collect()
        by_key = {row["_key"]: row for row in found}
        assert len(by_key) == len(found), "silver has two rows for one key"
        return by_key

    def version(self) -> int:
        return newest_version(self.spark, self.path)

    def changes(self, after: int) -> list[Row]:
        """The change feed's rows of every commit after version ``after``."""
        if self.version() == after:
            return []
        feed = self.spark.read.format("delta").option("readChangeFeed", "true").option("startingVersion", after + 1)
        return feed.load(self.path).collect()


def data_files_at(paths: Iterable[Path]) -> list[DataFile]:
    lengths = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    return data_files((f"file:{path}", f"file:{path}", length) for path, length in lengths.items())


@dataclass(frozen=True, slots=True)
class JobRun:
    """What one run of the job printed and answered."""

    status: int
    batches: list[dict[str, Any]]
    last_line: str
    """The line of sums; what comes after it is for people."""
    sentence: str = ""


def run_job(source: Path, checkpoint: Path, target: Path | str, config: Path, *more: str) -> JobRun:
    """The job's own `main`, in this process and its session."""
    out = io.StringIO()
    arguments = ["--source", source, "--checkpoint", checkpoint, "--target", target, "--config", config, *more]
    with redirect_stdout(out):
        status = main([str(argument) for argument in arguments])
    lines = out.getvalue().splitlines()
    batches = [json.loads(line) for line in lines if line.startswith("{")]
    sums, sentence = ([line for line in lines if not line.startswith("{")] + ["", ""])[:2]
    return JobRun(status, batches, sums, sentence)


def write_config(folder: Path, columns: Iterable[str] = (), source_table: str = TABLE) -> Path:
    path = folder / "silver.yaml"
    path.write_text("\n".join([f"source_table: {source_table}", "columns:", *(f"  {column}" for column in columns)]))
    return path
