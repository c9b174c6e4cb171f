"""Port Queue over one SQS queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lakebound.adapters.aws_calls import attempt, queue_unavailable
from lakebound.ports import ReceivedMessage


class SqsQueue:
    """One queue, by its URL."""

    def __init__(self, url: str, client: Any) -> None:
        self._url = url
        self._client = client

    def send(self, bodies: Sequence[str]) -> list[int]:
        entries = [{"Id": str(position), "MessageBody": body} for position, body in enumerate(bodies)]
        answer = self._call("send_message_batch", Entries=entries)
        return _not_done(answer, len(bodies))

    def receive(self, wait_seconds: int) -> list[ReceivedMessage]:
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=10,
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            ReceivedMessage(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message["Body"],
                receives=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            )
            for message in answer.get("Messages", ())
        ]

    def delete(self, receipts: Sequence[str]) -> list[int]:
        entries = [{"Id": str(position), "ReceiptHandle": receipt} for position, receipt in enumerate(receipts)]
        answer = self._call("delete_message_batch", Entries=entries)
        return _not_done(answer, len(receipts))

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        self._call(
            "change_message_visibility_batch",
            Entries=[
                {"Id": str(position), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for position, receipt in enumerate(receipts)
            ],
        )

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return attempt(
            self._client,
            operation,
            lambda failure: queue_unavailable(failure, operation, self._url),
            QueueUrl=self._url,
            **arguments,
        )


def _not_done(answer: dict[str, Any], entries: int) -> list[int]:
    # What the answer does not name as done was not: a missing entry is as lost as a refused one.
    done = {entry.get("Id") for entry in answer.get("Successful") or ()}
    return [position for position in range(entries) if str(position) not in done]
