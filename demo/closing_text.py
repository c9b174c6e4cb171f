"""What the demo tells at its end: figures, a query of `_live`, and how to go on from there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from demo.backfill_run import FinishedRun
from demo.commands import BIN, LAKEBOUND, DemoFailed, run
from demo.local_stack import ROOT, STACK_NAME, Deployment, LocalStack
from demo.measurements import Measured
from demo.merge_process import JOB as MERGE
from demo.paths import CONFIG, TABLE, Paths, shown
from lakebound.counts import count_text

ONE_MORE_KEY: Final = "flight_date=N:20130208|flight_id=S:UA1545#EWR"
"""The canonical key of the item that the closing text changes."""
_CHANGE: Final = (
    *("--key", '{"flight_id": {"S": "UA1545#EWR"}, "flight_date": {"N": "20130208"}}'),
    *("--update-expression", "SET dep_delay = :minutes"),
    *("--expression-attribute-values", '{":minutes": {"N": "99"}}'),
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query of `_live` as a person would paste it."""

    command: tuple[str, ...]

    @staticmethod
    def of(paths: Paths) -> Query:
        sql = (
            "SELECT airline, count(*) AS flown, round(avg(dep_delay), 1) AS minutes_late "
            "FROM live GROUP BY airline ORDER BY flown DESC, airline LIMIT 5"
        )
        return Query((shown(Path(LAKEBOUND)), "query", "--target", shown(paths.silver), sql))

    def answer(self) -> str:
        """What the command prints. Raises DemoFailed."""
        done = run((LAKEBOUND, *self.command[1:]))
        if done.returncode != 0:
            raise DemoFailed(f"the query of _live failed\n{done.stderr[-2000:]}")
        return done.stdout.rstrip()

    def shown(self) -> str:
        """The command, to paste."""
        return shlex.join(self.command)


def summary(paths: Paths, deployment: Deployment, measured: Measured, files: int, messages: int) -> dict[str, str]:
    """The table at the end, by what each line tells of."""
    streamed = measured.records - measured.base
    twice = f", {measured.duplicates:,} of them twice" if measured.duplicates else ""
    rows = {
        "records": f"{streamed:,} of the stream{twice}, {measured.base:,} of the backfill",
        "messages": f"{messages:,}, {count_text(round(streamed / max(1, messages)), 'record')} each",
        "batch files": f"{files:,}, {measured.file_bytes / 1e6:,.1f} MB, "
        f"{measured.file_bytes / files / 1e3:,.0f} kB each",
        "bytes per record": f"{measured.file_bytes / measured.records:,.0f} in files, "
        f"{measured.line_bytes / measured.records:,.0f} unpacked",
        "change to file": f"p50 {measured.to_file.p50:.1f} s, p99 {measured.to_file.p99:.1f} s",
        "change to _live": f"p50 {measured.to_live.p50:.1f} s, p99 {measured.to_live.p99:.1f} s",
        "bucket": f"{deployment.outputs['MergeSource']}, mirrored in {shown(paths.files)}",
        "Delta table": shown(paths.silver),
        "report": f"{shown(paths.report)}, for a browser",
    }
    if measured.unmatched:
        rows["not timed"] = f"{count_text(measured.unmatched, 'key', 'has', 'have')} other than one record a write"
    return rows


def backfill_summary(filled: FinishedRun, sent_ms: Mapping[str, Sequence[int]]) -> str:
    """The backfill's line."""
    seconds = (filled.ended_ms - filled.began_ms) / 1000
    beside = filled.writes_beside(sent_ms)
    return (
        f"{count_text(filled.records, 'record')} in {count_text(filled.result['files'], 'file')}, {seconds:.0f} s, "
        f"beside {count_text(beside, 'write')}"
    )


@dataclass(frozen=True, slots=True)
class Step:
    """A command to paste from the folder of the project, and what it is for."""

    command: tuple[str, ...]
    purpose: str

    def shown(self) -> str:
        """The command, as a shell takes it."""
        return shlex.join(self.command)


