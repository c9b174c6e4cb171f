"""The wheel's programs of the jobs, where the wheel was installed without Spark."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import cast

import pytest
from py4j.protocol import Py4JNetworkError
from pyspark.sql import SparkSession

from lakebound_spark.platform.job_main import end_session

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
JOBS = sorted(place for place in SCRIPTS.values() if place.startswith("lakebound_spark.jobs.entry:"))


def start(place: str, absent: str) -> subprocess.CompletedProcess[str]:
    """Start a program in a Python that has no package ``absent``."""
    module, _, name = place.partition(":")
    code = f"import sys; sys.modules[{absent!r}] = None; from {module} import {name}; {name}()"
    return subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("place", JOBS)
def test_a_job_without_pyspark_says_what_to_install(place: str) -> None:
    done = start(place, "pyspark")
    job = place.partition(":")[2]
    said = f"{job}: the Python package pyspark is missing; pip install 'lakebound[spark]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_every_job_is_looked_at() -> None:
    assert len(JOBS) == len(SCRIPTS) - 1, "all but the command `lakebound`"


def test_another_package_that_is_missing_is_no_matter_of_spark() -> None:
    done = start("lakebound_spark.jobs.entry:sweep", "orjson")
    assert done.returncode == 1
    assert "ModuleNotFoundError: import of orjson halted" in done.stderr


class Session:
    """A session that cannot be stopped."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def stop(self) -> None:
        raise self.failure


@pytest.mark.parametrize("failure", [ConnectionRefusedError(111, "Connection refused"), Py4JNetworkError("empty")])
def test_a_session_whose_java_was_ended_first_needs_no_stop(failure: Exception) -> None:
    """`systemctl stop` ends every process of a service at once."""
    end_session(cast(SparkSession, Session(failure)))


def test_another_failure_to_stop_a_session_is_raised() -> None:
    with pytest.raises(ValueError, match="mine"):
        end_session(cast(SparkSession, Session(ValueError("mine"))))
