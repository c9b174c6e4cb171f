"""Port Documents over one S3 bucket: a document is replaced only by a writer that read the version it replaces."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lakebound.adapters.aws_calls import code_of
from lakebound.adapters.s3 import denied, unavailable
from lakebound.ports import Overtaken


class S3Documents:
    """`If-Match` with the ETag that was read, `If-None-Match: *` for the first version."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def load(self, key: str) -> tuple[bytes, str] | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            return bytes(answer["Body"].read()), str(answer["ETag"])
        except ClientError as refused:
            if code_of(refused) in ("NoSuchKey", "404"):
                return None
            if code_of(refused) in ("AccessDenied", "403"):
                # Not None, as of a document that is not there: a first version would be written over a gap's book.
                raise denied(self._bucket, key) from None
            raise unavailable("get", self._bucket, key, refused) from None
        except (BotoCoreError, ResponseParserError, OSError) as broken:
            raise unavailable("get", self._bucket, key, broken) from None

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
        except ClientError as refused:
            # 404 is If-Match on a document that is gone; 409 another writer at this moment.
            status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status in (404, 409, 412) and code_of(refused) != "NoSuchBucket":
                raise Overtaken(f"s3://{self._bucket}/{key} was changed by another writer") from None
            raise unavailable("put", self._bucket, key, refused) from None
        except (BotoCoreError, ResponseParserError) as broken:
            raise unavailable("put", self._bucket, key, broken) from None
        return str(answer["ETag"])
