"""What is done with a micro-batch is a value that can be sent, and its error comes back as what a person may read."""

import pickle

import pytest
from pyspark import cloudpickle

from lakebound.errors import Misconfigured
from lakebound_spark.bronze.bronze_table import AppendWork
from lakebound_spark.history.history_table import HistoryWork
from lakebound_spark.platform.failure_causes import Retry, cause_of, micro_batch_error, portable_error
from lakebound_spark.platform.streams import MicroBatchWork
from lakebound_spark.silver.config import EntitiesConfig, parse_any_config, parse_config
from lakebound_spark.silver.entity_job import EntityJob, EntityWork
from lakebound_spark.silver.merge_job import MergeJob, MergeWork

CONFIG = parse_config({"source_table": "t", "columns": {"a": {"type": "timestamp", "unit": "s"}, "b": "struct<x:int>"}})
JOB = MergeJob("s", "c", "t", CONFIG, {"availableNow": True}, "files", 3)
TABLES = parse_any_config({"source_table": "t", "tables": {"a": {"where": {"pk": "A*", "n": {"from": 1}}}}})
assert isinstance(TABLES, EntitiesConfig)
WORKS = [
    MergeWork("t", "r", JOB),
    EntityWork("t", "r", EntityJob.of(JOB, TABLES)),
    AppendWork("t", "r", "x"),
    HistoryWork("t", "r", "b", "s"),
]


@pytest.mark.parametrize("work", WORKS, ids=lambda work: type(work).__name__)
def test_the_work_is_a_value(work: MicroBatchWork) -> None:
    assert pickle.loads(cloudpickle.dumps(work)) == work


def wrapped(error: Exception) -> Exception:
    """As Spark shows the error of a micro-batch: somewhere in a text of its own."""
    text = f"[STREAM_FAILED] Query terminated: Traceback (most recent call last): …\n{portable_error(error)}\n\nJVM …"
    found = micro_batch_error(RuntimeError(text))
    assert found is not None
    return found


def test_an_error_comes_back_with_its_cause_and_without_a_value() -> None:
    cause = cause_of(wrapped(FileNotFoundError(2, "No such file or directory", "/lake/x")))
    assert (cause.name, cause.next) == ("FileNotFoundError", Retry.STOPS_AGAIN)
    assert "/lake/x" in cause.message
    told = wrapped(ValueError("canary-4711"))
    assert str(cause_of(told)) == "ValueError"
    assert "canary" not in str(told)


def test_a_mistake_comes_back_as_one() -> None:
    found = wrapped(Misconfigured("give a new checkpoint"))
    assert isinstance(found, Misconfigured)
    assert str(found) == "give a new checkpoint"


def test_another_error_of_spark_is_none_of_a_micro_batch() -> None:
    assert micro_batch_error(RuntimeError("the stream's source is gone")) is None
