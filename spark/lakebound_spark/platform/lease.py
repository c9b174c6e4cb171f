"""One driver a table on S3, by a lease: a small object that is written only under a condition.

Delta's log store for S3 excludes two writers only within one process. Tried on hadoop-aws 3.4.2: of sixty commits that
two drivers wrote under the same names at the same moments, both were told success for 42, so a commit vanished each
time. S3's own conditional writes (`If-None-Match`, `If-Match`) do exclude. The lease is one such object. It lies beside
the table's folder and not in it: Delta makes no table in a folder that holds something already.

The holder renews it every HEARTBEAT_SECONDS. Whoever finds it watches. One renewal shows that the holder lives, and the
second driver is refused; after EXPIRY_SECONDS without one it takes the lease over. Only the watcher's clock counts.

What it does not exclude: a driver that stands still for more than EXPIRY_SECONDS between its last renewal and a commit
(a suspended machine) commits once more before it notices.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import Misconfigured

HEARTBEAT_SECONDS: Final = 15.0
EXPIRY_SECONDS: Final = 60.0
SCHEMES: Final = ("s3", "s3a", "s3n")
FOLDER: Final = "_lakebound/leases"
"""Beside the table's folder; one object a table, of the table's name."""
_LOST: Final = ("PreconditionFailed", "NoSuchKey", "404", "412")
_RACE: Final = ("ConditionalRequestConflict", "409")


class Unavailable(Exception):
    """The store did not answer; the request may have been carried out."""


class ConditionFailed(Exception):
    """Somebody else wrote or removed the object first."""


@dataclass(frozen=True, slots=True)
class Found:
    """A lease that is there: its text, and the tag that changes with each write."""

    text: str
    tag: str


class LeaseStore(Protocol):
    """One object. Each method raises ConditionFailed, Unavailable, or Misconfigured where it is refused."""

    def read(self) -> Found | None:
        """What is there."""

    def write(self, text: str, tag: str | None) -> str:
        """Write over the object with this tag, or with None a new one; the new tag."""

    def remove(self, tag: str) -> None:
        """Remove the object with this tag."""


class S3LeaseStore:
    """The lease's object in a bucket."""

    def __init__(self, table: str, client: Any) -> None:
        parts = urlsplit(table)
        parent, _, name = parts.path.strip("/").rpartition("/")
        self._at = {"Bucket": parts.netloc, "Key": f"{parent}/{FOLDER}/{name}.json".lstrip("/")}
        self._client = client

    def read(self) -> Found | None:
        try:
            answer = self._call("get_object")
        except ConditionFailed:
            return None
        try:
            return Found(answer["Body"].read().decode("utf-8", "replace"), str(answer["ETag"]))
        except BotoCoreError as error:
            raise Unavailable(type(error).__name__) from error

    def write(self, text: str, tag: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        return str(self._call("put_object", Body=text.encode(), **condition)["ETag"])

    def remove(self, tag: str) -> None:
        self._call("delete_object", IfMatch=tag)

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**self._at, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _LOST:
                raise ConditionFailed(code) from error
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _RACE or status >= 500 or status == 429:
                raise Unavailable(code) from error
            raise Misconfigured(
                f"the lease s3://{self._at['Bucket']}/{self._at['Key']} was refused ({code}); this driver needs "
                "s3:GetObject, s3:PutObject and s3:DeleteObject in the folder beside the table"
            ) from error
        except BotoCoreError as error:
            raise Unavailable(type(error).__name__) from error


class Lease:
    """The right to commit to one table, held from `acquire` to `release`."""

    def __init__(self, table: str, holder: str, store: LeaseStore, *, clock: Callable[[], float] = time.monotonic):
        self._table = table
        self._text = json.dumps({"holder": holder, "since": datetime.now(UTC).isoformat(timespec="seconds")})
        self._beats = 0
        self._store = store
        self._clock = clock
        self._tag = ""
        self._renewed = 0.0

    def acquire(self, pause: Callable[[float], bool]) -> None:
        """Take the lease. Raises Misconfigured, naming who holds it and since when.

        ``pause`` waits so many seconds; True means that the driver is to stop, which is Misconfigured as well.
        """
        watched: Found | None = None
        began = self._clock()
        while True:
            try:
                found = self._store.read()
                if found is None:
                    return self._write(None)
                if watched is None:
                    watched, began = found, self._clock()
                elif found.tag != watched.tag:
                    raise Misconfigured(self._refusal(found))
                elif self._clock() - began >= EXPIRY_SECONDS:
                    return self._write(found.tag)
            except ConditionFailed:
                watched = None  # another driver was quicker; the next look shows it
            except Unavailable as error:
                if self._clock() - began >= EXPIRY_SECONDS:
                    raise Misconfigured(
                        f"the lease of {self._table} cannot be read ({error}); see that the bucket answers, then "
                        "start again"
                    ) from error
            if pause(HEARTBEAT_SECONDS / 3):
                raise Misconfigured(f"stopped while it waited for the lease of {self._table}")

    def renew(self) -> bool:
        """Renew the lease; False once it is lost: another driver holds it, or the store is silent for too long."""
        try:
            self._write(self._tag)
        except (ConditionFailed, Misconfigured):
            return False
        except Unavailable:
            return self._clock() - self._renewed < EXPIRY_SECONDS - HEARTBEAT_SECONDS
        return True

    def release(self) -> None:
        """Give the lease back. One that cannot be given back expires by itself."""
        try:
            self._store.remove(self._tag)
        except (ConditionFailed, Unavailable, Misconfigured):
            return

    def _write(self, tag: str | None) -> None:
        self._beats += 1  # equal bytes would have an equal tag, and a renewal would not be seen
        asked = self._clock()
        text = json.dumps(json.loads(self._text) | {"beat": self._beats, "process": os.getpid()})
        try:
            self._tag = self._store.write(text, tag)
        except Unavailable:
            # It may have been written all the same: then what is there is this very text.
            found = self._store.read()
            if found is None or found.text != text:
                raise
            self._tag = found.tag
        self._renewed = asked

    def _refusal(self, found: Found) -> str:
        try:
            said = json.loads(found.text)
            who = f"{said['holder']}, since {said['since']}"
        except (ValueError, KeyError, TypeError):
            who = "a driver that does not say its name"
        return (
            f"another driver commits to {self._table}: {who}. On S3 two drivers lose each other's commits, so this one "
            "does not start. Let one job `run` do the work of both, stop the other driver, or give both a log store "
            "for several writers (docs/SPARK-SETTINGS.md, several-writers)"
        )


def needs_lease(table: str, setting: Callable[[str], str | None]) -> bool:
    """Whether two drivers could lose commits at this location; ``setting`` reads a Spark setting.

    False on Databricks, which coordinates commits itself, off S3, and where a person chose Delta's log store.
    """
    scheme = urlsplit(table).scheme
    if scheme not in SCHEMES or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return False
    return setting(f"spark.delta.logStore.{scheme}.impl") is None and setting("spark.delta.logStore.class") is None


@contextmanager
def held(leases: list[Lease], stop: threading.Event, on_loss: Callable[[], None]) -> Iterator[None]:
    """Hold all leases, renewed by a thread. When one is lost, ``stop`` is set and ``on_loss`` called, once.

    Raises Misconfigured when another driver holds one of them; those taken before it are given back.
    """
    ended = threading.Event()

    def renewals() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            renewed = [lease.renew() for lease in leases]
            if not all(renewed):
                stop.set()
                on_loss()
                return

    with ExitStack() as taken:
        for lease in leases:
            lease.acquire(stop.wait)
            taken.callback(lease.release)
        thread = threading.Thread(target=renewals, name="lease", daemon=True)
        thread.start()
        taken.callback(thread.join)
        taken.callback(ended.set)
        yield


def this_driver(job: str) -> str:
    """How a lease names the driver of this process."""
    return f"{job} on {socket.gethostname()}, process {os.getpid()}"
