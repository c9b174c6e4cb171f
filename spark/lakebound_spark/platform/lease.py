"""A lease that lets one driver commit to a table on S3: a small object that is written only under a condition.

Delta's log store for S3 excludes two writers only within one process. In a trial on hadoop-aws 3.4.2, two drivers wrote
sixty commits under the same names at the same moments. For 42 of them both drivers reported success, so a commit
vanished each time. S3's conditional writes (`If-None-Match`, `If-Match`) do exclude a second writer. The lease lies
beside the table's folder, because Delta creates no table in a folder that is not empty.

A lease names its driver, and is written once. The driver renews one object for all of its leases in a folder, its
heartbeat, every HEARTBEAT_SECONDS. A second driver that finds a lease watches the heartbeat of the driver that it
names. If it sees a renewal, the holder lives and the second driver is refused. After EXPIRY_SECONDS without one, it
ends the heartbeat and then takes the lease over: a driver that wakes up later cannot renew any more, and stops. A
driver whose heartbeat is gone has no leases. Only the watcher's clock counts. A lease of 0.1.0 names no driver and is
renewed itself, so it is watched itself.

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
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from lakebound.errors import Misconfigured
from lakebound_spark.platform.lease_folder import (
    ConditionFailed,
    Found,
    LeaseFolder,
    S3LeaseFolder,
    Unavailable,
    put,
)

HEARTBEAT_SECONDS: Final = 15.0
EXPIRY_SECONDS: Final = 60.0
_REQUESTS_AT_A_TIME: Final = 8
SCHEMES: Final = ("s3", "s3a", "s3n")
DRIVERS: Final = "drivers"
"""The folder of the heartbeats, in the folder of the leases."""
_ENDED: Final = "ended_by"
"""What the text of a heartbeat says that another driver ended."""


class _Alive(Exception):
    """The driver that is watched renewed its heartbeat."""


@dataclass(slots=True)
class _Watch:
    """Another driver's heartbeat: the tag that was seen first, when that was, and when it was last looked at."""

    tag: str
    began: float
    looked: float


