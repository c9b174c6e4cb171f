"""The lease of a table on S3: one of two drivers holds it, a dead one's is taken over, a lost one stops its driver."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lakebound.errors import Misconfigured
from lakebound_spark.platform import lease as leases
from lakebound_spark.platform.lease import (
    EXPIRY_SECONDS,
    HEARTBEAT_SECONDS,
    Heartbeat,
    Lease,
    held,
    held_groups,
    leases_on_s3,
    needs_lease,
)
from lakebound_spark.platform.lease_folder import (
    ConditionFailed,
    Found,
    LeaseFolder,
    S3LeaseFolder,
    Unavailable,
    put,
)

TABLE = "s3a://lake/silver/cars"
NAME = "cars.json"


@dataclass
class MemoryFolder:
    """Objects in memory, under a lock; `faults` are raised first, one a call."""

    there: dict[str, Found] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def _require(self, name: str, tag: str | None) -> None:
        if (self.there[name].tag if name in self.there else None) != tag:
            raise ConditionFailed

    def read(self, name: str) -> Found | None:
        self._fault()
        self.reads.append(name)
        return self.there.get(name)

    def write(self, name: str, text: str, tag: str | None) -> str:
        self._fault()
        with self.lock:
            self._require(name, tag)
            self.writes.append(name)
            # As in S3 the tag is the text's, not the write's.
            self.there[name] = Found(text, f"tag of {text}")
            return self.there[name].tag

    def remove(self, name: str, tag: str) -> None:
        self._fault()
        with self.lock:
            self._require(name, tag)
            del self.there[name]

    def tags(self) -> dict[str, str]:
        self._fault()
        return {name: found.tag for name, found in self.there.items() if "/" not in name}

    def leases(self) -> list[str]:
        """The names of the leases that are held, without `.json`."""
        return sorted(name.removesuffix(".json") for name in self.tags())


class CarelessFolder(MemoryFolder):
    """The red control: a store whose writes have no condition."""

    def _require(self, name: str, tag: str | None) -> None:
        pass


class Hand:
    """A clock that moves by what is paused."""

    def __init__(self, between: object = None) -> None:
        self.seconds = 0.0
        self.between = between

    def __call__(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> bool:
        self.seconds += seconds
        if callable(self.between):
            self.between()
        return False


@pytest.fixture(params=["memory", "S3"])
def folder(request: pytest.FixtureRequest) -> Iterator[LeaseFolder]:
    if request.param == "memory":
        yield MemoryFolder()
        return
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lake")
        yield S3LeaseFolder.beside(TABLE, client)


def lease(holder: str, folder: LeaseFolder, clock: Callable[[], float] | None = None, table: str = TABLE) -> Lease:
    """A lease of a driver of its own."""
    return Lease(table, Heartbeat(holder, folder, clock=clock) if clock else Heartbeat(holder, folder))


def leases_of(folder: LeaseFolder, *tables: str, clock: Callable[[], float] | None = None) -> list[Lease]:
    """Leases of one driver."""
    beat = lease("one driver", folder, clock).heartbeat
    return [Lease(f"s3://lake/{table}", beat) for table in tables]


def take(lease: Lease, pause: Callable[[float], bool] = lambda seconds: pytest.fail("it waited")) -> Lease:
    """Attempt until the lease is taken."""
    while not lease.attempt():
        pause(HEARTBEAT_SECONDS / 3)
    return lease


class OldLease:
    """A lease of 0.1.0: its driver renews the object itself, and watches it itself."""

    def __init__(self, folder: LeaseFolder) -> None:
        self.folder = folder
        self.tag: str | None = None
        self.beats = 0

    def renew(self) -> bool:
        self.beats += 1
        try:
            text = json.dumps({"holder": "merge on old, process 9", "since": "2026-11-26", "beat": self.beats})
            self.tag = self.folder.write(NAME, text, self.tag)
        except ConditionFailed:
            return False
        return True


def test_a_new_object_is_written_once_and_its_tag_moves_with_each_renewal(folder: LeaseFolder) -> None:
    first = folder.write(NAME, "a", None)
    with pytest.raises(ConditionFailed):
        folder.write(NAME, "b", None)
    second = folder.write(NAME, "c", first)
    with pytest.raises(ConditionFailed):
        folder.write(NAME, "d", first)
    with pytest.raises(ConditionFailed):
        folder.remove(NAME, first)
    folder.write("drivers/d.json", "e", None)
    assert folder.read(NAME) == Found("c", second)
    assert folder.tags() == {NAME: second}, "no heartbeat is among the leases"
    folder.remove(NAME, second)
    assert folder.read(NAME) is None
    assert folder.tags() == {}


def test_the_tags_of_more_leases_than_one_answer_holds_are_read() -> None:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lake")

        class TwoAtATime:
            """S3 lists at most a thousand in one answer."""

            put_object = client.put_object

            def list_objects_v2(self, **arguments: Any) -> Any:
                return client.list_objects_v2(MaxKeys=2, **arguments)

        folder = S3LeaseFolder.beside(TABLE, TwoAtATime())
        tags = {f"{number}.json": folder.write(f"{number}.json", str(number), None) for number in range(5)}
        assert folder.tags() == tags


def test_a_second_driver_is_refused_while_the_first_renews_and_told_who_holds_it(folder: LeaseFolder) -> None:
    first = take(lease("merge on a, process 1", folder))
    clock = Hand(between=first.heartbeat.renew)
    with pytest.raises(Misconfigured, match=r"commits to s3a://lake/silver/cars: merge on a, process 1, since 20"):
        take(lease("maintain on b, process 2", folder, clock), clock.pause)
    assert clock.seconds <= HEARTBEAT_SECONDS


def test_the_lease_of_a_dead_driver_is_taken_over_once_it_was_silent_for_long(folder: LeaseFolder) -> None:
    dead = take(lease("merge on a, process 1", folder))
    clock = Hand()
    heir = take(lease("merge on b, process 2", folder, clock), clock.pause)
    assert clock.seconds >= EXPIRY_SECONDS
    assert (dead.heartbeat.renew(), heir.heartbeat.renew()) == ([TABLE], [])


def test_a_driver_that_wakes_has_lost_also_the_leases_that_nobody_took_yet(folder: LeaseFolder) -> None:
    """One lease was taken over, so its heartbeat was ended; the other is free at once, and not its own any more."""
    cars, vans = leases_of(folder, "cars", "vans")
    take(cars)
    take(vans)
    clock = Hand()
    take(lease("heir", folder, clock), clock.pause)
    assert cars.heartbeat.renew() == ["s3://lake/cars", "s3://lake/vans"]
    take(lease("third", folder, table="s3://lake/vans"))


def test_a_lease_that_a_driver_writes_after_its_heartbeat_was_ended_is_lost(folder: LeaseFolder) -> None:
    """It stood still while it took its leases one after the other, and goes on with the next one."""
    cars, vans = leases_of(folder, "cars", "vans")
    take(cars)
    clock = Hand()
    take(lease("heir", folder, clock), clock.pause)
    lost = SimpleQueue[str]()
    stop = threading.Event()
    with held([vans], stop, lost.put):
        assert stop.is_set()
        assert lost.get(timeout=10) == "s3://lake/cars, s3://lake/vans"


def test_a_lease_of_an_older_version_is_respected_while_that_renews_it(folder: LeaseFolder) -> None:
    old = OldLease(folder)
    old.renew()
    clock = Hand(between=old.renew)
    with pytest.raises(Misconfigured, match="merge on old, process 9"):
        take(lease("merge on b, process 2", folder, clock), clock.pause)


def test_a_silent_lease_of_an_older_version_is_taken_over_and_its_driver_sees_it(folder: LeaseFolder) -> None:
    old = OldLease(folder)
    old.renew()
    clock = Hand()
    heir = take(lease("merge on b, process 2", folder, clock), clock.pause)
    assert clock.seconds >= EXPIRY_SECONDS
    assert not old.renew()
    assert heir.heartbeat.renew() == []


def test_a_driver_sees_that_an_older_version_took_its_lease_or_that_somebody_removed_it(folder: LeaseFolder) -> None:
    cars, vans, taxis = leases_of(folder, "cars", "vans", "taxis")
    for one in (cars, vans, taxis):
        take(one)
    old = OldLease(folder)
    old.tag = cars.tag
    old.renew()
    folder.remove(vans.name, vans.tag)
    assert cars.heartbeat.renew() == ["s3://lake/cars", "s3://lake/vans"]


def test_a_driver_of_two_hundred_leases_renews_one_object() -> None:
    folder = MemoryFolder()
    mine = leases_of(folder, *(f"t{number}" for number in range(200)))
    for one in mine:
        take(one)
    folder.writes, folder.reads = [], []
    for _ in range(3):
        assert mine[0].heartbeat.renew() == []
    assert folder.reads == []
    assert len(folder.writes) == 3
    assert set(folder.writes) == {f"drivers/{mine[0].heartbeat.about['driver']}.json"}


def test_leases_on_s3_have_a_heartbeat_for_each_folder_and_leave_nothing_behind() -> None:
    places = {"a": ["s3a://lake/silver/cars", "s3a://lake/silver/vans"], "b": ["s3a://lake/other/taxis"]}

    def keys(client: Any) -> list[str]:
        return [one["Key"] for one in client.list_objects_v2(Bucket="lake").get("Contents", [])]

    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lake")
        lost = SimpleQueue[str]()
        groups = leases_on_s3(places, "one driver", client)
        with held_groups(groups, threading.Event(), lost.put, lambda name, error: pytest.fail(str(error))):
            there = [key.rpartition("/") for key in keys(client)]
            held = {(folder, name) for folder, _, name in there if not folder.endswith("/drivers")}
            assert held == {
                ("silver/_lakebound/leases", "cars.json"),
                ("silver/_lakebound/leases", "vans.json"),
                ("other/_lakebound/leases", "taxis.json"),
            }
            beats = [folder for folder, _, _ in there if folder.endswith("/drivers")]
            assert beats == ["other/_lakebound/leases/drivers", "silver/_lakebound/leases/drivers"]
        assert keys(client) == []
        assert lost.empty()


def test_a_lease_given_back_is_free_at_once(folder: LeaseFolder) -> None:
    first = take(lease("a", folder))
    first.release()
    take(lease("b", folder))


def winners(folder: LeaseFolder) -> int:
    """How many of eight drivers that begin at the same moment hold the lease in the end."""
    barrier, won = threading.Barrier(8), list[int]()

    def drive(number: int) -> None:
        barrier.wait()
        try:
            folder.write(NAME, f"driver {number}", None)
        except ConditionFailed:
            return
        won.append(number)

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(won)


def test_of_drivers_that_begin_at_once_one_wins() -> None:
    assert winners(MemoryFolder()) == 1


def test_red_control_without_the_condition_several_win() -> None:
    assert winners(CarelessFolder()) > 1


@pytest.mark.parametrize("fault", [Unavailable, ConditionFailed])
def test_a_write_whose_answer_was_lost_counts_as_written(fault: type[Exception]) -> None:
    """The client repeats a request without an answer; the first try then has broken the condition of the second."""

    class AnswerLost(MemoryFolder):
        def write(self, name: str, text: str, tag: str | None) -> str:
            super().write(name, text, tag)
            raise fault

    folder = AnswerLost()
    mine = take(lease("a", folder))
    assert folder.leases() == ["cars"]
    assert mine.heartbeat.renew() == []
    with pytest.raises(ConditionFailed):
        put(folder, NAME, "another text", "another tag")


def test_a_beat_of_which_nothing_is_known_is_sent_again_and_known_for_ones_own() -> None:
    class Silent(MemoryFolder):
        is_silent = False

        def write(self, name: str, text: str, tag: str | None) -> str:
            new = super().write(name, text, tag)
            self.faults = [Unavailable("timeout")] * 2 if self.is_silent else []
            self._fault()
            return new

    folder = Silent()
    mine = take(lease("a", folder))
    folder.is_silent = True
    assert mine.heartbeat.renew() == []
    folder.is_silent, folder.faults = False, []
    assert mine.heartbeat.renew() == []
    assert mine.heartbeat.renew() == []


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_silent_store_costs_the_leases_before_another_driver_could_take_them(requests: int) -> None:
    """Neither the first request of a renewal is answered, nor the next ones."""
    folder, clock = MemoryFolder(), Hand()
    mine = take(lease("a", folder, clock))
    seconds = []
    while True:
        folder.faults = [Unavailable("timeout")] * requests
        clock.pause(HEARTBEAT_SECONDS)
        if mine.heartbeat.renew():
            break
        seconds.append(clock.seconds)
    assert seconds
    assert clock.seconds < EXPIRY_SECONDS


def test_a_store_that_is_silent_once_at_the_end_of_the_watch_refuses_no_driver() -> None:
    folder, clock = MemoryFolder(), Hand()
    take(lease("dead", folder))

    def fail_late() -> None:
        folder.faults = [Unavailable("timeout")] if clock.seconds == EXPIRY_SECONDS else []

    clock.between = fail_late
    take(lease("heir", folder, clock), clock.pause)
    assert clock.seconds == EXPIRY_SECONDS + HEARTBEAT_SECONDS / 3


def test_a_store_that_holds_up_a_renewal_for_longer_than_the_lease_lasts_stops_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(leases, "EXPIRY_SECONDS", 0.2)
    is_held_up, answers, lost = threading.Event(), threading.Event(), SimpleQueue[str]()

    class HeldUp(MemoryFolder):
        def tags(self) -> dict[str, str]:
            if is_held_up.is_set():
                assert answers.wait(10)
            return super().tags()

    with held(leases_of(HeldUp(), "cars"), threading.Event(), lost.put):
        is_held_up.set()
        assert lost.get(timeout=10) == "s3://lake/cars"
        answers.set()


def test_a_renewal_without_an_answer_is_soon_tried_again() -> None:
    """Else the next one could begin just before another driver takes the lease, and end after that."""
    folder = MemoryFolder()
    beat = take(lease("a", folder)).heartbeat
    assert beat.renew() == []
    assert beat.pause() == HEARTBEAT_SECONDS
    folder.faults = [Unavailable("timeout")] * 2
    assert beat.renew() == []
    assert beat.pause() == HEARTBEAT_SECONDS / 3
    assert beat.renew() == []
    assert beat.pause() == HEARTBEAT_SECONDS


def test_a_driver_that_loses_its_lease_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    folder, stop, lost = MemoryFolder(), threading.Event(), SimpleQueue[str]()
    with held(leases_of(folder, "kept", "cars"), stop, lost.put):
        folder.there[NAME] = Found("another driver's", "another tag")
        assert lost.get(timeout=10) == "s3://lake/cars"
        assert stop.is_set()
    assert folder.there == {NAME: Found("another driver's", "another tag")}


def test_of_several_leases_those_taken_are_given_back_when_one_is_refused() -> None:
    mine, others, hand = MemoryFolder(), MemoryFolder(), Hand()
    holder = take(lease("b", others))

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            hand.seconds += timeout or 0
            holder.heartbeat.renew()
            return False

    both = [lease("a", mine, hand, "s3://lake/a"), lease("a", others, hand)]
    with pytest.raises(Misconfigured, match="another driver"), held(both, Stop(), lambda table: None):
        pytest.fail("it began")
    assert mine.there == {}
    assert others.leases() == ["cars"]


def test_of_several_groups_the_refused_one_is_left_out_and_the_others_are_held_and_given_back() -> None:
    """The refused group is in the middle, and its first lease is free: it is given back, and so is no other."""
    folder, hand = MemoryFolder(), Hand()
    holder = take(lease("b", folder, table="s3://lake/b-taken"))

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            hand.seconds += timeout or 0
            holder.heartbeat.renew()
            return False

    refused: list[tuple[str, str]] = []
    a, b_free, b_taken, c = leases_of(folder, "a", "b-free", "b-taken", "c", clock=hand)
    groups = {"a": [a], "b": [b_free, b_taken], "c": [c]}
    lost = SimpleQueue[str]()
    with held_groups(groups, Stop(), lost.put, lambda name, error: refused.append((name, str(error)))):
        assert folder.leases() == ["a", "b-taken", "c"]
    assert [name for name, _ in refused] == ["b"]
    assert "another driver commits to s3://lake/b-taken" in refused[0][1]
    assert folder.leases() == ["b-taken"]
    assert lost.empty()


def killed(folder: MemoryFolder, tables: int) -> None:
    """Leave behind the leases of a driver that was killed, and its heartbeat."""
    for one in leases_of(folder, *map(str, range(tables))):
        take(one)


def pauses_after_a_kill(tables: int, take_all: Callable[[list[Lease], threading.Event], None], hand: Hand) -> int:
    """How often a driver pauses until it has the leases that a killed driver left behind."""
    folder, pauses = MemoryFolder(), 0
    killed(folder, tables)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal pauses
            pauses += 1
            hand.seconds += timeout or 0
            return False

    take_all(leases_of(folder, *map(str, range(tables)), clock=hand), Stop())
    return pauses


def together(group: list[Lease], stop: threading.Event) -> None:
    groups = {one.table: [one] for one in group}
    with held_groups(groups, stop, pytest.fail, lambda name, error: pytest.fail(str(error))):
        pass


def each_of_another_driver(group: list[Lease], stop: threading.Event) -> None:
    """As after the kill of as many single jobs."""
    folder = MemoryFolder()
    for one in group:
        take(lease("killed", folder, table=one.table))
    together([lease("heir", folder, one.heartbeat.clock, one.table) for one in group], stop)


def test_the_leases_of_a_killed_driver_are_watched_at_the_same_time() -> None:
    most = leases.EXPIRY_SECONDS / (leases.HEARTBEAT_SECONDS / 3)
    assert pauses_after_a_kill(200, together, Hand()) == pauses_after_a_kill(1, together, Hand()) == most
    assert pauses_after_a_kill(20, each_of_another_driver, Hand()) == most


def test_red_control_leases_of_several_killed_drivers_that_are_watched_one_by_one_take_a_minute_each() -> None:
    folder, hand, pauses = MemoryFolder(), Hand(), []
    for number in range(5):
        take(lease("killed", folder, table=f"s3://lake/{number}"))

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return hand.pause(seconds)

    for one in leases_of(folder, *map(str, range(5)), clock=hand):
        take(one, pause)
    assert len(pauses) == 5 * EXPIRY_SECONDS / (HEARTBEAT_SECONDS / 3)


def test_the_heartbeat_of_a_killed_driver_is_read_once_a_round() -> None:
    folder, hand = MemoryFolder(), Hand()
    killed(folder, 200)
    folder.reads = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            hand.seconds += timeout or 0
            return False

    together(leases_of(folder, *map(str, range(200)), clock=hand), Stop())
    rounds = hand.seconds / (HEARTBEAT_SECONDS / 3) + 1
    assert len([name for name in folder.reads if "/" in name]) == rounds
    assert folder.there == {}, "the ended heartbeat is gone too"


def test_the_first_leases_are_renewed_while_the_last_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    beaten = threading.Event()

    class Slow(MemoryFolder):
        def read(self, name: str) -> Found | None:
            """Answers for the last lease once the heartbeat was renewed."""
            for _ in range(1_000 if name == "b.json" else 0):
                if len([one for one in self.writes if "/" in one]) > 1:
                    beaten.set()
                    break
                threading.Event().wait(0.01)
            return super().read(name)

    a, b = leases_of(Slow(), "a", "b")
    groups = {"a": [a], "b": [b]}
    with held_groups(groups, threading.Event(), pytest.fail, lambda name, error: pytest.fail(str(error))):
        assert beaten.is_set()


def test_a_driver_that_is_told_to_stop_does_not_wait_on() -> None:
    folder, stop = MemoryFolder(), threading.Event()
    take(lease("killed", folder))
    stop.set()
    with pytest.raises(Misconfigured, match="stopped while it waited"), held([lease("a", folder)], stop, pytest.fail):
        pytest.fail("it began")


@pytest.mark.parametrize(
    ("table", "settings", "needed"),
    [
        ("s3a://lake/silver", {}, True),
        ("s3://lake/silver", {}, True),
        ("/data/silver", {}, False),
        ("file:/data/silver", {}, False),
        ("abfss://lake@account/silver", {}, False),
        ("s3a://lake/silver", {"spark.delta.logStore.s3a.impl": "io.delta.storage.S3DynamoDBLogStore"}, False),
        ("s3a://lake/silver", {"spark.delta.logStore.s3.impl": "io.delta.storage.S3DynamoDBLogStore"}, True),
    ],
)
def test_a_lease_is_needed_on_s3_alone(table: str, settings: dict[str, str], needed: bool) -> None:
    assert needs_lease(table, settings.get) is needed


def test_databricks_coordinates_commits_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
    assert not needs_lease("s3://lake/silver", {}.get)
