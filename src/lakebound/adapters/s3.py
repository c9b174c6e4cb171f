"""Port ObjectStore over one S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lakebound.adapters.calls import NotThere
from lakebound.errors import LakeboundError, ObjectMissing, StoreUnavailable
from lakebound.ports import StoredObject

_CONFLICT_ATTEMPTS: Final = 3


class S3Store:
    """One bucket through a boto3 client."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def put_if_absent(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """See ObjectStore. 412 means the key exists; 409 means another writer is at it, and is tried again."""
        for _ in range(_CONFLICT_ATTEMPTS):
            try:
                self._client.put_object(
                    Bucket=self._bucket, Key=key, Body=body, Metadata=dict(metadata), IfNoneMatch="*"
                )
                return True
            except ClientError as refused:
                status = refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                if status == 412:
                    return False
                if status != 409:
                    raise self._unavailable("put", key, refused) from None
            except (BotoCoreError, ResponseParserError) as broken:
                raise self._unavailable("put", key, broken) from None
        raise StoreUnavailable(f"s3://{self._bucket}/{key} is being written by others", hint="Try again")

    def get(self, key: str, max_bytes: int) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            size = int(answer["ContentLength"])
            if size > max_bytes:
                answer["Body"].close()
                raise LakeboundError(f"s3://{self._bucket}/{key} has {size} bytes, more than the {max_bytes} expected")
            return bytes(answer["Body"].read())
        except ClientError as refused:
            if refused.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                raise ObjectMissing(f"s3://{self._bucket}/{key} does not exist") from None
            raise self._unavailable("get", key, refused) from None
        except (BotoCoreError, ResponseParserError, OSError) as broken:
            raise self._unavailable("get", key, broken) from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield StoredObject(entry["Key"], entry["Size"], int(entry["LastModified"].timestamp() * 1000))
        except (ClientError, BotoCoreError, ResponseParserError) as broken:
            raise self._unavailable("list", prefix, broken) from None

    def _unavailable(self, verb: str, key: str, cause: Exception) -> LakeboundError:
        code = (
            cause.response.get("Error", {}).get("Code", "") if isinstance(cause, ClientError) else type(cause).__name__
        )
        if code == "NoSuchBucket":
            return NotThere(f"The bucket {self._bucket} does not exist", hint="Check S3_BUCKET and the region")
        return StoreUnavailable(
            f"Could not {verb} s3://{self._bucket}/{key} ({code})",
            hint="The operation is repeated by itself; check the role's rights, the KMS key and S3 if it goes on",
        )
