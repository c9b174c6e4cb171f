"""A fleet of fifty tables in one driver: a broken one and a wrong one stop no other; seconds, and a heap of 1 GB."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from tests.spark.lakes import Lake
from tests.spark.quick_settings import QUICK

ROOT = Path(__file__).parents[2]
JOB = ROOT / "spark" / "jobs" / "run.py"
TABLES = 50
PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)
NAMES = [f"table{number:02d}" for number in range(TABLES)]
BROKEN = "table07"


@dataclass(frozen=True, slots=True)
class Round:
    """One `run --once` in a process of its own, with what it took."""

    status: int
    told: list[dict[str, Any]]
    last: str
    seconds: float
    cpu_seconds: float
    memory: int
    """Bytes that its processes held at most, looked at once a second."""


def used_by(group: int) -> tuple[float, int]:
    """Processor seconds so far and bytes in memory of all processes of a process group."""
    seconds, size = 0.0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == group:
                seconds += sum(map(int, stat[11:13])) / os.sysconf("SC_CLK_TCK")
                # Its share of what it has in common with others: Python's workers are forks of one process.
                size += 1024 * int(PSS.search((folder / "smaps_rollup").read_text())[1])  # type: ignore[index]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return seconds, size


def round_of(lake: Lake, *more: str) -> Round:
    settings = " ".join(f"--conf '{key}={value}'" for key, value in QUICK.items())
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))
    command = [sys.executable, str(JOB), "--config", str(lake.yaml), "--once", "--json", *more]
    began, spent, peak = time.monotonic(), 0.0, 0
    process = subprocess.Popen(
        command,
        cwd=lake.folder,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": paths,
            "PYSPARK_SUBMIT_ARGS": f"--driver-memory 1g {settings} pyspark-shell",
        },
        start_new_session=True,
    )
    ended = threading.Event()

    def watch() -> None:
        nonlocal spent, peak
        while not ended.wait(1):
            seconds, size = used_by(process.pid)
            spent, peak = max(spent, seconds), max(peak, size)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    out, _ = process.communicate()
    ended.set()
    watcher.join()
    lines = out.splitlines()
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return Round(process.returncode, told, lines[-1], time.monotonic() - began, spent, peak)


@pytest.mark.soak
@pytest.mark.classic("starts Spark in a process of its own")
def test_fifty_tables_in_one_driver(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake.of(tmp_path, *NAMES, files=1)
    shared = {key: value.replace(NAMES[0], "{table}") for key, value in lake.entry(NAMES[0]).items() if key != "config"}
    shared |= {"config": lake.entry(NAMES[0])["config"], "bronze": False, "history": False, "maintain": False}
    (tmp_path / "source" / BROKEN).rename(tmp_path / "source" / "elsewhere")
    wrong = {"table": "wrong", "silver": {"every": "soon"}}
    lake.yaml.write_text(yaml.safe_dump({"lakes": [{**shared, "tables": [wrong, *NAMES]}]}))
    whole = [name for name in NAMES if name != BROKEN]
    for number in (1, 2):
        one = round_of(lake, "--parallel", "2")
        took = f"{one.seconds:.0f} s, {one.cpu_seconds:.0f} s of processor time, {one.memory / 2**20:,.0f} MiB at most"
        print(f"round {number}: {TABLES} tables, {took}", flush=True)
        assert one.status == 2, "a person has to set two tables right"
        ends = {Path(line["table"]).name: line["end"] for line in one.told}
        assert ends == {**dict.fromkeys(whole, "done"), BROKEN: "failed", "wrong": "left out"}
        assert "; left out: wrong; failed at the last try: silver of" in one.last
        # A turn that gave way tells its records, and the next of that table that there was nothing more.
        records = sum(line["counts"].get("records", 0) for line in one.told if "counts" in line)
        # Some stand in two files.
        assert records >= sum(len(lake.records[name]) for name in whole) if number == 1 else records == 0
    for name in whole:
        assert lake.shown(spark, name) == lake.expected(name), name
