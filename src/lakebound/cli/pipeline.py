"""What is on its way between source and lake, as far as the buffer queue tells."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import QueueUnavailable

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
        except (ClientError, BotoCoreError) as broken:
            code = broken.response["Error"]["Code"] if isinstance(broken, ClientError) else type(broken).__name__
            raise QueueUnavailable(f"The queue {self._url} did not answer: {code}", hint="Check --queue") from None
        return sum(int(answer["Attributes"].get(name, 0)) for name in _COUNTS)
