"""One run of the demo, small and kept up, that every test here looks at from another side."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.platform.session import local_session
from lakebound_spark.silver.config import load_any_config, of_table
from lakebound_spark.silver.merge_job import MergeJob
from lakebound_spark.silver.merge_run import run_merge
from lakebound_spark.silver.pending_merge import merge_pending
from tests.e2e.runs import ROOT, DemoRun, Interrupted, demo, environment, processes_of

FLIGHTS: Final = str(ROOT / "demo" / "flights.yaml")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the stack."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("stack")


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def interrupted(demo_folder: Path) -> Interrupted:
    """Ctrl-C while the stack is being deployed and the merge job starts its Java."""
    with subprocess.Popen(
        demo(demo_folder),
        cwd=ROOT,
        env=environment(demo_folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Of a suite that runs in the background (`nohup make test &`) a child inherits that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "start the local stack" in line:
                break
        until = time.monotonic() + 30
        while time.monotonic() < until and not any("java" in words for words in processes_of(demo_folder)):
            time.sleep(0.1)
        running = processes_of(demo_folder)
        process.send_signal(signal.SIGINT)
        said += process.stdout.readlines()
        status = process.wait(60)
    return Interrupted(status, "".join(said), running, processes_of(demo_folder))


@pytest.fixture(scope="session")
def demo_run(demo_folder: Path, interrupted: Interrupted) -> Iterator[DemoRun]:
    """A whole run in the folder where the interrupted one left what it had."""
    del interrupted
    done = subprocess.run(
        demo(demo_folder, "--keep"), cwd=ROOT, env=environment(demo_folder), capture_output=True, text=True, check=False
    )
    found = re.search(r"http://127\.0\.0\.1:\d+", done.stdout)
    try:
        yield DemoRun(demo_folder, done.returncode, done.stdout, done.stderr, found[0] if found else "")
    finally:
        subprocess.run(demo(demo_folder, "--stop"), cwd=ROOT, capture_output=True, check=False)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    session = local_session("lakebound end to end", log=tmp_path_factory.mktemp("session") / "java.log")
    yield session
    session.stop()


@pytest.fixture
def silver(demo_run: DemoRun, spark: SparkSession, tmp_path: Path) -> Path:
    """A copy of the silver table, to be spoilt, in which nothing waits for a MERGE."""
    copy = tmp_path / "silver"
    for suffix in ("", "_changes"):
        shutil.copytree(f"{demo_run.silver}{suffix}", f"{copy}{suffix}")
    merge_pending(spark, str(copy), "flights")
    return copy


@pytest.fixture
def merge(spark: SparkSession, tmp_path: Path) -> Callable[[Path, Path], list[dict[str, Any]]]:
    """Merges all files of a folder into a table under a checkpoint that is new each time; the job's lines."""

    def merge_all(files: Path, target: Path) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []
        checkpoint = tmp_path / f"checkpoint-{len(list(tmp_path.iterdir()))}"
        job = MergeJob(
            source=str(files),
            checkpoint=str(checkpoint),
            target=str(target),
            config=of_table(load_any_config(FLIGHTS), FLIGHTS, ""),
            trigger={"availableNow": True},
            reader="files",
            files_per_micro_batch=256,
        )
        run_merge(spark, job, report=lambda line: said.append(json.loads(line)))
        return said

    return merge_all
