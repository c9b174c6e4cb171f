"""A Spark cluster of its own on loopback: a standalone master and two workers, whose Python lacks this project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pyspark

SPARK_HOME: Final = Path(pyspark.__file__).parent
START_SECONDS: Final = 180
WORKERS: Final = 2
_DEPLOY: Final = "org.apache.spark.deploy"


def bare_python(folder: Path) -> Path:
    """A Python with the installed libraries and without this project, however that is installed beside them.

    `-S` passes over the `.pth` files, by which an editable install is found.
    """
    python = folder / "python"
    libraries = sysconfig.get_path("purelib")
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{libraries}:$PYTHONPATH" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


@contextmanager
def spark_cluster(folder: Path) -> Iterator[str]:
    """The address of a master with two workers, which end with the block; `folder` holds their logs and work."""
    with ExitStack() as running:
        master = folder / "master.log"
        running.enter_context(_process(master, f"{_DEPLOY}.master.Master", "--port", "0", "--webui-port", "0"))
        address = _wait(master, r"Starting Spark master at (spark://\S+)")
        for number in range(WORKERS):
            log, work = folder / f"worker{number}.log", folder / f"work{number}"
            options = ("--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(work))
            running.enter_context(_process(log, f"{_DEPLOY}.worker.Worker", *options, address))
        for number in range(WORKERS):
            _wait(folder / f"worker{number}.log", r"Successfully registered with master (\S+)")
        yield address


@contextmanager
def _process(log: Path, name: str, *options: str) -> Iterator[None]:
    command = [str(SPARK_HOME / "bin" / "spark-class"), name, "--host", "127.0.0.1", *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYSPARK_PYTHON")}
    environment |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_DAEMON_MEMORY": "256m"}
    with (
        open(log, "wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent, env=environment) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _wait(log: Path, line: str) -> str:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        found = re.search(line, log.read_text())
        if found is not None:
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the cluster did not start: {log.read_text()[-2000:]}")
