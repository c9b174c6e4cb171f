"""The stream mapping as Lambda describes it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from lakebound.adapters.aws_calls import attempt, code_of
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.source.facts import MappingFacts
from lakebound.times import epoch_ms


class LambdaMapping:
    """One event source mapping."""

    def __init__(self, mapping_id: str, client: Any) -> None:
        self._id = mapping_id
        self._client = client

    def mapping(self) -> MappingFacts:
        """Raises Misconfigured where it is gone, LakeboundError where Lambda does not answer."""
        answer = attempt(self._client, "get_event_source_mapping", self._error_of, UUID=self._id)
        return MappingFacts(
            self._id,
            answer["EventSourceArn"],
            str(answer.get("State", "")),
            epoch_ms(answer["LastModified"]),
            result=str(answer.get("LastProcessingResult", "")),
            service_ms=_answered_ms(answer),
        )

    def _error_of(self, failure: Exception) -> LakeboundError:
        code = code_of(failure)
        if code == "ResourceNotFoundException":
            return Misconfigured(
                f"the stream mapping {self._id} is gone", hint="Deploy the stack again, then redrive the execution"
            )
        return LakeboundError(f"the stream mapping cannot be described ({code})", hint="Redrive the execution")


def _answered_ms(answer: dict[str, Any]) -> int | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return epoch_ms(parsedate_to_datetime(date)) if date else None
