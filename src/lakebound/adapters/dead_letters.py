"""SQS's own move task, and how many messages a queue holds."""

from __future__ import annotations

from typing import Any, Final

from botocore.parsers import ResponseParserError

from lakebound.adapters.aws_calls import MISSING, NotThere, attempt, code_of, queue_unavailable
from lakebound.errors import LakeboundError
from lakebound.operate.redrive import MoveState, MoveUnsupported

_UNKNOWN: Final = frozenset(
    (
        "UnsupportedOperation",
        "AWS.SimpleQueueService.UnsupportedOperation",
        "InvalidAction",
        "UnknownOperationException",
        "NotImplemented",
        "501",
        "404",
        "400",
        "InternalFailure",
    )
)


class SqsMoveTask:
    """Port MoveTask over one dead-letter queue."""

    def __init__(self, url: str, client: Any) -> None:
        self._url = url
        self._client = client
        self._arn = ""

    def start(self, per_second: int) -> None:
        self._call("start_message_move_task", SourceArn=self._queue_arn(), MaxNumberOfMessagesPerSecond=per_second)

    def state(self) -> MoveState | None:
        answer = self._call("list_message_move_tasks", SourceArn=self._queue_arn(), MaxResults=1)
        tasks = answer.get("Results") or []
        if not tasks:
            return None
        newest = tasks[0]
        return MoveState(
            status=str(newest.get("Status", "")),
            moved=int(newest.get("ApproximateNumberOfMessagesMoved", 0)),
            expected=int(newest.get("ApproximateNumberOfMessagesToMove", 0)),
            why=str(newest.get("FailureReason", "")),
        )

    def _queue_arn(self) -> str:
        if not self._arn:
            answer = self._call("get_queue_attributes", QueueUrl=self._url, AttributeNames=["QueueArn"])
            self._arn = str(answer["Attributes"]["QueueArn"])
        return self._arn

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        def error_of(failure: Exception) -> LakeboundError:
            # A service that does not know the call may answer with what is no answer.
            code = "UnknownOperationException" if isinstance(failure, ResponseParserError) else code_of(failure)
            if operation != "get_queue_attributes" and code in _UNKNOWN:
                return MoveUnsupported(f"{self._url} has no move task ({code})", hint="Use --by copy")
            return queue_unavailable(failure, operation, self._url)

        return attempt(self._client, operation, error_of, **arguments)


def count_messages(client: Any, url: str) -> tuple[int, int]:
    """About how many messages a queue holds: (visible, in flight or delayed).

    Raises NotThere for a queue that does not exist, QueueUnavailable.
    """

    def error_of(failure: Exception) -> LakeboundError:
        if code_of(failure) in MISSING:
            return NotThere(f"There is no queue {url}", hint="Deploy the stack again")
        return queue_unavailable(failure, "get_queue_attributes", url)

    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    found = attempt(client, "get_queue_attributes", error_of, QueueUrl=url, AttributeNames=names)["Attributes"]
    visible, hidden, delayed = (int(found.get(name, 0)) for name in names)
    return visible, hidden + delayed
