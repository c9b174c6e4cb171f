"""The objects of one folder of leases, written only under a condition, so that of two drivers one succeeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import Misconfigured

FOLDER: Final = "_lakebound/leases"
"""The folder of the leases, beside the table's folder. Each table has one object, named after it."""
_LOST: Final = ("PreconditionFailed", "NoSuchKey", "404", "412")
_RACE: Final = ("ConditionalRequestConflict", "409")


class Unavailable(Exception):
    """The store did not answer. It may still have carried out the request."""


class ConditionFailed(Exception):
    """Another driver wrote or removed the object first."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an object holds: its text, and a tag that changes with each write of another text."""

    text: str
    tag: str


class LeaseFolder(Protocol):
    """A folder. Each method raises ConditionFailed, Unavailable, and Misconfigured where access is denied."""

    def read(self, name: str) -> Found | None:
        """The object of this name; None where there is none."""

    def write(self, name: str, text: str, tag: str | None) -> str:
        """Replace the object of this tag, or with None create one. Returns the new tag."""

    def remove(self, name: str, tag: str) -> None:
        """Remove the object of this tag."""

    def tags(self) -> Mapping[str, str]:
        """The tag of each object by its name, without those of folders below."""


def put(folder: LeaseFolder, name: str, text: str, tag: str | None) -> str:
    """Write as the folder does, but find out about a write whose answer was lost. Returns the new tag."""
    try:
        return folder.write(name, text, tag)
    except (ConditionFailed, Unavailable):
        # It may have succeeded all the same, and where the client repeated it, its own first try broke the condition.
        # Then the store holds this text.
        found = folder.read(name)
        if found is None or found.text != text:
            raise
        return found.tag


class S3LeaseFolder:
    """Port LeaseFolder: a prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._client = client

    @classmethod
    def beside(cls, table: str, client: Any) -> S3LeaseFolder:
        """The folder beside a table's address."""
        parts = urlsplit(table)
        parent = parts.path.strip("/").rpartition("/")[0]
        return cls(parts.netloc, f"{parent}/{FOLDER}/".lstrip("/"), client)

    @property
    def place(self) -> str:
        """Its address, the same for all tables of one parent folder."""
        return f"s3://{self._bucket}/{self._prefix}"

    def read(self, name: str) -> Found | None:
        try:
            answer = self._of("get_object", name)
        except ConditionFailed:
            return None
        try:
            return Found(answer["Body"].read().decode("utf-8", "replace"), str(answer["ETag"]))
        except BotoCoreError as error:
            raise Unavailable(type(error).__name__) from error

    def write(self, name: str, text: str, tag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        return str(self._of("put_object", name, Body=text.encode(), **condition)["ETag"])

    def remove(self, name: str, tag: str) -> None:
        self._of("delete_object", name, IfMatch=tag)

    def tags(self) -> dict[str, str]:
        found, more = dict[str, str](), dict[str, str]()
        while True:
            page = self._call("list_objects_v2", self._prefix, Prefix=self._prefix, Delimiter="/", **more)
            found |= {one["Key"].removeprefix(self._prefix): str(one["ETag"]) for one in page.get("Contents", ())}
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _of(self, operation: str, name: str, **arguments: Any) -> Any:
        return self._call(operation, f"{self._prefix}{name}", Key=f"{self._prefix}{name}", **arguments)

    def _call(self, operation: str, at: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _LOST:
                raise ConditionFailed(code) from error
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _RACE or status >= 500 or status == 429:
                raise Unavailable(code) from error
            raise Misconfigured(
                f"the lease s3://{self._bucket}/{at} was refused ({code}); this driver needs s3:GetObject, "
                "s3:PutObject and s3:DeleteObject in the folder beside the table, and s3:ListBucket of it"
            ) from error
        except BotoCoreError as error:
            raise Unavailable(type(error).__name__) from error
