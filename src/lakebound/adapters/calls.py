"""One AWS call for an operator's tool, its failure told as a sentence."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lakebound.adapters.faults import DENIED
from lakebound.errors import LakeboundError, Misconfigured

MISSING = frozenset(
    (
        "ResourceNotFoundException",
        "ValidationError",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NoSuchBucket",
        "StateMachineDoesNotExist",
        "NotFoundException",
    )
)

FAILURES: Final = (BotoCoreError, ClientError, ResponseParserError)
"""What botocore raises when a service refuses, cannot be reached, or answers what is no answer."""


def code_of(failure: Exception) -> str:
    """The service's own word for one of FAILURES, or the failure's kind; never its message, which may quote values."""
    if isinstance(failure, ClientError):
        return str(failure.response.get("Error", {}).get("Code", ""))
    return type(failure).__name__


class NotThere(Misconfigured):
    """The thing asked about does not exist."""


class Unanswered(LakeboundError):
    """The service did not answer, or does not know the call. `code` is its own word."""

    def __init__(self, what: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(what, hint=hint)
        self.code = code


def call(client: Any, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
    """The answer. Raises NotThere, Misconfigured (no right), Unanswered; `what` is the object's name for a person."""
    try:
        answer: dict[str, Any] = getattr(client, operation)(**arguments)
        return answer
    except FAILURES as failure:
        code = code_of(failure)
    # Outside the handlers: botocore's own messages may hold what must not hang on our errors.
    if code in MISSING:
        raise NotThere(f"There is no {what} at {client.meta.endpoint_url}", hint="Check its name and the region")
    if code in DENIED:
        raise Misconfigured(f"These credentials may not {operation} ({what})", hint="Ask for the right to read it")
    raise Unanswered(
        f"{operation} of {what} failed at {client.meta.endpoint_url} ({code})",
        hint="Try again when it answers",
        code=code,
    )
