"""Memory stays below 60 % of the configured size on the worst that can be delivered (G12)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).with_name("scenarios.py")
ROOT = SCENARIOS.parent.parent.parent
MB = 1024 * 1024
INGEST = 512 * MB
FLUSHER = 1024 * MB
"""Defaults of StreamIngestMemory and FlusherMemory in template.yaml."""

SHARE = 0.6


def run(name: str, limit: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, str(SCENARIOS), name, str(limit)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("name", "configured"),
    [
        ("ingest 400 KB of NUL", INGEST),
        ("ingest 200,000 NULLs", INGEST),
        ("ingest 6 MB of small records", INGEST),
        ("ingest 400 levels", INGEST),
        ("flush full ndjson.gz", FLUSHER),
        ("flush full avro", FLUSHER),
        ("flush full parquet", FLUSHER),
        ("flush bomb to parquet", FLUSHER),
        ("read gzip bombs", INGEST),
    ],
)
def test_memory_stays_within_its_share(name: str, configured: int, record_property: pytest.FixtureRequest) -> None:
    result = run(name, int(configured * SHARE))
    assert result.returncode == 0, result.stderr[-2000:]
    peak = int(result.stdout)
    record_property("peak_mb", round(peak / MB))  # type: ignore[operator]
    print(f"{name}: peak {peak / MB:.0f} MB of {configured / MB:.0f} MB, {peak / configured:.0%}")
    assert peak <= configured * SHARE


def test_the_limit_bites() -> None:
    assert "MemoryError" in run("greedy", int(INGEST * SHARE)).stderr
