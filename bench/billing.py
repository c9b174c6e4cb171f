"""SQS requests as AWS bills them, counted on a live queue while both sides carry the same records through it.

Every call is one request for each started 64 KiB of its payload: the bodies of a batch that is sent or received.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bench import corpora
from bench.baseline import stream_ingest as obvious
from bench.local_ports import ManualClock, MemoryStore
from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.ports import Queue
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import partitioner

BILLED_BYTES: Final = 65_536
MESSAGE_BYTES: Final = 262_144
"""The default of the setting of that name."""


@dataclass(slots=True)
class Bill:
    """Billed requests of so many records: sends, receives (the empty ones too), deletes."""

    records: int = 0
    sends: int = 0
    receives: int = 0
    deletes: int = 0

    @property
    def per_million(self) -> float:
        """Billed requests of a million records."""
        return (self.sends + self.receives + self.deletes) * 1e6 / self.records


class Meter:
    """Counts what one SQS client asks for, from its own events; closes when the block ends."""

    def __init__(self, client: Any) -> None:
        self.bill = Bill()
        self._events = client.meta.events
        self._handlers: list[tuple[str, Callable[..., None]]] = [
            ("provide-client-params.sqs.SendMessageBatch", self._sent),
            ("after-call.sqs.ReceiveMessage", self._received),
            ("after-call.sqs.DeleteMessageBatch", self._deleted),
        ]

    def __enter__(self) -> Bill:
        for name, handler in self._handlers:
            self._events.register(name, handler)
        return self.bill

    def __exit__(self, *exception: object) -> None:
        for name, handler in self._handlers:
            self._events.unregister(name, handler)

    def _sent(self, params: dict[str, Any], **_: Any) -> None:
        self.bill.sends += _billed(entry["MessageBody"] for entry in params["Entries"])

    def _received(self, parsed: dict[str, Any], **_: Any) -> None:
        self.bill.receives += _billed(message["Body"] for message in parsed.get("Messages", ()))

    def _deleted(self, **_: Any) -> None:
        self.bill.deletes += 1


def _billed(bodies: Any) -> int:
    return max(1, -(-sum(len(body.encode()) for body in bodies) // BILLED_BYTES))


def ours(client: Any, queue: Queue, corpus: str, deliveries: int) -> Bill:
    """Deliveries through stream_ingest's use case into a queue of this client, and out of it by the flusher's."""
    records = corpora.delivery(corpus)["Records"]
    clock = ManualClock(corpora.CREATED_S * 1000 + 5000)
    store = MemoryStore()
    decoder = StreamDecoder(corpora.TABLE)
    rules = IngestRules(corpora.TABLE, partitioner("dt=%Y-%m-%d/HH=%H"), False, MESSAGE_BYTES)
    written = FlushRules(corpora.TABLE, "p", 0, 67_108_864, 30)
    with Meter(client) as bill:
        for _ in range(deliveries):
            result = ingest(records, rules, decoder, queue, store, clock, lambda: 600)
            if result.unsent_from is not None:
                raise RuntimeError(f"the queue did not take a delivery: {result.unsent_why}")
            clock.sleep(0.001)
        clock.sleep(60)
        # The mapping receives, and deletes what the flusher's answer does not name; more the flusher takes itself.
        while received := queue.receive(0):
            flushed = flush(received, written, queue, store, clock, lambda: 600)
            queue.delete([one.receipt for one in received if one.message_id not in flushed.failed])
            bill.records += flushed.records
    if bill.records != deliveries * len(records):
        raise RuntimeError(f"{bill.records} records came out of the queue")
    return bill


def baseline(client: Any, url: str, corpus: str, deliveries: int) -> Bill:
    """The same through the obvious function: one record a message, ten a batch; received and deleted by tens."""
    event = corpora.delivery(corpus)
    kept = obvious.sqs, obvious.QUEUE_URL
    obvious.sqs, obvious.QUEUE_URL = client, url
    try:
        with Meter(client) as bill:
            for _ in range(deliveries):
                obvious.handler(event, None)
            while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                entries = [
                    {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                    for place, message in enumerate(messages)
                ]
                client.delete_message_batch(QueueUrl=url, Entries=entries)
                bill.records += len(messages)
    finally:
        obvious.sqs, obvious.QUEUE_URL = kept
    if bill.records != deliveries * len(event["Records"]):
        raise RuntimeError(f"{bill.records} records came out of the queue")
    return bill
