"""The verdict of a trace is the two-register rule's, whatever order the records come in."""

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from lakebound.adapters.folder import read_folder
from lakebound.errors import LakeboundError
from lakebound.operate.replay import plan_replay, stage_replay
from lakebound.operate.trace import read_bucket, trace
from lakebound.record.envelope import encode_line
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.object_keys import DataKey, format_time
from tests.support.independent_writer import file_name, line
from tests.support.independent_writer import stream as independent
from tests.support.local_ports import MemoryStore
from tests.support.operator_stack import BUCKET, Lakebound, Operated
from tests.support.stream_records import NOW_MS, stream_record

KEY = "id=S:a"


def stream(number: int, value: str | None, created: int, old: str | None = None, key: str = KEY) -> dict[str, Any]:
    return {
        "origin": "stream",
        "event_name": "MODIFY" if value is not None else "REMOVE",
        "key": key,
        "version": f"L|{number:040}",
        "snapshot_label_ms": None,
        "snapshot_run": None,
        "approx_creation_time_ms": created,
        "ingest_time_ms": created + 5,
        "new_image": None if value is None else {"v": {"S": value}},
        "old_image": None if old is None else {"v": {"S": old}},
    }


def base(label: int, value: str | None, run: str = "r") -> dict[str, Any]:
    return stream(0, value, label) | {
        "origin": "scan",
        "event_name": "SNAPSHOT" if value is not None else "ABSENT",
        "version": None,
        "snapshot_label_ms": label,
        "snapshot_run": run,
        "approx_creation_time_ms": None,
        "old_image": None,
    }


def files(*records: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"file-{place}", record) for place, record in enumerate(records)]


@pytest.mark.parametrize(
    ("records", "winner", "visible"),
    [
        ((stream(1, "a", 1000), stream(2, "b", 1000)), "MODIFY", True),
        ((stream(1, "a", 1000), stream(2, None, 900)), "REMOVE", False),
        ((stream(1, "a", 1000), base(1000, "b")), "MODIFY", True),
        ((stream(1, "a", 1000), base(1001, "b")), "SNAPSHOT", True),
        ((stream(1, "a", 1000), base(2000, "b"), base(3000, None)), "ABSENT", False),
        ((base(2000, None), base(2000, "b")), "SNAPSHOT", True),
        ((), None, False),
    ],
)
def test_the_register_that_wins(records: tuple[dict[str, Any], ...], winner: str | None, visible: bool) -> None:
    for seed in range(5):
        shuffled = files(*records)
        random.Random(seed).shuffle(shuffled)
        found = trace(KEY, shuffled)
        assert (found.winner.event_name if found.winner else None, found.is_visible) == (winner, visible)


def test_records_stand_in_order_and_copies_are_counted() -> None:
    found = trace(KEY, files(stream(3, "c", 3), stream(1, "a", 1), stream(3, "c", 3), stream(1, "x", 1, key="id=S:b")))
    assert [(step.version[-1], step.copies) for step in found.stream] == [("1", 1), ("3", 2)]


def test_a_lost_record_breaks_the_chain_and_a_whole_one_does_not() -> None:
    whole = [stream(1, "a", 1), stream(2, "b", 2, old="a"), stream(3, None, 3, old="b"), stream(4, "c", 4)]
    assert trace(KEY, files(*whole)).breaks == ()
    assert trace(KEY, files(whole[0], whole[2], whole[3])).breaks == (f"L|{3:040}",)


def test_an_old_image_that_could_not_be_carried_breaks_no_chain() -> None:
    whole = [stream(1, "a", 1), stream(2, "b", 2, old="a"), stream(3, "c", 3), stream(4, None, 4, old="c")]
    assert trace(KEY, files(*whole)).breaks == ()
    # What follows is still held against it, and an INSERT says that there was no item.
    assert trace(KEY, files(*whole[:3], stream(4, None, 4, old="x"))).breaks == (f"L|{4:040}",)
    again = stream(3, "c", 3) | {"event_name": "INSERT"}
    assert trace(KEY, files(*whole[:2], again, whole[3])).breaks == (f"L|{3:040}",)


