"""The writer keeps the order of every key and tells when it sent what."""

import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from demo.flight_writer import LANES, WRITES_PER_REQUEST, FlightWriter
from demo.flights import Write, writes_of
from lakebound.record.attributes import canonical_key

SMALL = list(writes_of("small"))


class Table:
    """Stands for DynamoDB: keeps the transactions, and refuses the one with this number."""

    def __init__(self, refuse: int | None = None) -> None:
        self.transactions: list[list[dict[str, Any]]] = []
        self._refuse = refuse
        self._lock = threading.Lock()

    def transact_write_items(self, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803 - boto3's own name
        with self._lock:
            if len(self.transactions) == self._refuse:
                raise ConnectionError("refused")
            self.transactions.append(TransactItems)


def key_of(action: dict[str, Any]) -> str:
    ((_, request),) = action.items()
    held = request.get("Key") or request["Item"]
    return canonical_key({name: held[name] for name in ("flight_id", "flight_date")})


def test_every_write_is_made_once_and_each_key_in_its_order() -> None:
    table, counted = Table(), []
    FlightWriter("flights", table, written=counted.append).write_all(SMALL)
    made: dict[str, list[Any]] = defaultdict(list)
    for transaction in table.transactions:
        for action in transaction:
            made[key_of(action)].append(action)
    wanted: dict[str, list[Any]] = defaultdict(list)
    for write in SMALL:
        verb = {"put_item": "Put", "update_item": "Update", "delete_item": "Delete"}[write.operation]
        wanted[canonical_key(write.key)].append({verb: {"TableName": "flights", **write.request}})
    assert made == wanted
    assert sum(counted) == len(SMALL)


def test_a_transaction_holds_a_key_once_and_no_more_than_its_share() -> None:
    table = Table()
    FlightWriter("flights", table, written=lambda count: None).write_all(SMALL)
    for transaction in table.transactions:
        keys = [key_of(action) for action in transaction]
        assert len(keys) == len(set(keys)) <= WRITES_PER_REQUEST


def test_the_times_of_a_key_are_as_many_as_its_writes_and_never_fall() -> None:
    writer = FlightWriter("flights", Table(), written=lambda count: None)
    writer.write_all(SMALL)
    assert sum(map(len, writer.sent_ms.values())) == len(SMALL)
    assert all(times == sorted(times) for times in writer.sent_ms.values())


def test_a_refused_request_ends_the_writing_with_its_error() -> None:
    table = Table(refuse=7)
    with pytest.raises(ConnectionError):
        FlightWriter("flights", table, written=lambda count: None).write_all(SMALL)
    assert len(table.transactions) < len(SMALL) / WRITES_PER_REQUEST
    assert not [thread for thread in threading.enumerate() if "_drain" in thread.name]


def test_an_error_of_the_source_of_writes_ends_every_lane() -> None:
    def broken() -> Any:
        yield from SMALL[:100]
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        FlightWriter("flights", Table(), written=lambda count: None).write_all(broken())
    assert threading.active_count() == before


def test_lanes_are_told_apart_by_the_whole_key() -> None:
    one, other = (Write(0, "delete_item", {"a": {"S": day}, "b": {"N": "1"}}, {}) for day in ("x", "y"))
    assert {one.lane(64), other.lane(64)} != {one.lane(64)}


def test_a_rate_bounds_the_writes() -> None:
    table, moments = Table(), list[float]()
    started = time.monotonic()
    writer = FlightWriter(
        "flights", table, written=lambda count: moments.extend([time.monotonic() - started] * count), a_second=2_000
    )
    writer.write_all(SMALL)
    # Each lane may be a request ahead of the rate, and one of its queue.
    ahead = 2 * LANES * WRITES_PER_REQUEST
    assert len(moments) == len(SMALL)
    assert all(count <= 2_000 * moment + ahead for count, moment in enumerate(moments))
