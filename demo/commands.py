"""Other programs, run to their end; none outlives this process's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

BIN: Final = Path(sys.executable).parent
LAKEBOUND: Final = str(BIN / "lakebound")


class DemoFailed(Exception):
    """The demo cannot go on; the text says why, or where to look."""


def started(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """The command, running, in a process group of its own, with pipes for what it says."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def kill(process: subprocess.Popen[str]) -> None:
    """End it and what it started, at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    with started(command, **options) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            kill(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
