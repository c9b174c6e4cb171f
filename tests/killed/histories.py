"""One history through real processes: writes, deliveries, flushes and a backfill; one invocation is killed on the way.

The platform is played here (the stream mapping's checkpoint, the queue mapping, the state machine's retries); the
handlers are processes of their own over HTTP. Everything is drawn from the seed, so the side effects of a history have
numbers, and the same history can be lived again with another one of them as the last thing that a process does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from demo.local_stack import LocalStack
from lakebound.backfill.manifest import Manifest
from lakebound.transport.object_keys import QUARANTINE
from tests.killed.tables import Served, served
from tests.simulation.choices import Choices
from tests.simulation.ledger import Entry, Ledger
from tests.simulation.source import TABLE, Stream, Table
from tests.simulation.turns import Violated
from tests.support.registers import Silver, chain_breaks
from tests.support.state_machine import start

ROOT: Final = Path(__file__).resolve().parents[2]
FUNCTIONS: Final = ("stream_ingest", "flusher", "backfill")
PREFIX: Final = f"ddb/{TABLE}"
DAY_MS: Final = 86_400_000
ROUNDS: Final = 60
"""Deliveries of one thing after which it counts as stuck."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL just before or just after the side effect of that number, counted over the whole history from 1."""

    number: int
    moment: str


