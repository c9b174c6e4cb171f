"""The check that the Spark jobs speak SQL and DataFrames only finds each other use (its red control)."""

import pytest

from tests.support.sql_only import main, uses


@pytest.mark.parametrize(
    "planted",
    [
        "rows = read(spark).persist()",
        "rows.cache()",
        "rows.checkpoint()",
        "rows.localCheckpoint(False)",
        "spark._jvm.org.apache.hadoop.fs.Path(path)",
        "gateway = getattr(spark, '_jvm', None)",
        "spark.sparkContext.parallelize([])",
        "rows.rdd.map(int)",
        "from py4j.protocol import Py4JError",
        "import delta.tables",
        "from delta.tables import DeltaTable",
        "from pyspark import StorageLevel",
        "spark.catalog.cacheTable('t')",
    ],
)
def test_a_planted_use_is_found(planted: str) -> None:
    module = f"def work(spark, rows, path):\n    {planted}\n"
    assert [use.partition(": ")[0] for use in uses(module, "planted.py")][:1] == ["planted.py:2"]


def test_what_only_bears_such_a_name_is_no_use() -> None:
    fine = "@cache\ndef f(job):\n    return job.checkpoint.rstrip('/'), getattr(job, 'target')\n"
    assert list(uses(f"from functools import cache\n{fine}", "fine.py")) == []


def test_the_jobs_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0, capsys.readouterr().out
