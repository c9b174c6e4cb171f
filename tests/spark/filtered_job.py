"""The merge job as on a large table: each MERGE asks Spark for the Bloom filter, and tells of the joins it made.

After each MERGE its process writes `joins 2, filtered 2` to the standard error: what a test must find there before it
believes that the filter was on (`filtered.joins_told`).
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pyspark.sql import DataFrame, Row

from lakebound_spark.jobs.merge_changes import main
from lakebound_spark.silver import merge
from tests.spark.filtered import filter_tables_of_any_size, is_filtered, newest_statement, plans_of_writes


def tell_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every MERGE from now on tells of its joins when it has ended."""
    real = merge.merge_into

    def merge_into(target: str, source: DataFrame, *arguments: Any) -> Row:
        before = newest_statement(source.sparkSession)
        done = real(target, source, *arguments)
        plans = plans_of_writes(source.sparkSession, before)
        print(f"joins {len(plans)}, filtered {sum(map(is_filtered, plans))}", file=sys.stderr, flush=True)
        return done

    monkeypatch.setattr(merge, "merge_into", merge_into)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        filter_tables_of_any_size(patch)
        tell_joins(patch)
        sys.exit(main())
