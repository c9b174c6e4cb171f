"""A Spark Connect server of its own on this machine: Spark, Delta and the jobs' package in a process that gRPC reaches.

A client that names it in SPARK_REMOTE shares nothing else with it: what a job does beside its SQL is done in the
server's own Python processes, or is not done at all.

As a program it runs a command with a server beside it: `python -m tests.spark.connect_server pytest tests/spark`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyspark

from lakebound_spark.platform.session import SETTINGS
from tests.spark.quick_settings import QUICK

ROOT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 180
_SERVER: Final = "org.apache.spark.sql.connect.service.SparkConnectServer"


@contextmanager
def connect_server(folder: Path, settings: Mapping[str, str]) -> Iterator[str]:
    """SPARK_REMOTE's value for a server with these settings, which ends with the block; `server.log` is its log."""
    port = _free_port()
    home = Path(pyspark.__file__).parent
    own = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    command = [str(home / "bin" / "spark-submit"), "--class", _SERVER, "--properties-file", str(SETTINGS)]
    for name, value in {**settings, **own}.items():
        command += ["--conf", f"{name}={value}"]
    # The server gives a worker ten seconds to come up. From the zip of pyspark, which is not compiled, the import alone
    # takes three of a whole core.
    python = folder / "python"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{paths}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "SPARK_REMOTE"}
    environment |= {"SPARK_HOME": str(home), "PYSPARK_PYTHON": str(python)}
    log = folder / "server.log"
    with (
        open(log, "wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment) as server,
    ):
        try:
            _wait(server, port, log)
            yield f"sc://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the Spark Connect server did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """The exit status of the command that the arguments are, which finds the server in SPARK_REMOTE."""
    with TemporaryDirectory() as folder, connect_server(Path(folder), QUICK) as remote:
        return subprocess.run(sys.argv[1:], env={**os.environ, "SPARK_REMOTE": remote}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
