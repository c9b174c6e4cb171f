"""Port ObjectStore over one S3 bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from lakebound.adapters.aws_calls import DENIED, NotThere, cause_of, code_of
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, ObjectDenied, ObjectMissing, StoreUnavailable
from lakebound.ports import StoredObject
from lakebound.times import epoch_ms

_CONFLICT_ATTEMPTS: Final = 3


def denied(bucket: str, key: str) -> ObjectDenied:
    """What a GetObject that S3 answers with 403 means, for a person."""
    return ObjectDenied(
        f"Could not get s3://{bucket}/{key} (AccessDenied): it is missing, or it may not be read",
        hint=f"With s3:ListBucket on {bucket} S3 tells which; then check s3:GetObject and the KMS key",
    )


def unavailable(verb: str, bucket: str, key: str, failure: Exception) -> LakeboundError:
    """The error for a call to S3 that failed: NotThere for a bucket that does not exist, else StoreUnavailable."""
    code = code_of(failure)
    if code == "NoSuchBucket":
        return NotThere(
            f"The bucket {bucket} does not exist", hint="Check its name (of a function: S3_BUCKET) and the region"
        )
    # A function meets the same failures in an outage and repeats the operation: there it stays StoreUnavailable.
    cause = cause_of(failure, f"s3://{bucket}")
    if cause is not None:
        error = StoreUnavailable(f"Could not {verb} s3://{bucket}/{key}: {cause.what}", hint=cause.hint)
        error.is_misconfigured = cause.is_misconfigured
        return error
    hint = (
        "Check the rights on the bucket and its KMS key"
        if code in DENIED
        else "Repeat the command, or let the function repeat it; check S3 and the KMS key if it goes on"
    )
    return StoreUnavailable(f"Could not {verb} s3://{bucket}/{key} ({code})", hint=hint)


class S3Store:
    """One bucket."""

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
                    raise unavailable("put", self._bucket, key, refused) from None
            except (BotoCoreError, ResponseParserError) as broken:
                raise unavailable("put", self._bucket, key, broken) from None
        raise StoreUnavailable(f"s3://{self._bucket}/{key} is being written by others", hint="Try again")

    def get(self, key: str, max_bytes: int) -> bytes:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            size = int(answer["ContentLength"])
            if size > max_bytes:
                answer["Body"].close()
                raise LakeboundError(
                    f"s3://{self._bucket}/{key} has {count_text(size, 'byte')}, more than the {max_bytes} expected"
                )
            return bytes(answer["Body"].read())
        except ClientError as refused:
            if code_of(refused) in ("NoSuchKey", "404"):
                raise ObjectMissing(f"s3://{self._bucket}/{key} does not exist") from None
            if code_of(refused) in ("AccessDenied", "403"):
                raise denied(self._bucket, key) from None
            raise unavailable("get", self._bucket, key, refused) from None
        except (BotoCoreError, ResponseParserError, OSError) as broken:
            raise unavailable("get", self._bucket, key, broken) from None

    def list(self, prefix: str) -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield StoredObject(entry["Key"], entry["Size"], epoch_ms(entry["LastModified"]))
        except (ClientError, BotoCoreError, ResponseParserError) as broken:
            raise unavailable("list", self._bucket, prefix, broken) from None
