"""One Spark session for the whole run: starting it costs more than most tests here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.session import local_session
from lakebound_spark.platform.spark_compat import IS_SPARK_35

# Spark 3.5 has another protocol and brings no server; the jobs run through Spark Connect from 4.1 on.
collect_ignore = ["test_connect.py"] if IS_SPARK_35 else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the session carries the marker `spark`, so that `make unit` runs the rest."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    folder: Path = tmp_path_factory.mktemp("session")
    # Compiling a plan of its own for each handful of rows took a third of the run; the job's own process, which
    # test_job starts, compiles as users' jobs do.
    settings = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    # A third of what was left: plans made again between stages, tasks without a row, a sum of each table's state.
    settings |= {"spark.sql.adaptive.enabled": "false", "spark.sql.shuffle.partitions": "2"}
    settings |= {"spark.databricks.delta.snapshotPartitions": "1"}
    settings |= {"spark.databricks.delta.writeChecksumFile.enabled": "false"}
    # Minutes in one process pay for the second-tier compiler, which `local.conf` leaves out for short runs.
    settings["spark.driver.extraJavaOptions"] = "-XX:+UseSerialGC"
    settings["spark.sql.warehouse.dir"] = str(folder / "warehouse")
    session = local_session("lakebound tests", log=folder / "java.log", settings=settings)
    yield session
    session.stop()
