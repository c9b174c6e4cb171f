"""What every ObjectStore does: the bucket, and its twins."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from lakebound.adapters.s3 import S3Store
from lakebound.errors import LakeboundError, Misconfigured, ObjectMissing
from lakebound.ports import ObjectStore
from tests.support.local_ports import FolderStore, MemoryStore

Stores = Any
KEY = "ddb/flights/dt=2026-11-24/HH=03/stream-20261124T030534123Z-2-0123456789abcdef0123456789abcdef.ndjson.gz"


def test_what_was_put_is_got(stores: Stores) -> None:
    body = bytes(range(256)) * 5
    assert stores.store.put_if_absent(KEY, body, {"records": "2"}) is True
    assert stores.store.get(KEY, max_bytes=len(body)) == body
    assert stores.metadata(KEY) == {"records": "2"}


def test_an_empty_object_is_an_object(stores: Stores) -> None:
    assert stores.store.put_if_absent("a/empty", b"", {})
    assert stores.store.get("a/empty", max_bytes=0) == b""
    assert [one.size for one in stores.store.list("a/")] == [0]


def test_an_object_is_never_replaced(stores: Stores) -> None:
    stores.store.put_if_absent(KEY, b"first", {"writer": "1"})
    assert stores.store.put_if_absent(KEY, b"second", {"writer": "2"}) is False
    assert stores.store.get(KEY, max_bytes=100) == b"first"
    assert stores.metadata(KEY) == {"writer": "1"}


def test_a_missing_object_is_named(stores: Stores) -> None:
    stores.store.put_if_absent("claims/a", b"x", {})
    for key in ("claims/b", "claims", "claims/a/b", "nothing/at/all"):
        with pytest.raises(ObjectMissing, match=key):
            stores.store.get(key, max_bytes=100)


def test_an_object_above_the_limit_is_not_read(stores: Stores) -> None:
    stores.store.put_if_absent("claims/large", b"x" * 101, {})
    with pytest.raises(LakeboundError, match="101 bytes, more than the 100"):
        stores.store.get("claims/large", max_bytes=100)
    assert len(stores.store.get("claims/large", max_bytes=101)) == 101


def test_a_listing_is_in_key_order_over_pages(stores: Stores) -> None:
    # `-` and `.` sort before `/`: a walk over folders in name order would put a/1 first.
    keys = ["a-b/1", "a.b", "a/1", "a/10", "a/2", "a=b/1", "b/1", "b/dt=2026-11-24/HH=03/x"]
    for key in reversed(keys):
        stores.store.put_if_absent(key, key.encode(), {})
    assert [one.key for one in stores.store.list("")] == sorted(keys)
    assert [one.size for one in stores.store.list("")] == [len(key) for key in sorted(keys)]


def test_a_prefix_is_text_not_a_folder(stores: Stores) -> None:
    for key in ("ddb/cars/1", "ddb/cars2/1", "ddb/car", "other"):
        stores.store.put_if_absent(key, b"", {})
    assert [one.key for one in stores.store.list("ddb/cars/")] == ["ddb/cars/1"]
    assert [one.key for one in stores.store.list("ddb/car")] == ["ddb/car", "ddb/cars/1", "ddb/cars2/1"]
    assert list(stores.store.list("nothing")) == []


def test_an_object_tells_when_it_was_written(stores: Stores) -> None:
    stores.store.put_if_absent("a", b"", {})
    (one,) = stores.store.list("a")
    assert one.modified_ms > 1_000_000_000_000
    if stores.name != "memory":
        assert abs(one.modified_ms / 1000 - time.time()) < 60


@pytest.mark.parametrize("make", [lambda path: MemoryStore(), lambda path: FolderStore(path)], ids=["memory", "folder"])
def test_of_many_writers_at_once_one_wins(make: Callable[[Path], ObjectStore], tmp_path: Path) -> None:
    store = make(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        for turn in range(20):
            bodies = [f"{turn}-{writer}".encode() for writer in range(16)]
            won = list(pool.map(store.put_if_absent, [f"k/{turn}"] * 16, bodies, [{}] * 16))
            assert won.count(True) == 1
            assert store.get(f"k/{turn}", max_bytes=100) == bodies[won.index(True)]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "../a", "a/../../b", "a/./b", "a\0b", ".lakebound-store/x"])
def test_a_folder_refuses_keys_that_leave_it(tmp_path: Path, key: str) -> None:
    store = FolderStore(tmp_path / "bucket")
    with pytest.raises(LakeboundError, match="cannot be a path"):
        store.put_if_absent(key, b"x", {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_refuses_a_key_below_another_key(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_if_absent("a/b", b"x", {})
    with pytest.raises(LakeboundError, match="is a folder"):
        store.put_if_absent("a", b"x", {})
    with pytest.raises(LakeboundError, match="path"):
        store.put_if_absent("a/b/c", b"x", {})
    assert [one.key for one in store.list("")] == ["a/b"]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.put_if_absent("a", b"", {}),
        lambda store: store.get("a", max_bytes=1),
        lambda store: list(store.list("")),
    ],
    ids=["put", "get", "list"],
)
def test_a_bucket_that_does_not_exist_is_a_mistake_of_settings(use: Callable[[ObjectStore], object]) -> None:
    with pytest.raises(Misconfigured, match="bucket nowhere does not exist"):
        use(S3Store("nowhere", boto3.client("s3")))
