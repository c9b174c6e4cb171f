"""The stream mapping through boto3."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from lakebound.adapters.aws_calls import FAILURES, code_of
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
        try:
            answer = self._client.get_event_source_mapping(UUID=self._id)
        except FAILURES as failure:
            code = code_of(failure)
            if code == "ResourceNotFoundException":
                raise Misconfigured(
                    f"the stream mapping {self._id} is gone", hint="Deploy the stack again, then redrive the execution"
                ) from None
            raise LakeboundError(
                f"the stream mapping cannot be described ({code})", hint="Redrive the execution"
            ) from None
        return MappingFacts(
            self._id,
            answer["EventSourceArn"],
            str(answer.get("State", "")),
            epoch_ms(answer["LastModified"]),
            result=str(answer.get("LastProcessingResult", "")),
            told_ms=_told(answer),
        )


def _told(answer: dict[str, Any]) -> int | None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return epoch_ms(parsedate_to_datetime(date)) if date else None