@pytest.mark.parametrize(
    ("new", "old", "broken"),
    [
        ({"v": {"N": "1.0"}, "w": {"S": ""}}, {"w": {"S": ""}, "v": {"N": "1"}}, False),
        ({"v": {"SS": ["", "a"]}}, {"v": {"SS": ["a", ""]}}, False),
        ({"v": {"X": {"b": 1, "a": 2}}}, {"v": {"X": {"a": 2, "b": 1}}}, False),
        ({"v": {"X": [1, 2]}}, {"v": {"X": [2, 1]}}, True),
        ({"v": {"N": "1"}}, {"v": {"N": 1}}, True),
    ],
)
def test_images_are_compared_as_the_audit_does(new: Any, old: Any, broken: bool) -> None:
    first = stream(1, "a", 1) | {"new_image": new}
    assert bool(trace(KEY, files(first, stream(2, "b", 2) | {"old_image": old})).breaks) is broken


def test_a_stream_of_new_images_only_is_not_audited() -> None:
    assert trace(KEY, files(stream(1, "a", 1), stream(3, "c", 3))).breaks == ()


def test_the_verb_reads_a_mirror_and_tells_no_value(lakebound: Lakebound, tmp_path: Path) -> None:
    from lakebound.transport import batch_files, messages
    from tests.support.dead_letters import World

    world = World()
    world.ingest.carry([stream_record(1, attributes={"secret": {"S": "canary-77"}}), stream_record(2)])
    for waiting in world.buffer.messages:
        members = messages.decode("flights", waiting.body)
        assert isinstance(members, list)
        for file in batch_files.assemble("ddb/flights", "stream", members):
            place = tmp_path / file.key
            place.parent.mkdir(parents=True)
            place.write_bytes(file.body)
    for typed in ("id=S:k1", "k1", "id=k1", '{"id": "k1"}', '{"id": {"S": "k1"}}'):
        assert lakebound("trace", typed, "--files", str(tmp_path)) == 0, typed
        told = lakebound.out()
        assert told.startswith("id=S:k1\n")
        assert "1 record of the stream" in told
        assert "visible: the greatest version of the stream" in told
        assert "canary" not in told


def test_nothing_found_says_what_was_sought_and_where(lakebound: Lakebound, tmp_path: Path, operated: Operated) -> None:
    body = encode_line(StreamDecoder("flights").decode(stream_record(1), NOW_MS), NOW_MS)
    name = f"stream-{format_time(NOW_MS)}-1-{'a' * 32}.ndjson.gz"
    key = f"ddb/flights/dt=2026-11-24/HH=03/{name}"
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(body))
    assert lakebound("trace", "k1") == 0
    lakebound.printed()
    told = lakebound.out("trace", "OP1#JFK", status=1)
    for part in (
        "nothing found of OP1#JFK",
        "id=S:OP1#JFK",
        "1 batch file with 1 record, in s3://lake-files/ddb/flights/",
        "0 records in quarantine",
        "id (S)",
    ):
        assert part in told
    document = lakebound.document("trace", "OP1#JFK", status=1)
    assert document["looked_for"] == ["id=S:OP1#JFK"]
    assert document["searched"] == {"where": "s3://lake-files/ddb/flights/", "files": 1, "records": 1, "quarantined": 0}
    assert "the table's key is not known" in lakebound.out("trace", "k1", "--files", str(tmp_path), status=1)


def test_a_record_that_only_quarantine_has_is_told(lakebound: Lakebound, operated: Operated) -> None:
    from lakebound.adapters.s3 import S3Store
    from tests.support.dead_letters import World

    world = World()
    world.ingest.carry([stream_record(1), stream_record(2) | {"eventName": "NOTHING"}])
    store = S3Store(BUCKET, operated.client("s3"))
    for name, kept in world.store.objects.items():
        store.put_if_absent(name, kept.body if hasattr(kept, "body") else kept, {})
    assert "quarantine:" in lakebound.out("trace", "k2", status=1)


