"""The results of a run that this process keeps: recorded by the thread of a micro-batch, told by the main one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform import metrics
from lakebound_spark.platform.metrics import Result, begin_results, read_results, record_result

NO_SPARK = cast(SparkSession, None)
RESULTS = 20_000


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that take turns as often as Python lets them."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_threads")
def test_each_result_is_told_once_while_others_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def appended(*given: Any) -> None:
        del given

    monkeypatch.setattr(metrics, "_append_result", appended)
    begin_results("silver", "run")
    micro_batches = threading.Thread(
        target=lambda: [record_result(NO_SPARK, "silver", "run", 0, Result(number)) for number in range(RESULTS)]
    )
    told: list[Result] = []

    def tell() -> None:
        since = told[-1].batch if told else 0
        told.extend(read_results(NO_SPARK, "silver", "run", Result, since)[bool(told) :])

    micro_batches.start()
    while micro_batches.is_alive():
        tell()
    micro_batches.join()
    tell()
    assert [one.batch for one in told] == list(range(RESULTS))
    assert read_results(NO_SPARK, "silver", "run", Result, RESULTS) == []
    begin_results("silver", "another")
    assert ("silver", "run") not in metrics._RESULTS, "a run that has ended takes no memory"
