"""The lease of a table on S3: one of two drivers holds it, a dead one's is taken over, a lost one stops its driver."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

import boto3
import pytest
from moto import mock_aws

from lakebound.errors import Misconfigured
from lakebound_spark.platform import lease as leases
from lakebound_spark.platform.lease import (
    EXPIRY_SECONDS,
    HEARTBEAT_SECONDS,
    ConditionFailed,
    Found,
    Lease,
    LeaseStore,
    S3LeaseStore,
    Unavailable,
    held,
    held_groups,
    needs_lease,
)

TABLE = "s3a://lake/silver/cars"


@dataclass
class MemoryStore:
    """One object in memory, under a lock; `faults` are raised first, one a call."""

    there: Found | None = None
    writes: int = 0
    faults: list[Exception] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    def read(self) -> Found | None:
        self._fault()
        return self.there

    def write(self, text: str, tag: str | None) -> str:
        self._fault()
        with self.lock:
            if (self.there.tag if self.there else None) != tag:
                raise ConditionFailed
            self.writes += 1
            self.there = Found(text, str(self.writes))
            return self.there.tag

    def remove(self, tag: str) -> None:
        self._fault()
        with self.lock:
            if self.there is None or self.there.tag != tag:
                raise ConditionFailed
            self.there = None


class CarelessStore(MemoryStore):
    """The red control: a store whose writes have no condition."""

    def write(self, text: str, tag: str | None) -> str:
        self.writes += 1
        self.there = Found(text, str(self.writes))
        return self.there.tag


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
def store(request: pytest.FixtureRequest) -> Iterator[LeaseStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="lake")
        yield S3LeaseStore(TABLE, client)


def test_a_new_lease_is_written_once_and_its_tag_moves_with_each_renewal(store: LeaseStore) -> None:
    first = store.write("a", None)
    with pytest.raises(ConditionFailed):
        store.write("b", None)
    second = store.write("c", first)
    with pytest.raises(ConditionFailed):
        store.write("d", first)
    with pytest.raises(ConditionFailed):
        store.remove(first)
    assert store.read() == Found("c", second)
    store.remove(second)
    assert store.read() is None


def test_a_second_driver_is_refused_while_the_first_renews_and_told_who_holds_it(store: LeaseStore) -> None:
    first = Lease(TABLE, "merge on a, process 1", store)
    first.acquire(lambda seconds: False)
    clock = Hand(between=first.renew)
    with pytest.raises(Misconfigured, match=r"commits to s3a://lake/silver/cars: merge on a, process 1, since 20"):
        Lease(TABLE, "maintain on b, process 2", store, clock=clock).acquire(clock.pause)
    assert clock.seconds <= HEARTBEAT_SECONDS


def test_the_lease_of_a_dead_driver_is_taken_over_once_it_was_silent_for_long(store: LeaseStore) -> None:
    dead = Lease(TABLE, "merge on a, process 1", store)
    dead.acquire(lambda seconds: False)
    clock = Hand()
    heir = Lease(TABLE, "merge on b, process 2", store, clock=clock)
    heir.acquire(clock.pause)
    assert clock.seconds >= EXPIRY_SECONDS
    assert (dead.renew(), heir.renew()) == (False, True)


def test_a_lease_given_back_is_free_at_once(store: LeaseStore) -> None:
    first = Lease(TABLE, "a", store)
    first.acquire(lambda seconds: False)
    first.release()
    Lease(TABLE, "b", store).acquire(lambda seconds: pytest.fail("it waited"))


def winners(store: LeaseStore) -> int:
    """How many of eight drivers that begin at the same moment hold the lease in the end."""
    barrier, won = threading.Barrier(8), list[int]()

    def drive(number: int) -> None:
        barrier.wait()
        try:
            store.write(f"driver {number}", None)
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
    assert winners(MemoryStore()) == 1


def test_red_control_without_the_condition_several_win() -> None:
    assert winners(CarelessStore()) > 1


def test_a_write_whose_answer_was_lost_counts_as_written() -> None:
    class AnswerLost(MemoryStore):
        def write(self, text: str, tag: str | None) -> str:
            super().write(text, tag)
            raise Unavailable

    store = AnswerLost()
    Lease(TABLE, "a", store).acquire(lambda seconds: pytest.fail("it waited"))
    assert store.there is not None


def test_a_silent_store_costs_the_lease_before_another_driver_could_take_it() -> None:
    store, clock = MemoryStore(), Hand()
    lease = Lease(TABLE, "a", store, clock=clock)
    lease.acquire(clock.pause)
    seconds = []
    while True:
        store.faults = [Unavailable("timeout")]
        clock.pause(HEARTBEAT_SECONDS)
        if not lease.renew():
            break
        seconds.append(clock.seconds)
    assert seconds
    assert clock.seconds < EXPIRY_SECONDS


def test_a_driver_that_loses_its_lease_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    store, stop, lost = MemoryStore(), threading.Event(), SimpleQueue[str]()
    with held([Lease("s3://lake/kept", "a", MemoryStore()), Lease(TABLE, "a", store)], stop, lost.put):
        store.there = Found("another driver's", "another tag")
        assert lost.get(timeout=10) == TABLE
        assert stop.is_set()
    assert store.there == Found("another driver's", "another tag")


def test_of_several_leases_those_taken_are_given_back_when_one_is_refused() -> None:
    mine, others = MemoryStore(), MemoryStore()
    holder = Lease(TABLE, "b", others)
    holder.acquire(lambda seconds: False)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            holder.renew()
            return False

    both = [Lease("s3://lake/a", "a", mine), Lease(TABLE, "a", others)]
    with pytest.raises(Misconfigured, match="another driver"), held(both, Stop(), lambda table: None):
        pytest.fail("it began")
    assert mine.there is None


def test_of_several_groups_the_refused_one_is_left_out_and_the_others_are_held_and_given_back() -> None:
    """The refused group is in the middle, and its first lease is free: it is given back, and so is no other."""
    stores = {name: MemoryStore() for name in ("a", "b-free", "b-taken", "c")}
    holder = Lease(TABLE, "b", stores["b-taken"])
    holder.acquire(lambda seconds: False)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            holder.renew()
            return False

    def group(*names: str) -> list[Lease]:
        return [Lease(f"s3://lake/{name}", "a", stores[name]) for name in names]

    refused: list[tuple[str, str]] = []
    groups = {"a": group("a"), "b": group("b-free", "b-taken"), "c": group("c")}
    lost = SimpleQueue[str]()
    with held_groups(groups, Stop(), lost.put, lambda name, error: refused.append((name, str(error)))):
        assert [name for name, store in stores.items() if store.there] == ["a", "b-taken", "c"]
    assert [name for name, _ in refused] == ["b"]
    assert "another driver commits to s3://lake/b-taken" in refused[0][1]
    assert [name for name, store in stores.items() if store.there] == ["b-taken"]
    assert lost.empty()


def pauses_after_a_kill(tables: int, take: Callable[[list[Lease], threading.Event], None]) -> int:
    """How often a driver pauses until it has the leases that a killed driver left behind."""
    hand, stores = Hand(), [MemoryStore(Found("{}", "a killed driver's")) for _ in range(tables)]
    pauses = 0

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal pauses
            pauses += 1
            hand.seconds += timeout or 0
            return False

    take([Lease(f"s3://lake/{n}", "b", store, clock=hand) for n, store in enumerate(stores)], Stop())
    return pauses


def together(group: list[Lease], stop: threading.Event) -> None:
    with held_groups({lease.table: [lease] for lease in group}, stop, lambda table: None, lambda name, error: None):
        pass


def one_by_one(group: list[Lease], stop: threading.Event) -> None:
    for lease in group:
        lease.acquire(stop.wait)


def test_the_leases_of_a_killed_driver_are_watched_at_the_same_time() -> None:
    most = leases.EXPIRY_SECONDS / (leases.HEARTBEAT_SECONDS / 3)
    assert pauses_after_a_kill(200, together) == pauses_after_a_kill(1, together) == most
    assert pauses_after_a_kill(20, one_by_one) == 20 * most, "red control: a minute for each"


def test_the_first_leases_are_renewed_while_the_last_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    first, beaten = MemoryStore(), threading.Event()

    class Slow(MemoryStore):
        def read(self) -> Found | None:
            """Answers once the first lease has been taken and renewed."""
            for _ in range(1_000):
                if first.writes > 1:
                    beaten.set()
                    break
                threading.Event().wait(0.01)
            return super().read()

    groups = {"a": [Lease("s3://lake/a", "a", first)], "b": [Lease("s3://lake/b", "a", Slow())]}
    with held_groups(groups, threading.Event(), lambda table: None, lambda name, error: pytest.fail(str(error))):
        assert beaten.is_set()


def test_a_driver_that_is_told_to_stop_does_not_wait_on() -> None:
    store = MemoryStore(Found("{}", "1"))
    with pytest.raises(Misconfigured, match="stopped while it waited"):
        Lease(TABLE, "a", store).acquire(lambda seconds: True)


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
