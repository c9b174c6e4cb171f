"""Drivers that stand still, die and wake up between any two requests: no two hold one lease, and a dead one's is free.

Each seed is one history of three drivers and two leases. A driver runs one call after the other, and stops before and
after each request to the store; which driver goes on, and what time it is then, is drawn. Requests fail too, with and
without effect.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.platform import lease as leases
from lakebound_spark.platform.lease import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Heartbeat, Lease
from lakebound_spark.platform.lease_folder import ConditionFailed, Found, Unavailable
from tests.simulation.turns import Turn

TABLES = ("s3://lake/cars", "s3://lake/vans")
SEEDS = range(50)
STEPS = 400


@dataclass
class World:
    """The store, the time, and what the drivers do at the moment."""

    draw: random.Random
    has_conditions: bool = True
    beats: type[Heartbeat] = Heartbeat
    seconds: float = 0.0
    there: dict[str, Found] = field(default_factory=dict)
    landed: dict[str, float] = field(default_factory=dict)
    """When a heartbeat was last written by its own driver."""
    drivers: list[Driver] = field(default_factory=list)
    held: int = 0
    taken_over: int = 0

    def clock(self) -> float:
        return self.seconds

    def step(self) -> None:
        """One driver goes on to its next request, or starts its next call."""
        ready = [driver for driver in self.drivers if driver.still_until <= self.seconds]
        self.seconds += self.draw.choice((0, 0, 0.5, 2, 5))
        if ready:
            self.draw.choice(ready).go_on()
        if self.draw.random() < 0.01:
            place = self.draw.randrange(len(self.drivers))
            self.drivers[place].kill()
            self.drivers[place] = Driver(self)
        self.judge()

    def judge(self) -> None:
        """At most one driver may commit to a table. One that has stood still since its last beat is the known case."""
        for table in TABLES:
            holders = [
                driver
                for driver in self.drivers
                if table in driver.mine and self.seconds - self.landed[driver.beat_name] < EXPIRY_SECONDS
            ]
            assert len(holders) <= 1, f"two drivers commit to {table} after {self.seconds} s"
            self.held += len(holders)


class Driver:
    """A driver that wants both leases, beats when it has to, and sometimes gives all back."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.still_until = 0.0
        self.turn: Turn | None = None
        self.start()

    def start(self) -> None:
        self.beat = self.world.beats("a driver", _Folder(self), clock=self.world.clock)
        self.beat_name = f"drivers/{self.beat.about['driver']}.json"
        self.leases = {table: Lease(table, self.beat) for table in TABLES}
        self.mine = set[str]()
        self.beaten = self.world.seconds

    def go_on(self) -> None:
        if self.turn is None or self.turn.finished:
            self.turn = Turn(self.call)
        self.turn.resume()
        if self.turn.finished and self.turn.error is not None:
            raise self.turn.error

    def kill(self) -> None:
        if self.turn is not None and not self.turn.finished:
            self.turn.kill()

    def call(self) -> None:
        draw, now = self.world.draw, self.world.seconds
        missing = [table for table in TABLES if table not in self.mine]
        if now - self.beaten >= HEARTBEAT_SECONDS or not missing:
            self.beaten = now
            if self.beat.renew():
                self.mine.clear()
                self.start()
            elif not missing and draw.random() < 0.2:
                self.give_back()
            return
        table = draw.choice(missing)
        try:
            if self.leases[table].attempt():
                self.mine.add(table)
        except Misconfigured:
            self.give_back()

    def give_back(self) -> None:
        held, self.mine = self.mine, set()
        for table in held:
            self.leases[table].release()
        self.beat.end()
        self.start()


class _Folder:
    """The world's store, as one driver reaches it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._world = driver.world

    def read(self, name: str) -> Found | None:
        with self._request():
            return self._world.there.get(name)

    def write(self, name: str, text: str, tag: str | None) -> str:
        with self._request():
            before = self._require(name, tag)
            self._world.there[name] = found = Found(text, f"tag of {text}")
            if name == self._driver.beat_name:
                self._world.landed[name] = self._world.seconds
            elif before is not None and "/" not in name:
                self._world.taken_over += 1
            return found.tag

    def remove(self, name: str, tag: str) -> None:
        with self._request():
            self._require(name, tag)
            self._world.there.pop(name, None)

    def tags(self) -> dict[str, str]:
        with self._request():
            return {name: found.tag for name, found in self._world.there.items() if "/" not in name}

    def _require(self, name: str, tag: str | None) -> Found | None:
        there = self._world.there.get(name)
        if self._world.has_conditions and (there.tag if there else None) != tag:
            raise ConditionFailed
        return there

    def _request(self) -> _Request:
        return _Request(self._driver)


class _Request:
    """Stops the driver before and after what a request does; the answer may be lost."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __enter__(self) -> None:
        self._stop()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._stop()

    def _stop(self) -> None:
        world, driver = self._driver.world, self._driver
        if driver.turn is None:
            return
        if world.draw.random() < 0.02:
            driver.still_until = world.seconds + world.draw.choice((10, 50, 70, 200))
        driver.turn.pause()
        if world.draw.random() < 0.02:
            raise Unavailable("timeout")


def history(seed: int, **more: object) -> World:
    """A world of three drivers after so many steps."""
    world = World(random.Random(seed), **more)  # type: ignore[arg-type]
    world.drivers = [Driver(world) for _ in range(3)]
    try:
        for _ in range(STEPS):
            world.step()
    finally:
        for driver in world.drivers:
            driver.kill()
    return world


def histories(**more: object) -> list[World]:
    """One for each seed."""
    return [history(seed, **more) for seed in SEEDS]


def test_no_two_drivers_hold_a_lease_and_those_of_dead_drivers_are_free_after_a_minute() -> None:
    worlds = histories()
    assert sum(world.taken_over for world in worlds) > len(worlds)
    assert sum(world.held for world in worlds) > len(worlds) * STEPS / 4
    for world in worlds:
        heir = Driver(world)
        until = world.seconds + EXPIRY_SECONDS + HEARTBEAT_SECONDS
        for lease in heir.leases.values():
            while not lease.attempt():
                world.seconds += HEARTBEAT_SECONDS / 3
                assert world.seconds <= 2 * until
        assert heir.beat.renew() == []


class Endless(Heartbeat):
    """Takes a lease over without ending the heartbeat of its driver."""

    def _end_other(self, name: str, tag: str) -> None:
        pass


@pytest.fixture(params=["no conditions", "a heartbeat is not ended", "nobody waits"])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    if request.param == "nobody waits":
        monkeypatch.setattr(leases, "EXPIRY_SECONDS", HEARTBEAT_SECONDS / 3)
    return {
        "no conditions": {"has_conditions": False},
        "a heartbeat is not ended": {"beats": Endless},
        "nobody waits": {},
    }[request.param]


def test_red_control_a_broken_lease_is_held_by_two_drivers(broken: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="two drivers commit to"):
        histories(**broken)
