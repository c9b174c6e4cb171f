"""Spark as users run it: the tests' session compiles nothing, which is quicker for queries that run once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession


@contextmanager
def generated_code(spark: SparkSession) -> Iterator[None]:
    """Spark as users run it. Generated code has computed what a condition should have kept from being computed."""
    settings = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "CODEGEN_ONLY"}
    before = {name: spark.conf.get(name) for name in settings}
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        # The session is that of the tests that follow, too.
        for name, setting in before.items():
            spark.conf.set(name, str(setting))
