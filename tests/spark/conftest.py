"""One Spark session for the whole run: starting it costs more than most tests here.

With SPARK_REMOTE in the environment, as `make test-connect` has it, the session is a server's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.session import local_session
from lakebound_spark.platform.spark_compat import IS_SPARK_35
from tests.spark.quick_settings import QUICK

# Spark 3.5 has another protocol and brings no server; the jobs run through Spark Connect from 4.1 on.
collect_ignore = ["test_connect.py"] if IS_SPARK_35 else []
IS_REMOTE: Final = "SPARK_REMOTE" in os.environ


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever needs the session carries the marker `spark`, so that `make unit` runs the rest."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")
    if IS_REMOTE:
        classic = [item for item in items if item.get_closest_marker("classic")]
        config.hook.pytest_deselected(items=classic)
        items[:] = [item for item in items if item not in classic]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    folder: Path = tmp_path_factory.mktemp("session")
    settings = QUICK | {"spark.sql.warehouse.dir": str(folder / "warehouse")}
    if IS_REMOTE:
        session = SparkSession.builder.getOrCreate()
    else:
        session = local_session("lakebound tests", log=folder / "java.log", settings=settings)
    yield session
    session.stop()