@dataclass(frozen=True, slots=True)
class NextSteps:
    """What to try on a stack that is left up, in the order to try it."""

    one_more: tuple[Step, ...]
    """One more change, from the table into silver."""
    operate: tuple[Step, ...]
    """What an operator would ask."""
    explore: tuple[Step, ...]
    """The AWS CLI. Only commands that its versions 1 and 2 share."""

    @staticmethod
    def of(paths: Paths, deployment: Deployment) -> NextSteps:
        lakebound, python = shown(Path(LAKEBOUND)), shown(BIN / "python")
        stack = ("--stack", STACK_NAME)
        silver, files, source = shown(paths.silver), shown(paths.files), deployment.outputs["MergeSource"]
        job = {"source": paths.files, "checkpoint": paths.checkpoint, "target": paths.silver, "config": CONFIG}
        return NextSteps(
            one_more=(
                Step(("aws", "dynamodb", "update-item", "--table-name", TABLE, *_CHANGE), "change an item"),
                Step((lakebound, "trace", ONE_MORE_KEY, *stack), "its records, once they are in a file"),
                Step((lakebound, "files", "mirror", source, files), "copy the new file"),
                Step(
                    (python, shown(MERGE), *(word for name, at in job.items() for word in (f"--{name}", shown(at)))),
                    "merge it into silver, and what waits in _changes",
                ),
                Step((lakebound, "verify", *stack, "--target", silver, "--files", files, "--lag", "5"), "equal again?"),
            ),
            operate=(
                Step(
                    (lakebound, "status", *stack),
                    "is it whole and in time? (UNKNOWN here: the local stack counts no deliveries)",
                ),
                Step((lakebound, "doctor", *stack), "is everything set as it has to be?"),
                Step((lakebound, "backfill", "list", *stack), "the runs, and how they ended"),
                Step((lakebound, "dlq", "list", "--from", "buffer", *stack), "does anything wait for a person?"),
                Step((lakebound, "report", *stack, "--out", shown(paths.report)), "the page again, as things are now"),
            ),
            explore=(
                Step(("aws", "dynamodb", "scan", "--table-name", TABLE, "--max-items", "1"), "an item"),
                Step(("aws", "s3", "ls", "--recursive", f"{source}/"), "the batch files"),
                # `aws logs tail` exists in version 2 only.
                Step(
                    (
                        *(
                            "aws",
                            "logs",
                            "filter-log-events",
                            "--log-group-name",
                            deployment.outputs["FlusherLogGroup"],
                        ),
                        *("--limit", "5", "--no-paginate", "--query", "events[].message", "--output", "text"),
                    ),
                    "what the flusher says",
                ),
            ),
        )


def print_next_steps(console: Console, stack: LocalStack, steps: NextSteps) -> None:
    """How to explore the stack that is left up, and how to end it."""

    def tell(title: str, some: Sequence[Step]) -> None:
        console.print(f"\n{title}")
        for step in some:
            console.print(f"  # {step.purpose}\n  {step.shown()}", markup=False, soft_wrap=True)

    exports = " ".join(f"{name}={value}" for name, value in stack.env().items())
    console.print(f"\nThe stack is up at {stack.endpoint}. In this folder, point the commands at it:")
    console.print(f"  export {exports}", markup=False, soft_wrap=True)
    tell("One more change, all the way to silver:", steps.one_more)
    tell("What an operator asks:", steps.operate)
    tell("A look around with the AWS CLI (version 1 or 2):", steps.explore)
    console.print("\nEnd it with")
    console.print(f"  cd {ROOT} && .venv/bin/python -m demo.run --stop", markup=False, soft_wrap=True)


def count_messages(stack: LocalStack, deployment: Deployment) -> int:
    """Messages that stream_ingest sent, from its log."""
    pages = stack.client("logs").get_paginator("filter_log_events")
    count = 0
    for page in pages.paginate(logGroupName=deployment.outputs["StreamIngestLogGroup"]):
        for event in page["events"]:
            line = event["message"].strip()
            if line.startswith("{"):
                count += json.loads(line).get("messages", 0)
    return count
