"""Which session a job works in that finds one running."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.session import job_session


@pytest.mark.classic("makes a second session")
def test_a_job_works_in_the_callers_session_though_a_micro_batch_left_its_own_active(spark: SparkSession) -> None:
    # What a foreachBatch function leaves behind that wrote the row of a bad file.
    of_a_micro_batch = spark.newSession()
    of_a_micro_batch.createDataFrame([(1,)], "n INT")
    try:
        assert SparkSession.getActiveSession() is of_a_micro_batch
        found, is_ours = job_session("lakebound", catalog=False)
        assert found is spark
        assert not is_ours
    finally:
        spark.createDataFrame([(1,)], "n INT")
        assert SparkSession.getActiveSession() is spark
