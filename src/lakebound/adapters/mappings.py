"""The stream mapping through boto3."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import LakeboundError, Misconfigured
from lakebound.sources import MappingFacts


class LambdaMapping:
    """One event source mapping."""

    def __init__(self, mapping_id: str, client: Any) -> None:
        self._id = mapping_id
        self._client = client

    def mapping(self) -> MappingFacts:
        """Raises Misconfigured where it is gone, LakeboundError where Lambda does not answer."""
        try:
            answer = self._client.get_event_source_mapping(UUID=self._id)
        except ClientError as refused:
            code = refused.response.get("Error", {}).get("Code", "")
            if code == "ResourceNotFoundException":
                raise Misconfigured(
                    f"the stream mapping {self._id} is gone", hint="Deploy the stack again, then redrive the execution"
                ) from None
            raise LakeboundError(
                f"the stream mapping cannot be described ({code})", hint="Redrive the execution"
            ) from None
        except BotoCoreError as broken:
            raise LakeboundError(
                f"the stream mapping cannot be described ({type(broken).__name__})", hint="Redrive the execution"
            ) from None
        return MappingFacts(
            self._id,
            answer["EventSourceArn"],
            str(answer.get("State", "")),
            int(answer["LastModified"].timestamp() * 1000),
        )
