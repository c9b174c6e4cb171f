"""Port Documents over one S3 bucket: a document is replaced only by a writer that read the version it replaces."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.adapters.aws_calls import code_of
from lakebound.adapters.s3 import denied
from lakebound.errors import StoreUnavailable
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
            raise self._unavailable("get", key, code_of(refused)) from None
        except (BotoCoreError, OSError) as broken:
            raise self._unavailable("get", key, type(broken).__name__) from None

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
        except ClientError as refused:
            code = code_of(refused)
            # 404 is If-Match on a document that is gone; 409 another writer at this moment.
            if refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 409, 412):
                if code == "NoSuchBucket":
                    raise self._unavailable("put", key, code) from None
                raise Overtaken(f"s3://{self._bucket}/{key} was changed by another writer") from None
            raise self._unavailable("put", key, code) from None
        except BotoCoreError as broken:
            raise self._unavailable("put", key, type(broken).__name__) from None
        return str(answer["ETag"])

    def _unavailable(self, verb: str, key: str, code: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"Could not {verb} s3://{self._bucket}/{key} ({code})",
            hint="Check the role's rights, the KMS key and S3, then redrive the execution",
        )
