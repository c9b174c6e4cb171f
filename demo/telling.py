"""What the demo tells at its end: figures, a query of silver, and how to go on from there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from demo.backfilling import Ended
from demo.commands import BIN, DemoFailed, run
from demo.local_stack import ROOT, Deployment, LocalStack
from demo.measuring import Measured
from demo.paths import TABLE, Paths, shown


@dataclass(frozen=True, slots=True)
class Query:
    """A query of silver as a person would paste it."""

    command: tuple[str, ...]

    @staticmethod
    def of(paths: Paths) -> Query:
        sql = (
            "SELECT airline, count(*) AS flown, round(avg(dep_delay), 1) AS minutes_late "
            f"FROM delta.`{paths.silver}` WHERE NOT _is_deleted "
            "GROUP BY airline ORDER BY flown DESC, airline LIMIT 5"
        )
        code = f'from lakebound_spark.session import local_session; local_session("look").sql("{sql}").show()'
        return Query((shown(BIN / "python"), "-c", code))

    def answer(self) -> str:
        """What the command prints. Raises DemoFailed."""
        done = run(self.command)
        if done.returncode != 0:
            raise DemoFailed(f"the query of silver failed\n{done.stderr[-2000:]}")
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
        "messages": f"{messages:,}, {streamed / max(1, messages):,.0f} records each",
        "batch files": f"{files:,}, {measured.file_bytes / 1e6:,.1f} MB, "
        f"{measured.file_bytes / files / 1e3:,.0f} kB each",
        "bytes per record": f"{measured.file_bytes / measured.records:,.0f} in files, "
        f"{measured.line_bytes / measured.records:,.0f} unpacked",
        "change to file": f"p50 {measured.to_file.p50:.1f} s, p99 {measured.to_file.p99:.1f} s",
        "change to silver": f"p50 {measured.to_silver.p50:.1f} s, p99 {measured.to_silver.p99:.1f} s",
        "bucket": f"{deployment.outputs['MergeSource']}, mirrored in {shown(paths.files)}",
        "Delta table": shown(paths.silver),
        "report": f"{shown(paths.report)}, for a browser",
    }
    if measured.unmatched:
        rows["not timed"] = f"{measured.unmatched:,} keys have other than one record a write"
    return rows


def told_of(filled: Ended, sent_ms: Mapping[str, Sequence[int]]) -> str:
    """The backfill's line."""
    seconds = (filled.ended_ms - filled.began_ms) / 1000
    beside = filled.writes_beside(sent_ms)
    return f"{filled.records:,} records in {filled.result['files']:,} files, {seconds:.0f} s, beside {beside:,} writes"


def tell_kept(console: Console, stack: LocalStack, deployment: Deployment) -> None:
    """How to explore the stack that is left up, and how to end it."""
    exports = " ".join(f"{name}={value}" for name, value in stack.env().items())
    console.print(f"\nThe stack is up at {stack.endpoint}. Look around with the AWS CLI:")
    for line in (
        f"export {exports}",
        f"aws dynamodb scan --table-name {TABLE} --max-items 1",
        f"aws s3 ls --recursive {deployment.outputs['MergeSource']}/",
        f"aws logs tail {deployment.outputs['FlusherLogGroup']}",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print("and end it with")
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


# ── telling ─────────────────────────────────────────────────────────────────────────────────────────────────
