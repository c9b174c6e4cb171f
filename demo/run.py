"""`make demo`: the life of a real table, from DynamoDB to Delta, on this machine.

Starts the local stack, deploys template.yaml to it, lives the flights table there while the merge job streams the
batch files into silver, compares both sides with `lakebound verify`, and tells what happened.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from rich.console import Console

from demo.board import Board
from demo.flights import KEY_SCHEMA, SIZES, count_writes, writes_of
from demo.local_stack import Deployment, LocalStack, LocalStackError
from demo.measuring import Measured, measure, merged_by_file
from demo.merging import ROOT, MergeFailed, MergePaths, MergeProcess
from demo.mirroring import Mirror
from demo.writing import LANES, FlightWriter
from lakebound.adapters.s3 import S3Store
from lakebound.errors import LakeboundError

TABLE: Final = "flights"
FOLDER: Final = ROOT / ".demo"
CONFIG: Final = ROOT / "demo" / "flights.yaml"
BIN: Final = Path(sys.executable).parent

STALLED_SECONDS: Final = 120.0
"""Without any progress for so long, something is broken, and waiting longer would not tell what."""


class DemoFailed(Exception):
    """The demo cannot go on; the text says where to look."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a run leaves what it made."""

    folder: Path

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def silver(self) -> Path:
        return self.folder / "silver" / TABLE

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def kept(self) -> Path:
        """What is known of a stack that KEEP=1 left up."""
        return self.folder / "kept.json"

    def clear(self) -> None:
        """Remove what an earlier run left."""
        for made in (self.stack, self.files, self.silver.parent, self.checkpoint):
            shutil.rmtree(made, ignore_errors=True)
        self.kept.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. 0 when source and lake are equal, 1 when not or something failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="make demo", description="The life of a real table, from DynamoDB to Delta.")
    parser.add_argument("--size", choices=sorted(SIZES), default="demo")
    parser.add_argument("--keep", action="store_true", help="leave the local stack up")
    parser.add_argument("--stop", action="store_true", help="only end a stack that --keep left up")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything goes (%(default)s)")
    options = parser.parse_args(arguments)
    paths = Paths(options.folder.absolute())
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with alone(paths.folder):
            stopped = stop_kept(paths)
            if options.stop:
                console.print("stopped" if stopped else "nothing was running")
                return 0
            return live(options.size, paths, console, keep=options.keep)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running")
        return 130
    except (DemoFailed, MergeFailed, LocalStackError, LakeboundError) as failure:
        Console(stderr=True, highlight=False).print(f"demo: {failure}", markup=False)
        return 1


def live(size: str, paths: Paths, console: Console, *, keep: bool) -> int:
    """One whole run."""
    started = time.monotonic()
    paths.clear()
    total = count_writes(size)
    console.print(
        f"[bold]The flights that left New York in 2013[/]: {SIZES[size].told}, {total:,} writes\n", soft_wrap=True
    )
    with ExitStack() as ending, uninterrupted_ending():
        board = Board(console)
        board.bars({"written": total, "in files": total, "in silver": total})
        # Java takes its time to start: it does so while the stack is deployed.
        paths.files.mkdir(parents=True)
        job = MergeProcess(
            MergePaths(paths.files, paths.silver, paths.checkpoint, CONFIG, paths.folder / "merge.log"),
            merged=board.adder("in silver"),
        )
        ending.callback(job.kill)
        job.start()
        with board.step("start the local stack"):
            stack = ending.enter_context(LocalStack(paths.stack, outlive=keep))
        with board.step("sam build, sam deploy") as told:
            deployment = deploy(stack)
            told(f"{stack.endpoint}, {'built' if deployment.built else 'built before'}")

        store = S3Store(deployment.outputs["BucketName"], stack.client("s3"))
        mirror = Mirror(store, deployment.outputs["DataPrefix"], paths.files, copied=board.adder("in files"))
        ending.callback(mirror.stop)
        with board:
            mirror.start()
            sent_ms = write(stack, size, board)
            wait_until_quiet(stack, deployment, mirror, job, total)
            wait_until_merged(mirror, job)
        job.finish()
        mirror.stop()

        with board.step("lakebound verify"):
            equal, told_by_verify = verify(stack, deployment, paths)
        console.print(f"\n[bold]{told_by_verify}[/]\n")
        with board.step("measure"):
            merged_ms = merged_by_file(paths.checkpoint, paths.files, job.micro_batches)
            measured = measure(paths.files, mirror.files, sent_ms, merged_ms)
        with board.step("query silver"):
            query = Query.of(paths)
            answer = query.answer()
        messages = count_messages(stack, deployment)
        seconds = time.monotonic() - started
        summarise(console, paths, deployment, measured, messages, len(mirror.files), job, seconds)
        console.print(query.shown(), answer, sep="\n", markup=False, soft_wrap=True)
        if keep:
            paths.kept.write_text(json.dumps({"pid": stack.pid, "port": stack.port}))
            tell_kept(console, stack, deployment)
        else:
            console.print(f"\nThe stack is down again. Everything else is in {shown(paths.folder)}: remove it with")
            console.print(f"  rm -r {shown(paths.folder)}")
        return 0 if equal else 1


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────


