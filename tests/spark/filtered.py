"""MERGEs with the Bloom filter that only tables of 64 MB get, and proof in Spark's own plans that they had it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.silver import bloom_filter

_FILTER: Final = "might_contain"
"""Spark's name for a test of a row by a Bloom filter."""


def filter_tables_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every MERGE of held rows asks Spark for the filter."""
    monkeypatch.setattr(bloom_filter, "_LARGE", 0)


def newest_statement(spark: SparkSession) -> int:
    """The number of the newest statement of this session; -1 before the first."""
    return max((one.executionId() for one in _statements(spark)), default=-1)


def plans_of_writes(spark: SparkSession, after: int) -> list[str]:
    """The plans by which MERGEs have joined rows and written them, of statements newer than ``after``.

    A MERGE that finds no row of its keys in the table writes without a join, and has none.
    """
    found = [one for one in _statements(spark) if one.executionId() > after]
    plans = [one.physicalPlanDescription() for one in found if "Writing modified data" in one.description()]
    return [plan for plan in plans if "LeftOuter" in plan]


def is_filtered(plan: str) -> bool:
    """Whether it tests the table's rows, by their key, by a filter that a subquery makes."""
    return f"{_FILTER}(Subquery" in plan and "xxhash64(_key" in plan


def joins_told(log: Path) -> list[tuple[int, int]]:
    """Of each MERGE that a `filtered_job` has told of, how many joins it made and how many of them had the filter."""
    return [(int(made), int(had)) for made, had in re.findall(r"^joins (\d+), filtered (\d+)$", log.read_text(), re.M)]


def _statements(spark: SparkSession) -> list[Any]:
    """Those that Spark still knows, which are the newest thousand."""
    statements = spark._jsparkSession.sharedState().statusStore().executionsList()
    return [statements.apply(at) for at in range(statements.size())]
