"""The simulated bucket, and the boto3 client that one invocation sees (below the real `S3Store` adapter)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ReadTimeoutError

from tests.simulation.sqs import error
from tests.simulation.turns import Violated

if TYPE_CHECKING:
    from tests.simulation.ledger import Record
    from tests.simulation.world import Invocation, World


DOCUMENTS = ("backfills", "manifests", "gaps")
"""Folders of what the backfill keeps of itself."""

FIRST_STANDS = ("quarantine", *DOCUMENTS)
"""Folders in which the writer that comes second takes what the first one wrote."""


def etag(body: bytes) -> str:
    return f'"{md5(body).hexdigest()}"'


class S3State:
    """The objects, and the records of each data object in the order in which they were stored."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.objects: dict[str, bytes] = {}
        self.records: dict[str, list[Record]] = {}
        self.written_ms: dict[str, int] = {}

    def put(self, key: str, body: bytes) -> bool:
        """Store an object unless its key is taken. A taken key must hold the same content (G4)."""
        world = self._world
        held = self.objects.get(key)
        is_data = key.startswith(world.ledger.prefix + "/")
        if held is not None:
            if held != body and not any(f"/{folder}/" in key for folder in FIRST_STANDS):
                raise Violated(f"G4: {key} is taken by other content, and the writer will believe it stored its own")
            return False
        if is_data:
            self.records[key] = world.ledger.data_object(key, body)
        elif "/quarantine/" in key:
            world.ledger.quarantine_object(key, body)
        elif not any(f"/{folder}/" in key for folder in ("claims", *DOCUMENTS)):
            raise Violated(f"an object where none belongs: {key}")
        self.place(key, body)
        return True

    def place(self, key: str, body: bytes) -> None:
        """An object is there from here on: DynamoDB's own (an export), or the operator's."""
        self.objects[key] = body
        self.written_ms[key] = self._world.now_ms

    def replace(self, key: str, body: bytes, tag: str) -> bool:
        """Write a document over the version with this tag."""
        held = self.objects.get(key)
        if not any(f"/{folder}/" in key for folder in DOCUMENTS):
            raise Violated(f"G4: {key} is no document, and is written over")
        if held is None or etag(held) != tag:
            return False
        self.place(key, body)
        return True


class S3Client:
    def __init__(self, world: World, invocation: Invocation) -> None:
        self._world = world
        self._invocation = invocation

    def _refuse(self, operation: str) -> None:
        world = self._world
        if world.now_ms < world.s3_down_until_ms:
            raise error(operation, "ServiceUnavailable", 503)
        if world.chance("s3_error"):
            code, status = (("InternalError", 500), ("SlowDown", 503), ("BadDigest", 400))[world.choices.below(3)]
            raise error(operation, code, status)

    def put_object(self, Bucket: str, Key: str, Body: bytes, **more: Any) -> dict[str, str]:  # noqa: N803
        """As S3 with If-None-Match, or with If-Match for a document."""
        world = self._world
        if more.get("IfNoneMatch") != "*" and not more.get("IfMatch"):
            raise Violated(f"G4: {Key} is put without If-None-Match")
        self._invocation.enter("put_object")
        self._refuse("PutObject")
        if world.chance("s3_conflict"):
            raise error("PutObject", "ConditionalRequestConflict", 409)
        stored = world.s3.replace(Key, Body, more["IfMatch"]) if "IfMatch" in more else world.s3.put(Key, Body)
        self._invocation.leave("put_object")
        if world.chance("s3_lost_answer"):
            raise ReadTimeoutError(endpoint_url="https://s3")
        if not stored or world.chance("s3_inner_retry"):
            raise error("PutObject", "PreconditionFailed", 412)
        return {"ETag": etag(Body)}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self._invocation.enter("get_object")
        self._refuse("GetObject")
        body = self._world.s3.objects.get(Key)
        if body is None:
            raise error("GetObject", "NoSuchKey", 404)
        self._invocation.leave("get_object")
        return {"ContentLength": len(body), "Body": _Body(body), "ETag": etag(body)}

    def get_paginator(self, operation: str) -> S3Client:
        """Only of listings."""
        assert operation == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        """As S3: in key order; pages of three, so that one turns."""
        self._invocation.enter("list_objects_v2")
        self._refuse("ListObjectsV2")
        state = self._world.s3
        keys = sorted(key for key in state.objects if key.startswith(Prefix))
        for first in range(0, max(1, len(keys)), 3):
            yield {
                "Contents": [
                    {
                        "Key": key,
                        "Size": len(state.objects[key]),
                        "LastModified": datetime.fromtimestamp(state.written_ms[key] / 1000, UTC),
                    }
                    for key in keys[first : first + 3]
                ]
            }
        self._invocation.leave("list_objects_v2")


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self) -> bytes:
        return self._body

    def close(self) -> None:
        self._body = b""