def deploy(stack: LocalStack) -> Deployment:
    """The template with a table of its own, keyed as the flights are."""
    (partition, _, partition_type), (sort, _, sort_type) = KEY_SCHEMA
    return stack.deploy(
        {
            "TableName": TABLE,
            "PartitionKeyName": partition,
            "PartitionKeyType": partition_type,
            "SortKeyName": sort,
            "SortKeyType": sort_type,
        }
    )


def write(stack: LocalStack, size: str, board: Board) -> dict[str, list[int]]:
    """Make every write; when each was sent, by key."""
    client = stack.client(
        "dynamodb",
        config=Config(max_pool_connections=LANES, parameter_validation=False, retries={"mode": "standard"}),
    )
    writer = FlightWriter(TABLE, client, written=board.adder("written"))
    writer.write_all(writes_of(size))
    return writer.sent_ms


def wait_until_quiet(stack: LocalStack, deployment: Deployment, mirror: Mirror, job: MergeProcess, total: int) -> None:
    """Until every write is in a file that is mirrored, and the buffer queue is empty."""
    sqs = stack.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    for _ in progress_of(lambda: mirror.records, "no batch file was written", stack.log):
        mirror.check()
        job.check()
        answer = sqs.get_queue_attributes(QueueUrl=deployment.outputs["BufferQueueUrl"], AttributeNames=names)
        if mirror.records >= total and not any(int(answer["Attributes"][name]) for name in names):
            return


def wait_until_merged(mirror: Mirror, job: MergeProcess) -> None:
    """Until every mirrored file was taken by a micro-batch."""
    for _ in progress_of(lambda: job.files, "no file was merged", job.paths.log):
        mirror.check()
        job.check()
        if job.files == len(mirror.files):
            return


def progress_of(measure_it: Any, what: str, log: Path) -> Iterator[None]:
    """Ticks, as long as what is measured grows at times. Raises DemoFailed."""
    seen, since = measure_it(), time.monotonic()
    while True:
        yield
        time.sleep(0.25)
        now = measure_it()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_SECONDS:
            raise DemoFailed(f"{what} for {STALLED_SECONDS:.0f} seconds; look into {log}")


def verify(stack: LocalStack, deployment: Deployment, paths: Paths) -> tuple[bool, str]:
    """Run the command; whether it exits with 0, and what it says."""
    command = [
        *(str(BIN / "lakebound"), "verify"),
        *("--table", TABLE),
        *("--target", str(paths.silver)),
        *("--queue", deployment.outputs["BufferQueueUrl"]),
        *("--files", str(paths.files)),
        *("--lag", "5", "--limit", "60"),
    ]
    done = run(command, env=os.environ | stack.env())
    if done.returncode not in (0, 1) or not done.stdout:
        raise DemoFailed(f"lakebound verify ended with status {done.returncode}\n{done.stderr}")
    return done.returncode == 0, done.stdout.strip()


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; it does not outlive this process."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


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


def summarise(
    console: Console,
    paths: Paths,
    deployment: Deployment,
    measured: Measured,
    messages: int,
    files: int,
    job: MergeProcess,
    seconds: float,
) -> None:
    """The table at the end."""
    twice = f", {measured.duplicates:,} of them twice" if measured.duplicates else ""
    rows = {
        "records": f"{measured.records:,}{twice}",
        "messages": f"{messages:,}, {measured.records / max(1, messages):,.0f} records each",
        "batch files": f"{files:,}, {measured.file_bytes / 1e6:,.1f} MB, "
        f"{measured.file_bytes / files / 1e3:,.0f} kB each",
        "bytes per record": f"{measured.file_bytes / measured.records:,.0f} in files, "
        f"{measured.line_bytes / measured.records:,.0f} unpacked",
        "change to file": f"p50 {measured.to_file.p50:.1f} s, p99 {measured.to_file.p99:.1f} s",
        "change to silver": f"p50 {measured.to_silver.p50:.1f} s, p99 {measured.to_silver.p99:.1f} s",
        "merge job": f"{len(job.micro_batches):,} micro-batches, {job.totals}",
        "whole run": f"{seconds:.0f} s",
        "bucket": f"{deployment.outputs['MergeSource']}, mirrored in {shown(paths.files)}",
        "Delta table": shown(paths.silver),
    }
    if measured.unmatched:
        rows["not timed"] = f"{measured.unmatched:,} keys have other than one record a write"
    for name, value in rows.items():
        console.print(f"{name:<17} {value}", markup=False, soft_wrap=True)
    console.print()


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


def shown(path: Path) -> str:
    """A path as a person here would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


# ── starting and ending ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one demo at a time in a folder. Raises DemoFailed when there is another."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another demo runs in {folder}; wait for it or stop it") from None
        yield


@contextmanager
def uninterrupted_ending() -> Iterator[None]:
    """When what is inside ends, for whatever reason, a second Ctrl-C must not leave half of it running."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def stop_kept(paths: Paths) -> bool:
    """End the stack that an earlier run left up, if it still is. Whether there was one."""
    try:
        kept = json.loads(paths.kept.read_text())
    except FileNotFoundError:
        return False
    paths.kept.unlink()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{kept['port']}/_ministack/health", timeout=2):
            os.killpg(kept["pid"], signal.SIGTERM)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
