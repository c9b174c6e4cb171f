"""Run every check and every test in parts, and end with a table of what each part took; `make test` calls it.

A part that fails does not keep the next ones from running: one run says everything. Exit status 1 when any failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / ".build" / "reports"
SIMULATION = "tests/simulation"
QUICK = "not spark and not stack and not soak"
HOMES = {"spark": ("spark", "e2e"), "stack": ("e2e", "killed", "local_stack", "release", "template", "wheel")}
"""The folders whose tests bear a mark. Their part collects no others: reading all of them takes a process 12 s."""


@dataclass(frozen=True, slots=True)
class Part:
    """One pytest run with its share of the time, in minutes on 2 cores."""

    name: str
    share: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a part came to. `passed` and `failed` count tests; a check that is no test counts as neither."""

    name: str
    share: int
    seconds: float
    ok: bool
    passed: int = 0
    failed: int = 0


def parts() -> list[Part]:
    """The parts in the order in which they run, quick ones first."""
    found = [
        Part(
            "unit and properties",
            3,
            ("-n", "2", "-m", QUICK, "--ignore", SIMULATION, "--ignore", "tests/spark", "tests"),
        )
    ]
    if (ROOT / SIMULATION).exists():
        found.append(Part("simulation", 4, ("-n", "2", "-m", QUICK, SIMULATION)))
    # Two sessions, for a third costs more to start than it gains; with whole files: a file's tests share its tables.
    apart = ("-n", "2", "--dist", "loadfile")
    found.append(Part("Spark", 8, (*apart, "-m", "spark and not stack and not soak", *homes("spark"))))
    # Two processes, for a stack waits as often as it works; with whole folders, for the demo's run serves two files.
    beside = ("-n", "2", "--dist", "loadscope")
    found.append(Part("local stack", 4, (*beside, "-m", "stack and not soak", *homes("stack"))))
    return found


def homes(mark: str) -> list[str]:
    return [f"tests/{folder}" for folder in HOMES[mark]]


def run_check() -> Outcome:
    started = time.monotonic()
    status = subprocess.run(["make", "--no-print-directory", "check"], cwd=ROOT, check=False).returncode
    return Outcome("checks", 1, time.monotonic() - started, status == 0)


def run_part(part: Part) -> Outcome:
    report = REPORTS / f"{part.name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *part.arguments]
    print(f"\n── {part.name} ──", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - started
    passed, failed = counts(report)
    # A part without a test (pytest's status 5) is a hole, not a success.
    return Outcome(part.name, part.share, seconds, status == 0, passed, failed)


def counts(report: Path) -> tuple[int, int]:
    """Passed and failed tests of a JUnit report; a test that was skipped counts as failed, for none may be."""
    if not report.exists():
        return 0, 0
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total = sum(int(suite.get("tests", 0)) for suite in suites)
    failed = sum(int(suite.get(kind, 0)) for suite in suites for kind in ("failures", "errors", "skipped"))
    return total - failed, failed


def table(outcomes: Sequence[Outcome]) -> str:
    lines = [f"{'part':<22}{'tests':>7}{'minutes':>9}{'share':>7}"]
    for one in outcomes:
        tests = str(one.passed + one.failed) if one.passed or one.failed else ""
        word = "" if one.ok else f"  FAILED{f' ({one.failed})' if one.failed else ''}"
        lines.append(f"{one.name:<22}{tests:>7}{one.seconds / 60:>9.2f}{one.share:>7}{word}")
    total = sum(one.seconds for one in outcomes) / 60
    lines.append(f"{'all':<22}{'':>7}{total:>9.2f}{sum(one.share for one in outcomes):>7}")
    return "\n".join(lines)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    arguments.add_argument("--setup-seconds", type=float, default=0.0, help="what `make setup` took before this")
    given = arguments.parse_args()
    REPORTS.mkdir(parents=True, exist_ok=True)
    outcomes = [Outcome("setup", 5, given.setup_seconds, True), run_check()]
    outcomes += [run_part(part) for part in parts()]
    print(f"\n{table(outcomes)}\n")
    print(f"{sum(one.passed for one in outcomes)} passed, {sum(one.failed for one in outcomes)} failed")
    return 0 if all(one.ok and not one.failed for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