class Heartbeat:
    """One driver's sign of life in a folder of leases, and what it sees there of other drivers."""

    def __init__(self, holder: str, folder: LeaseFolder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self.clock = clock
        self.about = {
            "holder": holder,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "driver": uuid4().hex,
            "process": os.getpid(),
        }
        self._tag: str | None = None
        self._beats = 0
        self._asked: float | None = None
        self._renewed = 0.0
        self._is_answered = True
        self._held = list[Lease]()
        self._lock = threading.Lock()
        self._watches = dict[str, _Watch]()
        self._gone = set[str]()
        self._watch_lock = threading.Lock()

    def begin(self) -> None:
        """Write the heartbeat, unless it is there: a lease whose driver has none is free."""
        with self._lock:
            if self._tag is None:
                self._renewed = self._beat()

    def add(self, lease: Lease) -> None:
        """Count a lease that was taken among those that `renew` looks at."""
        with self._lock:
            self._held.append(lease)

    def drop(self, lease: Lease) -> None:
        """Look no more at a lease that is given back."""
        with self._lock:
            if lease in self._held:
                self._held.remove(lease)

    def renew(self) -> list[str]:
        """Renew the heartbeat. Returns the tables whose lease this driver has lost, most often none.

        It has lost all of them when another driver ended its heartbeat, and when the store has not answered for too
        long. It has lost one where the object is not what it wrote: somebody removed it, or 0.1.0, which watches the
        lease itself, took it over.
        """
        with self._lock:
            held = list(self._held)
            if self._tag is None:
                return []
            try:
                self._is_answered = False
                asked = self._beat()
                tags = self.folder.tags() if held else {}
                self._renewed, self._is_answered = asked, True
            except (ConditionFailed, Misconfigured):
                return [lease.table for lease in held]
            except Unavailable:
                return self.overdue()
            return [lease.table for lease in held if tags.get(lease.name) != lease.tag]

    def overdue(self) -> list[str]:
        """The tables of all leases where the last renewal is so long ago that another driver could soon take them.

        Does not wait for a renewal under way, which a silent store may hold up for longer than the lease lasts.
        """
        is_late = self.clock() - self._renewed >= EXPIRY_SECONDS - HEARTBEAT_SECONDS
        return [lease.table for lease in list(self._held)] if is_late else []

    def pause(self) -> float:
        """Seconds until the next renewal: fewer after one that was not answered."""
        return HEARTBEAT_SECONDS if self._is_answered else HEARTBEAT_SECONDS / 3

    def end(self) -> None:
        """Remove the heartbeat, after the leases were given back. If that fails, it expires."""
        with self._lock, suppress(ConditionFailed, Unavailable, Misconfigured):
            if self._tag is not None:
                self.folder.remove(_heartbeat_name(self.about["driver"]), self._tag)

    def is_gone(self, driver: str) -> bool:
        """Look at another driver's heartbeat: whether that driver has none any more. One silent for long is ended.

        Raises _Alive where it was renewed since the first look.
        """
        name = _heartbeat_name(driver)
        with self._watch_lock:
            watch = self._watches.get(driver)
            if driver in self._gone:
                return True
            # A driver of fifty tables left two hundred leases, and its heartbeat is one object.
            if watch is not None and self.clock() - watch.looked < HEARTBEAT_SECONDS / 6:
                return False
            found, now = self.folder.read(name), self.clock()
            if found is not None and _ENDED not in _parsed(found):
                if watch is None:
                    self._watches[driver] = _Watch(found.tag, now, now)
                    return False
                if found.tag != watch.tag:
                    raise _Alive
                watch.looked = now
                if now - watch.began < EXPIRY_SECONDS:
                    return False
                self._end_other(name, found.tag)
            self._gone.add(driver)
            return True

    def _end_other(self, name: str, tag: str) -> None:
        """End a silent driver's heartbeat. Raises ConditionFailed where it was renewed, or another driver ended it."""
        # Written first, because a store that removes without looking at the condition would remove a renewed one.
        ended = put(self.folder, name, json.dumps({_ENDED: self.about["driver"]}), tag)
        with suppress(ConditionFailed, Unavailable, Misconfigured):
            self.folder.remove(name, ended)

    def _beat(self) -> float:
        """Renew the heartbeat. Returns when this text was first sent, which another driver cannot have seen before."""
        if self._asked is None:
            self._asked = self.clock()
        # Equal bytes would have an equal tag, which hides the renewal. A beat whose end is unknown is sent again as it
        # was, so that it is known for this driver's own.
        text = json.dumps(self.about | {"beat": self._beats})
        self._tag = put(self.folder, _heartbeat_name(self.about["driver"]), text, self._tag)
        self._beats += 1
        asked, self._asked = self._asked, None
        return asked


class Lease:
    """The right to commit to one table, held from an `attempt` that took it to `release`."""

    def __init__(self, table: str, heartbeat: Heartbeat) -> None:
        self.table = table
        self.name = f"{urlsplit(table).path.strip('/').rpartition('/')[2]}.json"
        self.tag = ""
        self.heartbeat = heartbeat
        self._folder = heartbeat.folder
        self._watched: Found | None = None
        self._began = 0.0
        self._silent_since: float | None = None

    def attempt(self) -> bool:
        """Look at the lease once, and take it if it is free or its driver was silent for long; whether it was taken.

        Raises Misconfigured where another driver was seen alive between two attempts, and where the lease cannot be
        read for long.
        """
        now = self.heartbeat.clock()
        try:
            is_taken = self._look()
        except _Alive:
            raise self.refusal() from None
        except ConditionFailed:
            self._watched, is_taken = None, False  # another driver was quicker, and the next look shows its lease
        except Unavailable as error:
            self._silent_since = now if self._silent_since is None else self._silent_since
            if now - self._silent_since >= EXPIRY_SECONDS:
                raise Misconfigured(
                    f"the lease of {self.table} cannot be read ({error}); see that the bucket answers, then start again"
                ) from error
            return False
        self._silent_since = None
        return is_taken

    def _look(self) -> bool:
        found = self._folder.read(self.name)
        if found is None:
            self._take(None)
            return True
        if self._watched is None:
            self._watched, self._began = found, self.heartbeat.clock()
        elif found.tag != self._watched.tag:
            raise Misconfigured(self._refusal(found))
        driver = _parsed(found).get("driver")
        if isinstance(driver, str):
            is_free = self.heartbeat.is_gone(driver)
        else:  # of 0.1.0, which writes no driver into the lease, and renews the lease itself
            is_free = self.heartbeat.clock() - self._began >= EXPIRY_SECONDS
        if is_free:
            self._take(found.tag)
        return is_free

    def release(self) -> None:
        """Give the lease back. If that fails, it is free once the heartbeat is gone."""
        # Before it is removed: who renews meanwhile must not take the lease that is gone for one that was lost.
        self.heartbeat.drop(self)
        with suppress(ConditionFailed, Unavailable, Misconfigured):
            self._folder.remove(self.name, self.tag)

    def stopped(self) -> Misconfigured:
        """The error of a driver that is told to stop before it has the lease."""
        return Misconfigured(f"stopped while it waited for the lease of {self.table}")

    def is_beside(self, other: Lease) -> bool:
        """Whether the driver that holds the other lease holds this one as well, as far as both were seen."""
        return self._holder() not in ("", None) and self._holder() == other._holder()

    def refusal(self) -> Misconfigured:
        """The error of a driver that finds this lease held by another."""
        assert self._watched is not None
        return Misconfigured(self._refusal(self._watched))

    def _take(self, tag: str | None) -> None:
        self.heartbeat.begin()
        self.tag = put(self._folder, self.name, json.dumps(self.heartbeat.about), tag)
        self.heartbeat.add(self)

    def _holder(self) -> object:
        return _parsed(self._watched).get("holder") if self._watched else ""

    def _refusal(self, found: Found) -> str:
        lease = _parsed(found)
        who = f"{lease['holder']}, since {lease['since']}" if {"holder", "since"} <= lease.keys() else ""
        return (
            f"another driver commits to {self.table}: {who or 'a driver without a name'}. On S3 two drivers lose each "
            "other's commits, so this one does not start. Let one job `run` do the work of both, stop the other "
            "driver, or give both a log store for several writers (docs/SPARK-SETTINGS.md, several-writers)"
        )


def _heartbeat_name(driver: object) -> str:
    return f"{DRIVERS}/{driver}.json"


def _parsed(found: Found) -> dict[str, Any]:
    """The object of a lease's or a heartbeat's text; empty where somebody else wrote it."""
    try:
        parsed = json.loads(found.text)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def needs_lease(table: str, setting: Callable[[str], str | None]) -> bool:
    """Whether two drivers could lose commits at this location. ``setting`` reads a Spark setting.

    False outside of S3, on Databricks, which coordinates commits itself, and where somebody chose Delta's log store.
    """
    scheme = urlsplit(table).scheme
    if scheme not in SCHEMES or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return False
    return setting(f"spark.delta.logStore.{scheme}.impl") is None and setting("spark.delta.logStore.class") is None


def leases_on_s3(groups: Mapping[str, Sequence[str]], holder: str, client: Any) -> dict[str, list[Lease]]:
    """A lease for each of these tables' addresses, for one driver: with one heartbeat for each folder of leases."""
    beats = dict[str, Heartbeat]()

    def lease(table: str) -> Lease:
        folder = S3LeaseFolder.beside(table, client)
        return Lease(table, beats.setdefault(folder.place, Heartbeat(holder, folder)))

    return {group: [lease(table) for table in tables] for group, tables in groups.items()}


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
    beats = list(dict.fromkeys(lease.heartbeat for group in groups.values() for lease in group))
    pool = ThreadPoolExecutor(_REQUESTS_AT_A_TIME, thread_name_prefix="lease")
    # Its own threads: a store that does not answer holds up the leases that are still being taken.
    renewers = ThreadPoolExecutor(_REQUESTS_AT_A_TIME, thread_name_prefix="heartbeat")
    telling, told = threading.Lock(), list[str]()

    def is_lost() -> bool:
        asked = {renewers.submit(beat.renew): beat for beat in beats}
        waiting, lost = set(asked), list[str]()
        while waiting and not lost:
            done, waiting = wait(waiting, timeout=HEARTBEAT_SECONDS / 3)
            lost += chain.from_iterable(future.result() for future in done)
            lost += chain.from_iterable(asked[future].overdue() for future in waiting)
        with telling:
            if lost and not told:
                told.extend(lost)
                stop.set()
                on_loss(", ".join(lost))
        return bool(lost)

    def renewals() -> None:
        while not ended.wait(min((beat.pause() for beat in beats), default=HEARTBEAT_SECONDS)) and not is_lost():
            pass

    thread = threading.Thread(target=renewals, name="lease", daemon=True)
    thread.start()
    try:
        _acquire_groups(groups, pool, acquired, stop, on_refusal)
        # A driver that stood still may have written a lease after another one ended its heartbeat.
        is_lost()
        yield
    finally:
        ended.set()
        thread.join()
        for lease in acquired:
            lease.release()
        for beat in beats:
            beat.end()
        pool.shutdown()
        renewers.shutdown()


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
