"""`make demo`: the life of a real table, from DynamoDB to Delta, on this machine.

Starts the local stack and lives the first part of the flights table there, without a stream. Then enables the stream,
deploys template.yaml and lives the rest, while a backfill reads what was there before and the merge job streams the
batch files into silver. Compares both sides with `lakebound verify`, and tells what happened.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from rich.console import Console

from demo.backfill_run import MARGIN_SECONDS, Backfill, estimate
from demo.board import Board
from demo.closing_text import NextSteps, Query, backfill_summary, count_messages, print_next_steps, summary
from demo.commands import LAKEBOUND, DemoFailed, run
from demo.file_mirror import Mirror
from demo.flight_writer import LANES, FlightWriter
from demo.flights import SIZES, Write, count_writes, writes_of
from demo.local_stack import STACK_NAME, WINDOWS, Deployment, LocalStack, LocalStackError, local_parameters
from demo.measurements import Measured, measure, shown_by_file
from demo.merge_process import MERGE_EVERY, ROOT, MergeFailed, MergePaths, MergeProcess
from demo.paths import CONFIG, TABLE, Paths, shown
from demo.table import enable_stream, make_table
from lakebound.adapters.executions import Machine
from lakebound.adapters.s3 import S3Store
from lakebound.counts import count_text
from lakebound.errors import LakeboundError

FOLDER: Final = ROOT / ".demo"

WRITES_A_SECOND: Final = 500
"""Writes while the stream is read. The local stack's one process makes writes and reads the stream: asked for all the
writes that it can make, it would read nothing for half a minute."""

STALLED_SECONDS: Final = 120.0
"""Without any progress for so long, something is broken, and waiting longer would not tell what."""


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


@dataclass(frozen=True, slots=True)
class Life:
    """The writes of a size, cut where the stream is enabled: two in five come before."""

    size: str
    writes: int

    @staticmethod
    def of(size: str) -> Life:
        return Life(size, count_writes(size))

    @property
    def before(self) -> int:
        """Writes that no stream tells of."""
        return self.writes * 2 // 5

    @property
    def streamed(self) -> int:
        """Writes after the stream was enabled: each makes one stream record."""
        return self.writes - self.before

    def first(self) -> Iterator[Write]:
        """The writes before."""
        return islice(writes_of(self.size), self.before)

    def rest(self, backfill: Backfill) -> Iterator[Write]:
        """The writes after. The last tenth waits for the end of the backfill, so that there are some after it, too."""
        for number, write in enumerate(islice(writes_of(self.size), self.before, None)):
            if number == self.streamed * 9 // 10:
                backfill.ended()
            yield write


def live(size: str, paths: Paths, console: Console, *, keep: bool) -> int:
    """One whole run."""
    started = time.monotonic()
    paths.clear()
    life = Life.of(size)
    console.print(
        f"[bold]The flights that left New York in 2013[/]: {SIZES[size].told}, {count_text(life.writes, 'write')}\n",
        soft_wrap=True,
    )
    with ExitStack() as ending, uninterrupted_ending():
        board = Board(console)
        board.bars({"written": life.streamed, "in files": life.streamed, "in _live": life.streamed})
        # Java takes its time to start: it does so while the stack is deployed.
        paths.files.mkdir(parents=True)
        job = MergeProcess(
            MergePaths(paths.files, paths.silver, paths.checkpoint, CONFIG, paths.folder / "merge.log"),
            visible=board.adder("in _live"),
        )
        ending.callback(job.kill)
        job.start()
        with board.step("start the local stack"):
            stack = ending.enter_context(LocalStack(paths.stack, outlive=keep))
        with board.step("fill the table, sam build") as told:
            filled_items = fill(stack, life, ending)
            built = build(stack)
            items = filled_items()
            told(f"{count_text(life.before, 'write')}, {count_text(items, 'item')}, no stream")
            told("built" if built else "built before")
        with board.step("enable the stream"):
            stream = enable_stream(stack.client("dynamodb"), TABLE)
        with board.step("sam deploy") as told:
            deployment = deploy(stack, stream)
            told(stack.endpoint)
        with board.step("lakebound backfill estimate"):
            estimated = estimate(os.environ | stack.env())
        console.print(estimated, markup=False, soft_wrap=True)
        console.print()

        store = S3Store(deployment.outputs["BucketName"], stack.client("s3"))
        mirror = Mirror(store, deployment.outputs["DataPrefix"], paths.files, copied=board.adder("in files"))
        ending.callback(mirror.stop)
        machine = Machine(deployment.outputs["BackfillMachineArn"], stack.client("stepfunctions"))
        backfill = Backfill(machine, os.environ | stack.env(), said=lambda line: board.say(f"backfill: {line}"))
        ending.callback(backfill.stop)
        for bar in ("in files", "in _live"):
            board.total(bar, life.streamed + items)
        with board:
            mirror.start()
            backfill.start()
            writer = writer_of(stack, written=board.adder("written"), a_second=WRITES_A_SECOND)
            writer.write_all(life.rest(backfill))
            sent_ms = writer.sent_ms
            filled = backfill.ended()
            for bar in ("in files", "in _live"):
                board.total(bar, life.streamed + filled.records)
            wait_until_quiet(stack, deployment, mirror, job, {"stream": life.streamed, "scan": filled.records})
            wait_until_visible(mirror, job)
        job.finish()
        mirror.stop()

        with board.step("lakebound verify"):
            equal, told_by_verify = verify(stack, deployment, paths)
        console.print(f"\n[bold]{told_by_verify}[/]\n")
        with board.step("measure"):
            shown_ms = shown_by_file(paths.checkpoint, paths.files, job.micro_batches)
            measured = measure(paths.files, mirror.files, sent_ms, shown_ms)
        with board.step("lakebound report") as told:
            report(stack, paths, measured)
            told(shown(paths.report))
        with board.step("lakebound query"):
            query = Query.of(paths)
            answer = query.answer()
        rows = summary(paths, deployment, measured, len(mirror.files), count_messages(stack, deployment))
        rows["backfill"] = backfill_summary(filled, sent_ms)
        rows["merge job"] = f"{job.told}, {job.totals}"
        rows["windows"] = f"{WINDOWS}; a MERGE {MERGE_EVERY} after the one before"
        rows["whole run"] = f"{time.monotonic() - started:.0f} s"
        for name, value in rows.items():
            console.print(f"{name:<17} {value}", markup=False, soft_wrap=True)
        console.print()
        console.print(query.shown(), answer, sep="\n", markup=False, soft_wrap=True)
        if keep:
            paths.kept.write_text(json.dumps({"pid": stack.pid, "port": stack.port}))
            print_next_steps(console, stack, NextSteps.of(paths, deployment))
        else:
            console.print(f"\nThe stack is down again. Everything else is in {shown(paths.folder)}: remove it with")
            console.print(f"  rm -r {shown(paths.folder)}")
            console.print("To leave the stack up and go on with it (one more change, status, trace, verify):")
            console.print("  make demo KEEP=1")
        return 0 if equal else 1


# ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────


def fill(stack: LocalStack, life: Life, ending: ExitStack) -> Callable[[], int]:
    """Make the table and begin to live its first part; the returned function waits, and tells how many items it holds.

    `ending` ends the writes, however the run ends.
    """
    client = stack.client("dynamodb")
    make_table(client, TABLE)
    writer = writer_of(stack, written=lambda count: None, a_second=None)
    filling = ending.enter_context(ThreadPoolExecutor(1)).submit(writer.write_all, life.first())
    ending.callback(writer.stop)

    def filled_items() -> int:
        filling.result()
        return int(client.describe_table(TableName=TABLE)["Table"]["ItemCount"])

    return filled_items


def build(stack: LocalStack) -> bool:
    """`sam build`, which needs no table yet; whether there was no build to use again."""
    known = local_parameters()
    return stack.build(known["Runtime"], known["Architecture"])[1]


def deploy(stack: LocalStack, stream: str) -> Deployment:
    """The template for the table that is there, and its stream."""
    return stack.deploy({"TableName": TABLE, "TableStreamArn": stream, "SnapshotMarginSeconds": str(MARGIN_SECONDS)})


def writer_of(stack: LocalStack, *, written: Callable[[int], None], a_second: int | None) -> FlightWriter:
    """A writer to the table: at most so many writes a second, each count of them told to `written`."""
    client = stack.client(
        "dynamodb",
        config=Config(max_pool_connections=LANES, parameter_validation=False, retries={"mode": "standard"}),
    )
    return FlightWriter(TABLE, client, written=written, a_second=a_second)


def wait_until_quiet(
    stack: LocalStack, deployment: Deployment, mirror: Mirror, job: MergeProcess, wanted: Mapping[str, int]
) -> None:
    """Until so many records of each origin are in files that are mirrored, and the buffer queue is empty."""
    sqs = stack.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    for _ in progress_of(lambda: sum(mirror.records.values()), "no batch file was written", stack.log):
        mirror.check()
        job.check()
        answer = sqs.get_queue_attributes(QueueUrl=deployment.outputs["BufferQueueUrl"], AttributeNames=names)
        there = all(mirror.records[origin] >= count for origin, count in wanted.items())
        if there and not any(int(answer["Attributes"][name]) for name in names):
            return


def wait_until_visible(mirror: Mirror, job: MergeProcess) -> None:
    """Until every mirrored file was taken by a micro-batch, and so is visible in `_live`."""
    for _ in progress_of(lambda: job.files, "no file was taken", job.paths.log):
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
        *(LAKEBOUND, "verify"),
        *("--table", TABLE),
        *("--target", str(paths.silver)),
        *("--queue", deployment.outputs["BufferQueueUrl"]),
        *("--files", str(paths.files)),
        *("--lag", "5", "--limit", "60"),
        *("--out", str(paths.verified)),
    ]
    done = run(command, env=os.environ | stack.env())
    if done.returncode not in (0, 1) or not done.stdout:
        raise DemoFailed(f"lakebound verify ended with status {done.returncode}\n{done.stderr}")
    return done.returncode == 0, done.stdout.strip()


def report(stack: LocalStack, paths: Paths, measured: Measured) -> None:
    """Run the command, while the stack is still there to be looked at. Raises DemoFailed."""
    latency = f"{measured.to_live.p50:.1f},{measured.to_live.p99:.1f}"
    command = [
        *(LAKEBOUND, "report"),
        *("--stack", STACK_NAME),
        *("--out", str(paths.report)),
        *("--verification", str(paths.verified)),
        *("--latency", latency),
    ]
    done = run(command, env=os.environ | stack.env())
    if done.returncode != 0:
        raise DemoFailed(f"lakebound report ended with status {done.returncode}\n{done.stderr}")


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
