"""What is on its way between source and lake, as far as the buffer queue tells."""

from __future__ import annotations

from typing import Any

from lakebound.adapters.aws_calls import FAILURES, queue_unavailable

_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class QueuePipeline:
    """Port Pipeline of `verify` over the buffer queue."""

    def __init__(self, url: str, client: Any) -> None:
        self._url = url
        self._client = client

    def in_flight(self) -> int:
        """About how many messages are in the queue, those in hand too. Raises QueueUnavailable."""
        try:
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(_COUNTS))
        except FAILURES as failure:
            raise queue_unavailable(failure, "get_queue_attributes", self._url) from None
        return sum(int(answer["Attributes"].get(name, 0)) for name in _COUNTS)
