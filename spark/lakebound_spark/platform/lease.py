"""A lease that lets one driver commit to a table on S3: a small object that is written only under a condition.

Delta's log store for S3 excludes two writers only within one process. In a trial on hadoop-aws 3.4.2, two drivers wrote
sixty commits under the same names at the same moments. For 42 of them both drivers reported success, so a commit
vanished each time. S3's conditional writes (`If-None-Match`, `If-Match`) do exclude a second writer. The lease lies
beside the table's folder, because Delta creates no table in a folder that is not empty.

The holder renews the lease every HEARTBEAT_SECONDS. A second driver that finds the lease watches it. If it sees a
renewal, the holder lives and the second driver is refused. After EXPIRY_SECONDS without one, it takes the lease over.
Only the watcher's clock counts.

The lease does not exclude a driver that stands still for more than EXPIRY_SECONDS between its last renewal and a commit
(a suspended machine): it commits once more before it notices.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import Misconfigured

HEARTBEAT_SECONDS: Final = 15.0
EXPIRY_SECONDS: Final = 60.0
_REQUESTS_AT_A_TIME: Final = 8
SCHEMES: Final = ("s3", "s3a", "s3n")
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
    """The lease that the store holds: its text, and a tag that changes with each write."""

    text: str
    tag: str


class LeaseStore(Protocol):
    """One object. Each method raises ConditionFailed, Unavailable, and Misconfigured where access is denied."""

    def read(self) -> Found | None:
        """The lease; None where there is none."""

    def write(self, text: str, tag: str | None) -> str:
        """Replace the object of this tag, or with None create one. Returns the new tag."""

    def remove(self, tag: str) -> None:
        """Remove the object of this tag."""


class S3LeaseStore:
    """Port LeaseStore: an object in a bucket."""

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
        self.table = table
        self._text = json.dumps({"holder": holder, "since": datetime.now(UTC).isoformat(timespec="seconds")})
        self._beats = 0
        self._store = store
        self._clock = clock
        self._tag = ""
        self._renewed = 0.0
        self._lock = threading.Lock()
        self._is_released = False
        self._watched: Found | None = None
        self._began: float | None = None

    def acquire(self, pause: Callable[[float], bool]) -> None:
        """Take the lease. Raises Misconfigured, naming who holds it and since when.

        ``pause`` waits for so many seconds and returns whether the driver is to stop, which raises Misconfigured too.
        """
        while not self.attempt():
            if pause(HEARTBEAT_SECONDS / 3):
                raise self.stopped()

    def attempt(self) -> bool:
        """Look at the lease once, and take it if it is free or was silent for long enough; whether it was taken.

        Raises Misconfigured where another driver renewed it between two attempts, and where it cannot be read for long.
        """
        if self._began is None:
            self._began = self._clock()
        try:
            found = self._store.read()
            if found is None:
                self._write(None)
                return True
            if self._watched is None:
                self._watched, self._began = found, self._clock()
            elif found.tag != self._watched.tag:
                raise Misconfigured(self._refusal(found))
            elif self._clock() - self._began >= EXPIRY_SECONDS:
                self._write(found.tag)
                return True
        except ConditionFailed:
            self._watched = None  # another driver was quicker, and the next look shows its lease
        except Unavailable as error:
            if self._clock() - self._began >= EXPIRY_SECONDS:
                raise Misconfigured(
                    f"the lease of {self.table} cannot be read ({error}); see that the bucket answers, then start again"
                ) from error
        return False

    def stopped(self) -> Misconfigured:
        """The error of a driver that is told to stop before it has the lease."""
        return Misconfigured(f"stopped while it waited for the lease of {self.table}")

    def renew(self) -> bool:
        """Renew the lease. False once another driver holds it, or when the store has not answered for too long."""
        with self._lock:
            if self._is_released:
                return True
            try:
                self._write(self._tag)
            except (ConditionFailed, Misconfigured):
                return False
            except Unavailable:
                return self._clock() - self._renewed < EXPIRY_SECONDS - HEARTBEAT_SECONDS
            return True

    def release(self) -> None:
        """Give the lease back. If that fails, the lease expires."""
        # A thread that renews meanwhile must not take the lease that is gone for one that was lost.
        with self._lock:
            self._is_released = True
            try:
                self._store.remove(self._tag)
            except (ConditionFailed, Unavailable, Misconfigured):
                return

    def _write(self, tag: str | None) -> None:
        self._beats += 1  # equal bytes would have an equal tag, which hides the renewal
        asked = self._clock()
        text = json.dumps(json.loads(self._text) | {"beat": self._beats, "process": os.getpid()})
        try:
            self._tag = self._store.write(text, tag)
        except Unavailable:
            # The write may have succeeded all the same. Then the store holds this text.
            found = self._store.read()
            if found is None or found.text != text:
                raise
            self._tag = found.tag
        self._renewed = asked

    def is_beside(self, other: Lease) -> bool:
        """Whether the driver that holds the other lease holds this one as well, as far as both were seen."""
        return self._holder() not in ("", None) and self._holder() == other._holder()

    def refusal(self) -> Misconfigured:
        """The error of a driver that finds this lease held by another."""
        assert self._watched is not None
        return Misconfigured(self._refusal(self._watched))

    def _holder(self) -> object:
        try:
            return json.loads(self._watched.text)["holder"] if self._watched else ""
        except (ValueError, KeyError, TypeError):
            return ""

    def _refusal(self, found: Found) -> str:
        try:
            lease = json.loads(found.text)
            who = f"{lease['holder']}, since {lease['since']}"
        except (ValueError, KeyError, TypeError):
            who = "a driver without a name"
        return (
            f"another driver commits to {self.table}: {who}. On S3 two drivers lose each other's commits, so this one "
            "does not start. Let one job `run` do the work of both, stop the other driver, or give both a log store "
            "for several writers (docs/SPARK-SETTINGS.md, several-writers)"
        )


def needs_lease(table: str, setting: Callable[[str], str | None]) -> bool:
    """Whether two drivers could lose commits at this location. ``setting`` reads a Spark setting.

    False outside of S3, on Databricks, which coordinates commits itself, and where somebody chose Delta's log store.
    """
    scheme = urlsplit(table).scheme
    if scheme not in SCHEMES or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return False
    return setting(f"spark.delta.logStore.{scheme}.impl") is None and setting("spark.delta.logStore.class") is None


@contextmanager
def held(
    leases: Sequence[Lease],
    stop: threading.Event,
    on_loss: Callable[[str], None],
) -> Iterator[None]:
    """Hold all leases, which a thread renews. When one is lost, set ``stop`` and call ``on_loss`` once with its table.

    Raises Misconfigured when another driver holds one of them. The leases that were taken before are given back.
    """

    def refuse(group: str, error: Misconfigured) -> None:
        raise error

    with held_groups({"": leases}, stop, on_loss, refuse):
        yield


@contextmanager
def held_groups(
    groups: Mapping[str, Sequence[Lease]],
    stop: threading.Event,
    on_loss: Callable[[str], None],
    on_refusal: Callable[[str, Misconfigured], None],
) -> Iterator[None]:
    """As `held`, but of each group all leases or none: where one is refused, ``on_refusal`` gets the group's name.

    Whatever it raises gives all leases back.
    """
    ended, acquired = threading.Event(), list[Lease]()
    pool = ThreadPoolExecutor(_REQUESTS_AT_A_TIME, thread_name_prefix="lease")

    def renewals() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            mine = list(acquired)
            kept = pool.map(Lease.renew, mine)
            lost = [lease.table for lease, is_kept in zip(mine, kept, strict=True) if not is_kept]
            if lost:
                stop.set()
                on_loss(", ".join(lost))
                return

    thread = threading.Thread(target=renewals, name="lease", daemon=True)
    thread.start()
    try:
        _acquire_groups(groups, pool, acquired, stop, on_refusal)
        yield
    finally:
        ended.set()
        thread.join()
        for lease in acquired:
            lease.release()
        pool.shutdown()


def _acquire_groups(
    groups: Mapping[str, Sequence[Lease]],
    pool: ThreadPoolExecutor,
    acquired: list[Lease],
    stop: threading.Event,
    on_refusal: Callable[[str, Misconfigured], None],
) -> None:
    """Take the leases of all groups, all of them watched at the same time.

    A driver of fifty tables that was killed leaves two hundred leases behind. Watched one after the other for a minute
    each, they would keep the next driver from its start for three hours. What is taken stands in ``acquired`` at once,
    so that it is renewed while others are still watched.
    """

    def look(lease: Lease) -> bool | Misconfigured:
        try:
            if not lease.attempt():
                return False
        except Misconfigured as error:
            return error
        acquired.append(lease)
        return True

    pending = {name: list(group) for name, group in groups.items()}
    while any(pending.values()):
        looks = [(name, lease) for name, group in pending.items() for lease in group]
        refusals: dict[str, tuple[Lease, Misconfigured]] = {}
        for (name, lease), answer in zip(looks, pool.map(look, [lease for _, lease in looks]), strict=True):
            if isinstance(answer, Misconfigured):
                refusals.setdefault(name, (lease, answer))
            elif answer:
                pending[name].remove(lease)
        for name, (refused, error) in refusals.items():
            # Its driver renews all of a group at once, so which of them is seen first is chance.
            first = next(
                one for one in groups[name] if one is refused or (one in pending[name] and one.is_beside(refused))
            )
            if first is not refused:
                error = first.refusal()
            del pending[name]
            for lease in [one for one in groups[name] if one in acquired]:
                acquired.remove(lease)
                lease.release()
            on_refusal(name, error)
        waiting = next((lease for group in pending.values() for lease in group), None)
        if waiting is not None and stop.wait(HEARTBEAT_SECONDS / 3):
            raise waiting.stopped()


def this_driver(job: str) -> str:
    """The name of this process's driver in a lease."""
    return f"{job} on {socket.gethostname()}, process {os.getpid()}"
