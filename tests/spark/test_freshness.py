"""The metrics of silver's freshness: which value is put when, and by the job on real Delta."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from pyspark.sql import SparkSession

from lakebound.errors import LakeboundError
from lakebound_spark.silver.changes_table import Pending
from lakebound_spark.silver.freshness import FreshnessMetrics
from tests.spark.silver import run_job, write_config
from tests.support.independent_writer import TABLE, item, stream, write_records


@dataclass(slots=True)
class Puts:
    """What was put, with a clock of its own and a CloudWatch that can refuse."""

    now: float = 0
    refuses: bool = False
    values: list[Mapping[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metrics: FreshnessMetrics = field(init=False)

    def __post_init__(self) -> None:
        waiting = Pending(("1",), 7, 70)
        self.metrics = FreshnessMetrics("cars", lambda: waiting, self.warnings.append, self.put, clock=lambda: self.now)

    def put(self, table: str, values: Mapping[str, float]) -> None:
        if self.refuses:
            raise LakeboundError("AWS refused")
        self.values.append(values)

    def lags(self) -> list[float]:
        return [values["SilverLagSeconds"] for values in self.values]


def test_all_metrics_are_put_together() -> None:
    puts = Puts()
    puts.metrics.note(12.5, merge_fails=True)
    assert puts.values == [
        {"SilverLagSeconds": 12.5, "SilverPendingRows": 7, "SilverPendingBytes": 70, "SilverMergeFails": 1}
    ]


def test_between_two_puts_the_worst_lag_counts() -> None:
    puts = Puts()
    for now, lag in ((0, 1), (1, 90), (2, 3), (30, 4), (61, 5)):
        puts.now = now
        puts.metrics.note(lag, merge_fails=False)
    assert puts.lags() == [1, 90, 5]


def test_the_last_moment_of_a_run_is_put_whenever_it_is() -> None:
    puts = Puts()
    puts.metrics.note(8, merge_fails=False)
    puts.metrics.note(9, merge_fails=False)
    puts.metrics.note(0, merge_fails=False, last=True)
    assert puts.lags() == [8, 9]


def test_a_refusal_is_told_once_and_its_lag_is_not_lost() -> None:
    puts = Puts(refuses=True)
    for puts.now in (0, 60):
        puts.metrics.note(100 - puts.now, merge_fails=False)
    assert len(puts.warnings) == 1
    assert puts.warnings[0].startswith("the metrics of cars were not put: AWS refused; the job needs a region")
    puts.refuses, puts.now = False, 120
    puts.metrics.note(1, merge_fails=False)
    assert puts.lags() == [100]


@pytest.fixture
def cloudwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.client("cloudwatch")


@pytest.mark.classic("CloudWatch stands in this process")
def test_the_job_puts_them_for_its_table(spark: SparkSession, tmp_path: Path, cloudwatch: Any) -> None:
    write_records(tmp_path / "source", [stream("a", 1, item("a"))], hour="dt=2013-01-01/HH=00")
    places = (tmp_path / name for name in ("source", "checkpoint", "silver"))
    done = run_job(*places, write_config(tmp_path, ["id: string"]), "--merge-every", "1h", "--publish")
    assert done.status == 0
    told = cloudwatch.list_metrics(Namespace="Lakebound")["Metrics"]
    assert {metric["MetricName"] for metric in told} == {
        *("SilverLagSeconds", "SilverPendingRows", "SilverPendingBytes", "SilverMergeFails")
    }
    assert all(metric["Dimensions"] == [{"Name": "table", "Value": TABLE}] for metric in told)


@pytest.mark.soak
def test_a_job_without_a_region_says_so_and_goes_on(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    write_records(tmp_path / "source", [stream("a", 1, item("a"))], hour="dt=2013-01-01/HH=00")
    places = (tmp_path / name for name in ("source", "checkpoint", "silver"))
    assert run_job(*places, write_config(tmp_path, ["id: string"]), "--publish").status == 0
    assert f"the metrics of {TABLE} were not put" in capsys.readouterr().err
