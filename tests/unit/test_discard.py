"""`lakebound dlq discard`: junk waits no longer and is kept; what a redrive can carry is never put aside."""

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import pytest

from lakebound.operate.discard import discard_messages, verdict_of_failure
from tests.support.dead_letters import a_body, failure
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.operator_stack import BUCKET, MAPPING, Lakebound, Operated, waiting
from tests.support.stream_records import TABLE, stream_record

QUARANTINED = f"_lakebound/{TABLE}/quarantine/{'a' * 64}.json"


def put(operated: Operated, key: str, body: bytes) -> None:
    operated.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)


def copies(operated: Operated) -> list[dict[str, Any]]:
    s3 = operated.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"_lakebound/{TABLE}/discarded/").get("Contents", [])
    return [json.loads(s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()) for one in found]


def test_a_junk_message_is_discarded_with_a_copy_and_a_good_one_stays(lakebound: Lakebound, operated: Operated) -> None:
    for body in ("hello", a_body(1)):
        operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=body)
    dry = lakebound.document("dlq", "discard", "--from", "buffer", "--all", "--dry-run")
    assert waiting(operated, operated.dead_url) == 2
    result = lakebound.document("dlq", "discard", "--from", "buffer", "--all", "--yes")
    assert result == dry | {"dry_run": False}
    assert (list(result["discarded"].values()), list(result["kept"].values())) == (["message_shape"], ["redrive_helps"])
    assert [b64decode(copy["body"]) for copy in copies(operated)] == [b"hello"]
    assert waiting(operated, operated.dead_url) == 1
    assert lakebound("dlq", "redrive", "--from", "buffer", "--by", "copy") == 0
    assert lakebound("dlq", "list", "--from", "buffer") == 0


@pytest.mark.parametrize(
    ("source", "key", "body", "why"),
    [
        ("stream", f"aws/lambda/{MAPPING}/junk", b"hello", "no_records"),
        ("stream", f"aws/lambda/{MAPPING}/junk", b'{"a": 1}', "no_records"),
        ("quarantine", QUARANTINED, b"hello", "no_document"),
    ],
)
def test_a_junk_object_is_discarded_and_status_goes_back(
    source: str, key: str, body: bytes, why: str, lakebound: Lakebound, operated: Operated
) -> None:
    put(operated, key, body)
    assert [row["why"] for row in lakebound.document("dlq", "list", "--from", source, status=1)["rows"]] == [why]
    dry = lakebound.document("dlq", "redrive", "--from", source, "--dry-run", status=1)
    assert lakebound.document("dlq", "redrive", "--from", source, status=1) == dry | {"dry_run": False}
    assert "discarded 1 of 1" in lakebound.out("dlq", "discard", "--from", source, "--all", "--yes")
    assert [b64decode(copy["body"]) for copy in copies(operated)] == [body]
    assert lakebound("dlq", "list", "--from", source) == 0
    lakebound.printed()
    lakebound("status", "--json")
    seen = lakebound.document()["seen"]
    assert (seen["failure_objects"], seen["quarantined"]) == (0, 0)


def test_what_a_redrive_carries_is_refused_by_its_name(lakebound: Lakebound, operated: Operated) -> None:
    key = f"aws/lambda/{MAPPING}/x"
    put(operated, key, failure([stream_record(1)]))
    assert lakebound("dlq", "discard", key, "--from", "stream", "--yes", "--json") == 1
    assert lakebound.document()["kept"] == {key: "redrive_helps"}
    assert copies(operated) == []
    assert lakebound("dlq", "discard", "nothing", "--from", "stream", "--yes") == 2


def test_a_delivery_without_records_is_a_gap_that_no_discard_hides(lakebound: Lakebound, operated: Operated) -> None:
    key = f"aws/lambda/{MAPPING}/x"
    put(operated, key, b'{"DDBStreamBatchInfo": {"shardId": "s"}}')
    assert lakebound("dlq", "discard", key, "--from", "stream", "--yes", "--json") == 1
    assert lakebound.document()["kept"] == {key: "delivery_without_records"}
    assert verdict_of_failure(key, b'{"DDBStreamBatchInfo": {"shar') == "delivery_without_records"


def test_where_nobody_can_be_asked_nothing_goes(lakebound: Lakebound, operated: Operated) -> None:
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody="hello")
    assert "Give --yes" in lakebound.err("dlq", "discard", "--from", "buffer", "--all", "--json")
    assert lakebound("dlq", "discard", "--from", "buffer", "--yes") == 2
    assert waiting(operated, operated.dead_url) == 1


@pytest.mark.parametrize("bodies", [("hello",), ("hello", "good"), ("good",)])
def test_a_dry_redrive_judges_like_the_run(bodies: tuple[str, ...], lakebound: Lakebound, operated: Operated) -> None:
    for number, body in enumerate(bodies):
        sent = body if body == "hello" else a_body(number)
        operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=sent)
    status = lakebound("dlq", "redrive", "--from", "buffer", "--by", "copy", "--dry-run", "--json")
    dry = lakebound.document()
    assert lakebound("dlq", "redrive", "--from", "buffer", "--by", "copy", "--json") == status
    run = lakebound.document()
    for name in ("way", "found", "redriven", "kept", "done"):
        assert run[name] == dry[name], name


def test_a_dry_redrive_of_failures_names_the_poison_it_would_keep(lakebound: Lakebound, operated: Operated) -> None:
    put(operated, f"aws/lambda/{MAPPING}/x", failure([stream_record(2), {"no": "record"}]))
    dry = lakebound.document("dlq", "redrive", "--from", "stream", "--dry-run", status=1)
    assert lakebound("dlq", "redrive", "--from", "stream", "--json") == 1
    assert {**lakebound.document(), "messages": 0} == {**dry, "dry_run": False}


class Undeletable(MemoryQueue):
    """A queue that is gone between the copy and the delete."""

    dies = True

    def delete(self, receipts: Sequence[str]) -> list[int]:
        if self.dies:
            raise KeyboardInterrupt
        return super().delete(receipts)


def test_killed_between_the_copy_and_the_delete_the_next_run_ends_it() -> None:
    clock = ManualClock()
    store, dead = MemoryStore(clock), Undeletable(clock)
    dead.send(["hello", a_body(1)])
    ids = {message.message_id for message in dead.messages if message.body == "hello"}
    with pytest.raises(KeyboardInterrupt):
        discard_messages(TABLE, ids, dead, store, clock)
    assert len(store.objects) == 1
    assert len(dead.messages) == 2
    dead.dies = False
    clock.sleep(60)
    assert set(discard_messages(TABLE, ids, dead, store, clock).discarded) == ids
    assert len(store.objects) == 1
    assert len(dead.messages) == 1


def test_what_is_shown_is_json_and_lists_have_heads(lakebound: Lakebound, operated: Operated) -> None:
    key = f"aws/lambda/{MAPPING}/x"
    put(operated, key, failure([stream_record(1)]))
    assert lakebound("dlq", "show", key, "--from", "stream") == 0
    assert lakebound.document()["records"] == 1
    lines = lakebound.out("dlq", "list", "--from", "stream", status=1).splitlines()
    assert lines[1].split() == ["ID", "SINCE", "RECORDS", "WHY"]
    assert lines[2].split()[0] == key
