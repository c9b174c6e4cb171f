"""A table of ten million items through the real handler and the state machine's own loop (`make soak`)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.state_machine import HISTORY_EVENTS_MAX, STATE_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
CONFIGURED = 1769 * 1024 * 1024
"""Default of BackfillMemory in template.yaml."""


def run(folder: Path, items: int, segments: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.functional.large_table"]
    command += ["--items", str(items), "--segments", str(segments), "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(told, indent=1))
    return told


@pytest.mark.soak
def test_ten_million_items_arrive_once_each_within_memory_and_limits(tmp_path: Path) -> None:
    told = run(tmp_path, 10_000_000, 4)
    assert (told["missing"], told["twice"], told["result"]["records"]) == (0, 0, 10_000_000)
    assert told["invocations"] > 4 + 5, "a segment must outlast an invocation, or nothing was continued"
    assert told["peak_bytes"] < 0.6 * CONFIGURED
    assert told["largest_state_bytes"] < STATE_BYTES_MAX / 2
    assert max(told["events"], told["longest_child_events"]) < HISTORY_EVENTS_MAX / 100
