"""The handlers themselves in a history: `functions/*/app.py`, with the simulated ports behind them.

Each invocation runs in a thread of its own, so what a handler finds at module scope is looked up by thread.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from lakebound.live.flush import FlushResult, FlushRules
from lakebound.live.ingest import IngestResult, IngestRules
from lakebound.ports import Clock, ObjectStore, Queue, ReceivedMessage, SecondsLeft
from tests.simulation.source import TABLE
from tests.simulation.turns import Violated
from tests.simulation.world import UseCases

_ENVIRONMENT = {
    "TABLE_NAME": TABLE,
    "S3_BUCKET": "bucket",
    "QUEUE_URL": "https://queue",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "POWERTOOLS_SERVICE_NAME": "simulation",
    "POWERTOOLS_METRICS_NAMESPACE": "simulation",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
}

_here = threading.local()


@contextmanager
def environment() -> Iterator[None]:
    """The functions' settings, for as long as their modules are being loaded."""
    with patch.dict(os.environ, _ENVIRONMENT):
        yield


class _Mine:
    """Stands at module scope for the port of the invocation that runs in this thread."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(getattr(_here, self._name), attribute)


@dataclass(frozen=True, slots=True)
class _Context:
    seconds_left: SecondsLeft

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left() * 1000)


def _app(function: str) -> Any:
    with environment():
        module = importlib.import_module(f"functions.{function}.app")
    for name in ("queue", "store", "clock"):
        setattr(module, name.upper(), _Mine(name))
    return module


def _call(app: Any, records: list[Any], queue: Queue, store: ObjectStore, clock: Clock, left: SecondsLeft) -> list[str]:
    _here.queue, _here.store, _here.clock = queue, store, clock
    answer = app.handler({"Records": records}, _Context(left))
    if set(answer) != {"batchItemFailures"}:
        raise Violated("the answer is not one Lambda understands")
    failures = answer["batchItemFailures"]
    if any(set(failure) != {"itemIdentifier"} for failure in failures):
        raise Violated("a failure is not one Lambda understands")
    return [failure["itemIdentifier"] for failure in failures]


def through_handlers() -> UseCases:
    """The use cases as the platform reaches them."""
    stream_ingest, flusher = _app("stream_ingest"), _app("flusher")

    def ingest(records: Sequence[Any], rules: IngestRules, decoder: object, *ports: Any) -> IngestResult:
        stream_ingest.RULES = rules
        failures = _call(stream_ingest, list(records), *ports)
        result = IngestResult(delivered=len(records))
        if len(failures) > 1:
            raise Violated("stream_ingest names more than the lowest sequence number")
        result.unsent_from = failures[0] if failures else None
        return result

    def flush(received: Sequence[ReceivedMessage], rules: FlushRules, *ports: Any) -> FlushResult:
        flusher.RULES = rules
        records = [
            {
                "messageId": one.message_id,
                "receiptHandle": one.receipt,
                "body": one.body,
                "attributes": {"ApproximateReceiveCount": str(one.receives)},
                "eventSource": "aws:sqs",
            }
            for one in received
        ]
        return FlushResult(failed=_call(flusher, records, *ports))

    return UseCases(ingest, flush)
