"""The merge job as a process of its own, and what it says of each micro-batch."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lakebound.counts import count_text

ROOT: Final = Path(__file__).resolve().parent.parent
JOB: Final = ROOT / "spark" / "jobs" / "merge_changes.py"

MERGE_EVERY: Final = "1m"
"""So long changes wait for their MERGE, visible in `_live`. A job of a larger table lets them wait for minutes."""

_PR_SET_PDEATHSIG: Final = 1


class MergeFailed(Exception):
    """The merge job ended before it was told to."""


@dataclass(frozen=True, slots=True)
class MergePaths:
    """Folders of the job: what it reads, where it writes, where its progress is kept, what it says."""

    source: Path
    target: Path
    checkpoint: Path
    config: Path
    log: Path


class MergeProcess:
    """`spark/jobs/merge_changes.py`, as a stream, until told to end."""

    def __init__(self, paths: MergePaths, *, visible: Callable[[int], None]) -> None:
        self.paths = paths
        self.micro_batches: list[dict[str, Any]] = []
        """The job's own lines: one a micro-batch, and one a MERGE of what waited, which took no file."""
        self.totals = ""
        """The job's line of sums."""
        self._visible = visible
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the job; it says its first word in ten seconds or so."""
        command = [
            *(sys.executable, str(JOB)),
            *("--source", str(self.paths.source)),
            *("--checkpoint", str(self.paths.checkpoint)),
            *("--target", str(self.paths.target)),
            *("--config", str(self.paths.config)),
            *("--trigger", "processing-time=1s"),
            *("--merge-every", MERGE_EVERY),
        ]
        with self.paths.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def files(self) -> int:
        """How many batch files were taken, and are visible in `_live`."""
        return sum(batch["files"] for batch in self.micro_batches)

    @property
    def told(self) -> str:
        """How many micro-batches appended, and how many times what waited was merged."""
        appends = sum(1 for batch in self.micro_batches if batch["files"])
        return f"{count_text(appends, 'append')}, {count_text(len(self.micro_batches) - appends, 'merge')}"

    def check(self) -> None:
        """Raises MergeFailed when the job has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise MergeFailed(
                f"the merge job ended with status {self._process.returncode}\n"
                f"{self.paths.log.read_text(errors='replace')[-2000:]}\n(its log: {self.paths.log})"
            )

    def finish(self) -> None:
        """Let the micro-batch under way finish and the job end. Raises MergeFailed unless it ends well."""
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        self._reader.join()
        if status != 0:
            self.check()
        self.kill()

    def kill(self) -> None:
        """End the job and its Java process at once, whatever they do. A merge is all or nothing, so nothing breaks."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                batch = json.loads(line)
                self.micro_batches.append(batch)
                self._visible(batch["records"])
            elif line.startswith("stale="):
                self.totals = line.strip()


def _end_with_parent() -> None:
    """In the child: have Linux end it when its parent dies, even by kill -9, which no handler would see."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
