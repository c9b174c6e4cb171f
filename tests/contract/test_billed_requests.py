"""SQS requests per record, counted on a real ElasticMQ: what the bill of a million changes rests on."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from bench import billing
from lakebound.adapters.sqs import SqsQueue

_names = count(1)


class OneByOne(SqsQueue):
    """ElasticMQ still refuses batches of more than 256 KiB in all, which SQS takes: each message goes by itself."""

    def send(self, bodies: Sequence[str]) -> list[int]:
        return [position for position, body in enumerate(bodies) if super(OneByOne, self).send([body])]


@pytest.fixture
def queue_url(elasticmq: Any) -> str:
    return str(elasticmq.create_queue(QueueName=f"billed-{next(_names)}")["QueueUrl"])


def test_packed_records_are_billed_25_times_less_often_than_batches_of_ten(elasticmq: Any, queue_url: str) -> None:
    ours = billing.ours(elasticmq, OneByOne(queue_url, elasticmq), "flat", 10)
    base = billing.baseline(elasticmq, queue_url, "flat", 1)
    assert (ours.records, base.records) == (10_000, 1_000)
    assert base.per_million / ours.per_million >= 25
    assert base.per_million == pytest.approx(300_000, rel=0.02), "a send, a receive and a delete for ten records"


def test_each_started_64_kib_of_a_payload_is_a_request(elasticmq: Any, queue_url: str) -> None:
    def send(*sizes: int) -> None:
        entries = [{"Id": str(place), "MessageBody": "x" * size} for place, size in enumerate(sizes)]
        elasticmq.send_message_batch(QueueUrl=queue_url, Entries=entries)

    with billing.Meter(elasticmq) as bill:
        send(65_536)
        assert bill.sends == 1
        send(65_537)
        assert bill.sends == 3
        send(40_000, 40_000)
        assert bill.sends == 5, "a batch is billed by the sum of its bodies"
        received: list[Any] = []
        while len(received) < 4:
            received += elasticmq.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", [])
        assert bill.receives >= 4
        before = bill.receives
        elasticmq.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
        assert bill.receives == before + 1, "an empty receive is a request too"
        entries = [{"Id": "0", "ReceiptHandle": received[0]["ReceiptHandle"]}]
        elasticmq.delete_message_batch(QueueUrl=queue_url, Entries=entries)
        assert bill.deletes == 1
    elasticmq.receive_message(QueueUrl=queue_url)
    assert bill.receives == before + 1, "what comes after the block is nobody's"