def stored(*times: int) -> MemoryStore:
    store = MemoryStore()
    for number, time in enumerate(times):
        key = DataKey("dt=2026-11-24/HH=03", "stream", time, number + 1, f"{number:032x}", "ndjson.gz")
        store.put_if_absent(key.format("ddb/flights"), b"x" * 10, {})
    store.put_if_absent("ddb/flights/dt=2026-11-24/_SUCCESS", b"", {})
    return store


HOUR = 3_600_000


def test_a_stretch_takes_every_file_that_may_hold_its_records_and_no_other() -> None:
    start = 1_795_000_000_000
    store = stored(start - 1, start, start + HOUR, start + 2 * HOUR)
    plan = plan_replay(store.list("ddb/flights/"), "ddb/flights", from_ms=start, to_ms=start + HOUR)
    assert (plan.records, plan.size) == (2 + 3, 20)


def test_named_files_are_taken_and_an_unknown_name_is_an_error() -> None:
    store = stored(1_795_000_000_000)
    name = f"stream-{format_time(1_795_000_000_000)}-1-{0:032x}.ndjson.gz"
    assert len(plan_replay(store.list("ddb/flights/"), "ddb/flights", names=[name]).files) == 1
    with pytest.raises(LakeboundError, match="No batch file nothing under ddb/flights/"):
        plan_replay(store.list("ddb/flights/"), "ddb/flights", names=[name, "nothing"])


def test_staged_files_keep_their_hour_partition_and_staging_again_changes_nothing() -> None:
    store = stored(1_795_000_000_000)
    plan = plan_replay(store.list("ddb/flights/"), "ddb/flights", from_ms=0)
    folder = stage_replay(store, plan, "ddb/flights", "flights", "now")
    before = dict(store.objects)
    assert stage_replay(store, plan, "ddb/flights", "flights", "now") == folder
    assert store.objects == before
    (copy,) = store.list(folder)
    assert DataKey.parse(folder, copy.key) is not None


def test_a_folder_gives_the_files_since_a_moment_that_a_bucket_gives(tmp_path: Path) -> None:
    store, hour = MemoryStore(), "dt=2026-11-24/HH=03"
    (tmp_path / hour).mkdir(parents=True)
    (tmp_path / "folder.avro").mkdir()
    times = [NOW_MS + 1_000 * second for second in range(4)]
    for at in times:
        content = gzip.compress(line(independent("a", at, None, time_ms=at)).encode())
        name = file_name(1, content, time_ms=at)
        (tmp_path / hour / name).write_bytes(content)
        store.put_if_absent(f"ddb/{hour}/{name}", content, {})
    counts = []
    for since in (0, *times, times[-1] + 1):
        here = [name for name, _ in read_folder(tmp_path, since)]
        assert here == [name.removeprefix("ddb/") for name, _ in read_bucket(store, "ddb", since)]
        counts.append(len(here))
    assert counts == [4, 4, 3, 2, 1, 0]


def test_the_command_passes_over_older_files_of_a_folder_and_says_so(lakebound: Lakebound, tmp_path: Path) -> None:
    content = gzip.compress(line(independent("a", 1, None)).encode())
    name = file_name(1, content, time_ms=NOW_MS)
    (tmp_path / name).write_bytes(content)
    found = ("trace", "id=a", "--files", str(tmp_path))
    assert "1 record" in lakebound.out(*found, "--since", "2001-01-01")
    assert "0 batch files written since 2099-01-01T00:00:00Z" in lakebound.out(
        *found, "--since", "2099-01-01", status=1
    )
    # A renamed file does not say when it was written, so it may be what is looked for.
    (tmp_path / name).rename(tmp_path / f"copy-of-{name}")
    assert "1 record" in lakebound.out(*found, "--since", "2099-01-01")
