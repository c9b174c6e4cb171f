"""The merge job as a process of its own that is killed with all it started, once it has made so many paths on disk.

Everything the job changes is a path below its target (with its tables beside it) or its checkpoint: a Parquet file, a
temporary and a final Delta commit, the stream's offsets and commits. The k-th new path is the k-th side effect. Who
watches sees a path some milliseconds after it was made, so `Killed` says what the disk held when the process was gone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.spark.histories import MARGIN_MS, deliver, history, two_registers
from tests.spark.silver import write_config
from tests.support.independent_writer import Record, write_records
from tests.support.registers import visible_items

JOB: Final = Path(__file__).parents[2] / "spark" / "jobs" / "merge_changes.py"
CARELESS: Final = Path(__file__).with_name("careless_job.py")
FILTERED: Final = Path(__file__).with_name("filtered_job.py")
FILES: Final = 3
_LOOK_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Killed:
    """What a killed job left: how many paths it made, micro-batches begun, silver's commits, Spark's commits."""

    paths: int
    offsets: int
    merged: int
    commits: int

    @property
    def where(self) -> str:
        """Between which of the job's steps it ended."""
        if self.offsets == self.commits:
            return "between two micro-batches"
        return "after Delta's commit, before Spark's" if self.merged > self.commits else "before Delta's commit"


@dataclass(frozen=True, slots=True)
class Lake:
    """Batch files of some random histories, and what silver must show of them in the end."""

    folder: Path
    records: list[Record]
    script: Path = JOB

    @classmethod
    def of(
        cls, folder: Path, seed: int, script: Path = JOB, *, kinds: Sequence[str] = ("right",), files: int = FILES
    ) -> Lake:
        """Made from a seed. Keys begin with their kind and a hyphen."""
        folder.mkdir(parents=True)
        records: list[Record] = []
        for number in range(12):
            for lived in history(seed * 1_000 + number, dict.fromkeys(kinds, two_registers(MARGIN_MS))).values():
                records += lived.records
        for number, group in enumerate(deliver(records, random.Random(seed), files)):
            write_records(folder / "source", group, hour=f"dt=2013-01-01/HH={number:02d}")
        write_config(folder, ["id: string", "v: int"])
        return cls(folder, records, script)

    def expected(self) -> dict[str, Any]:
        """The visible items by key, by the reference of tests/simulation."""
        return visible_items(self.records)

    def paths(self) -> set[str]:
        """Every path below the job's tables and its checkpoint."""
        return {
            path
            for place in os.scandir(self.folder)
            if place.name not in ("source", "silver.yaml", "log")
            for path in _below(place.path)
        }

    def run(self, until: Callable[[set[str]], bool] = lambda paths: False, *more: str) -> Killed | None:
        """Run the job to its end (None), or kill it with all its children as soon as `until` says so of the paths.

        ``more`` are further arguments of the job.
        """
        config = str(self.folder / "silver.yaml")
        command = [sys.executable, str(self.script), "--max-files", "1", "--config", config, *more]
        for name in ("source", "checkpoint"):
            command += [f"--{name}", str(self.folder / name)]
        command += ["--target", str(self.folder / "silver")]
        # A session of its own, so that one signal ends Python and Java at once, as the loss of the machine does.
        with (
            open(self.folder / "log", "ab") as log,
            subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=_environment(), start_new_session=True
            ) as job,
        ):
            while job.poll() is None:
                if until(self.paths()):
                    os.killpg(job.pid, signal.SIGKILL)
                    job.wait()
                    return self._left()
                time.sleep(_LOOK_SECONDS)
        if job.returncode:
            raise AssertionError(f"the job ended with {job.returncode}: {(self.folder / 'log').read_text()[-2000:]}")
        return None

    def numbered(self, folder: str, paths: set[str]) -> int:
        """How many of these paths in a folder are named by a number: temporary files and checksums are not."""
        inside = f"{self.folder}/{folder}"
        return sum(
            path.removeprefix(inside).removesuffix(".json").isdigit() for path in paths if path.startswith(inside)
        )

    def commits(self, table: str, operation: str) -> int:
        """How many commits of this kind (Delta's own name for it) a table beside the target has."""
        return sum(
            operation == _operation(path)
            for path in (self.folder / table / "_delta_log").glob("*.json")
            if path.stem.isdigit()
        )

    def _left(self) -> Killed:
        paths = self.paths()
        return Killed(
            len(paths),
            self.numbered("checkpoint/offsets/", paths),
            # The first commit makes the table.
            max(0, self.numbered("silver/_delta_log/", paths) - 1),
            self.numbered("checkpoint/commits/", paths),
        )


@cache
def _operation(commit: Path) -> str:
    return next(
        json.loads(line)["commitInfo"]["operation"]
        for line in commit.read_text().splitlines()
        if line.startswith('{"commitInfo"')
    )


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": f"{root}:{root / 'src'}:{root / 'spark'}", "PYTHONDONTWRITEBYTECODE": "1"}


def _below(path: str) -> Iterator[str]:
    yield path
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        else:
            yield entry.path