class Sandbox:
    """One function's process."""

    def __init__(self, function: str, environment: dict[str, str], edits: Sequence[str] = ()) -> None:
        self.function = function
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.killed.sandbox", function, *edits],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def invoke(self, event: dict[str, Any], kill: tuple[int, str] | None) -> dict[str, Any]:
        """One invocation in a child process: see `tests.killed.sandbox`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"event": event, "seconds": 60, "kill": kill}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox of {self.function} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Machine:
    """This machine's services: a bucket and queues of MiniStack, the table of `tests.killed.tables`, the sandboxes."""

    def __init__(self, stack: LocalStack, table: Served, sandboxes: dict[str, Sandbox], url: str, dead: str) -> None:
        self.s3 = stack.client("s3")
        self.sqs = stack.client("sqs")
        self.table = table
        self.sandboxes = sandboxes
        self.url = url
        self.dead = dead

    def clear(self) -> None:
        for key in self.keys():
            self.s3.delete_object(Bucket="lake", Key=key)
        for url in (self.url, self.dead):
            self.sqs.purge_queue(QueueUrl=url)

    def keys(self, prefix: str = "") -> dict[str, str]:
        """Every object's ETag by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix)
        return {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}

    def body(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket="lake", Key=key)["Body"].read())


@contextmanager
def machine(folder: Path, careless: str = "") -> Iterator[Machine]:
    """Everything started; `careless` is an edit of `tests.killed.sandbox`."""
    with ExitStack() as exits:
        stack = exits.enter_context(LocalStack(folder))
        table = exits.enter_context(served())
        stack.client("s3").create_bucket(Bucket="lake")
        sqs = stack.client("sqs")
        dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 10})
        # Longer than any history, so nothing comes back but by `Lived.pass_visibility`.
        attributes = {"VisibilityTimeout": "600", "RedrivePolicy": redrive}
        url = sqs.create_queue(QueueName="buffer", Attributes=attributes)["QueueUrl"]
        environment = stack.env() | {
            "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{table.port}",
            "TABLE_NAME": TABLE,
            "S3_BUCKET": "lake",
            "QUEUE_URL": url,
            "DEAD_LETTER_QUEUE_URL": dead,
            "MESSAGE_BYTES": "65536",
            "MAX_SECONDS": "0",
            "MAX_RECORDS": "3",
            "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
            "POWERTOOLS_SERVICE_NAME": "killed",
            "POWERTOOLS_LOG_LEVEL": "CRITICAL",
            # A crash leaves no metrics, and Powertools says so each time.
            "PYTHONWARNINGS": "ignore",
        }
        sandboxes = {}
        for function in FUNCTIONS:
            sandboxes[function] = Sandbox(function, environment, [careless] if careless else [])
            exits.callback(sandboxes[function].close)
        yield Machine(stack, table, sandboxes, url, dead)


class SandboxGone(Exception):
    """What Step Functions sees of a killed function."""


SandboxGone.__name__ = "Runtime.ExitError"


@dataclass
class Lived:
    """One history. `effects` are its side effects in order; `killed` the one that was a process's last."""

    machine: Machine
    seed: int
    writes: int = 12
    kill: Kill | None = None
    effects: list[str] = field(default_factory=list)
    killed: str = ""
    kills: int = 0

    def live(self) -> Lived:
        """Live it and check every promise at its end. Raises Violated."""
        self.machine.clear()
        self.choices = Choices(self.seed)
        self.choices.begin_step()
        self.table = Table(self.choices, keys=6, composite=bool(self.choices.below(2)))
        self.machine.table.table = self.table
        self.ledger = Ledger(PREFIX)
        self.known: dict[str, str] = {}
        self.receipts: dict[str, None] = {}
        self._fill()
        # The stream is older than any wait of the backfill; its records carry the time of their writes.
        self.table.stream = Stream(self._now() - DAY_MS, len(self.table.keys), 1, 10**20)
        self._write(self.writes)
        self._deliver()
        self._flush()
        self.result = start(self._backfill, {"segments": 2}, name="run-1").run()
        self._write(3)
        self._deliver()
        self._flush()
        self._check()
        return self

    @staticmethod
    def _now() -> int:
        return time.time_ns() // 1_000_000

    def _fill(self) -> None:
        """Items from before the stream: only the backfill tells of them."""
        for number in range(len(self.table.keys)):
            self.table.write(number, self.table.new_image(number, self.choices.below(3)), self._now(), 0, ttl=False)

    def _write(self, writes: int) -> None:
        table, draw = self.table, self.choices.below
        for position in range(writes):
            number = draw(len(table.keys) - 2)
            if position == 3:
                poison = table.forge(number, draw(3), self._now(), unnumbered=False)
                assert poison is not None
                self.ledger.written(poison)
            image = None if number in table.items and not draw(4) else table.new_image(number, draw(3))
            if position == 5:
                # Over MESSAGE_BYTES even compressed: it goes by claim check.
                image = table.new_image(number, 0)
                noise = Choices(self.seed * 1_000 + position)
                noise.begin_step()
                image["long"] = {"S": "".join(chr(33 + noise.below(90)) for _ in range(90_000))}
            entry = table.write(number, image, self._now(), 0, ttl=False)
            if entry is not None:
                self.ledger.written(entry)

    def _invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any] | None:
        """One invocation; None when its process was killed."""
        kill = None
        if self.kill is not None and not self.kills and self.kill.number > len(self.effects):
            kill = (self.kill.number - len(self.effects), self.kill.moment)
        done = self.machine.sandboxes[function].invoke(event, kill)
        self.effects += [f"{function} {effect}" for effect in done["effects"]]
        self.receipts |= dict.fromkeys(done["receipts"])
        self._nothing_replaced()
        if done["killed"]:
            self.kills += 1
            self.killed = self.effects[-1]
            self._conserved(f"{function} was killed {kill and kill[1]} {done['effects'][-1]}")
            return None
        return done

    def _deliver(self) -> None:
        """The stream mapping: from its checkpoint, up to 5 records; what is not acknowledged is delivered again."""
        assert self.table.stream is not None
        for shard in self.table.stream.shards:
            for lane in shard.lanes:
                for _ in range(ROUNDS):
                    batch = lane.entries[lane.position : lane.position + 5]
                    if not batch:
                        break
                    self._delivery(lane, batch)
                else:
                    raise Violated("the stream is stuck")

    def _delivery(self, lane: Any, batch: list[Entry]) -> None:
        for entry in batch:
            entry.delivered = True
        done = self._invoke("stream_ingest", {"Records": [entry.record for entry in batch]})
        if done is None:
            return
        if "error" in done:
            raise Violated(f"stream_ingest raised {done['error']}")
        failed = [one["itemIdentifier"] for one in done["answer"]["batchItemFailures"]]
        numbers = [entry.record["dynamodb"].get("SequenceNumber") for entry in batch]
        to = min((numbers.index(one) for one in failed), default=len(batch))
        for entry in batch[:to]:
            entry.acknowledged = True
        lane.position += to

    def _flush(self) -> None:
        """The queue mapping, two messages a delivery, until the queue holds none; the flusher takes more by itself."""
        sqs, url = self.machine.sqs, self.machine.url
        for _ in range(ROUNDS):
            received = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=2, MessageSystemAttributeNames=["ApproximateReceiveCount"]
            ).get("Messages", [])
            if not received:
                if not self._waiting():
                    return
                self.pass_visibility()
                continue
            self.receipts |= dict.fromkeys(one["ReceiptHandle"] for one in received)
            records = [
                {
                    "messageId": one["MessageId"],
                    "receiptHandle": one["ReceiptHandle"],
                    "body": one["Body"],
                    "attributes": {"ApproximateReceiveCount": one["Attributes"]["ApproximateReceiveCount"]},
                }
                for one in received
            ]
            done = self._invoke("flusher", {"Records": records})
            if done is None:
                continue
            if "error" in done:
                raise Violated(f"the flusher raised {done['error']}")
            failed = {one["itemIdentifier"] for one in done["answer"]["batchItemFailures"]}
            done_with = [one for one in received if one["MessageId"] not in failed]
            if done_with:
                # A receipt of a message that is gone is an entry's failure here, and a success in SQS.
                entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(done_with)]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)
        raise Violated("the queue does not become empty")

    def _waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.machine.sqs.get_queue_attributes(QueueUrl=self.machine.url, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names)

    def pass_visibility(self) -> None:
        """What time does to the messages that a dead process holds: they are visible again."""
        held = list(self.receipts)
        self.receipts = {}
        for first in range(0, len(held), 10):
            entries = [
                {"Id": str(n), "ReceiptHandle": one, "VisibilityTimeout": 0}
                for n, one in enumerate(held[first : first + 10])
            ]
            self.machine.sqs.change_message_visibility_batch(QueueUrl=self.machine.url, Entries=entries)

    def _backfill(self, event: dict[str, Any]) -> dict[str, Any]:
        """One Lambda call of the state machine; writes go on beside it."""
        self._write(1)
        done = self._invoke("backfill", event)
        if done is None:
            raise SandboxGone("the sandbox ended")
        if "error" in done:
            raise Violated(f"backfill raised {done['error']}")
        answer: dict[str, Any] = done["answer"]
        return answer

    def _nothing_replaced(self) -> None:
        """G4: what an object under the data prefix holds never changes."""
        now = self.machine.keys(PREFIX + "/")
        replaced = [key for key, tag in self.known.items() if now.get(key) != tag]
        if replaced:
            raise Violated(f"G4: {replaced[0]} was replaced or removed")
        self.known = now

    def _objects(self) -> list[dict[str, Any]]:
        records = []
        for key in self.known:
            records += self.ledger.data_object(key, self.machine.body(key))
        for key in self.machine.keys(QUARANTINE.prefix(TABLE)):
            self.ledger.quarantine_object(key, self.machine.body(key))
        return records

    def _conserved(self, what: str) -> None:
        """G3: each record that the checkpoint passed is in an object, in quarantine or in the queue."""
        self._objects()
        if all(entry.in_object or entry.in_quarantine for entry in self.ledger.entries.values() if entry.acknowledged):
            return
        self.pass_visibility()
        held = self._names_in_queue()
        for entry in self.ledger.entries.values():
            placed = entry.in_object or entry.in_quarantine or entry.name in held
            if entry.acknowledged and not placed:
                raise Violated(f"G3: {entry.name} is in no durable place after {what}")

    def _names_in_queue(self) -> set[str]:
        """The records of every message; each is seen and made visible again."""
        sqs, url, names = self.machine.sqs, self.machine.url, set()
        objects = {key: self.machine.body(key) for key in self.machine.keys(f"_lakebound/{TABLE}/claims/")}
        while received := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for one in received:
                self.receipts[one["ReceiptHandle"]] = None
                names |= set(self.ledger.message_names(one["Body"], objects))
        self.pass_visibility()
        return names

    def _check(self) -> None:
        """Everything at rest: G2, G3, G5 to G8, and the backfill's manifest."""
        records = self._objects()
        for entry in self.ledger.entries.values():
            if not (entry.in_quarantine if entry.poison else entry.in_object):
                raise Violated(f"G2: {entry.name} is in no object")
        silver = Silver()
        silver.merge(records)
        source = {self.table.texts[number]: image for number, image in self.table.items.items()}
        if silver.items() != source:
            seen = silver.items()
            wrong = sorted(key for key in seen.keys() | source.keys() if seen.get(key) != source.get(key))
            raise Violated(f"G8: silver differs from the source at {', '.join(wrong)}")
        if chain_breaks(records):
            raise Violated("G11: the chain of old images is broken")
        manifest = Manifest.decode(self.result["manifest"], self.machine.body(self.result["manifest"]))
        listed = {file.key for file in manifest.files}
        if not listed or not listed <= self.known.keys():
            raise Violated("the manifest names a file that is not there")
        dead = self.machine.sqs.get_queue_attributes(
            QueueUrl=self.machine.dead, AttributeNames=["ApproximateNumberOfMessages"]
        )
        if dead["Attributes"]["ApproximateNumberOfMessages"] != "0":
            raise Violated("a message is a dead letter")


def live(machine: Machine, seed: int, kill: Kill | None = None, writes: int = 12) -> Lived:
    """One history of that seed. Raises Violated with the seed and the kill."""
    lived = Lived(machine, seed, writes, kill)
    try:
        return lived.live()
    except Violated as violated:
        where = f"killed {kill.moment} effect {kill.number} ({lived.killed})" if kill else "without a kill"
        raise Violated(f"seed {seed}, {where}: {violated}") from None


def kills_of(whole: Lived) -> list[Kill]:
    """Just before and just after each side effect of a history that was lived without a kill."""
    return [Kill(number, moment) for number in range(1, len(whole.effects) + 1) for moment in ("before", "after")]
