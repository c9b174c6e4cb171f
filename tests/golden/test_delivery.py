"""One small delivery, approved as a whole: the messages it became, the objects they became, and every line."""

import gzip
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.record.stream_records import StreamDecoder
from lakebound.transport.messages import ClaimCheck, Member, decode, decode_claimed
from lakebound.transport.object_keys import partitioner
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.stream_records import ARN, NOW_MS

HERE = Path(__file__).parent
APPROVED = HERE / "delivery.approved.txt"
RECEIVED = Path(__file__).resolve().parents[2] / ".build" / "delivery.received.txt"
DELIVERY = HERE.parent / "events" / "delivery.json"
MESSAGE_BYTES = 1_600
"""So small that a few records need several messages, and one of them a claim check."""


def carried() -> str:
    clock = ManualClock(NOW_MS)
    queue, store = MemoryQueue(clock), MemoryStore(clock)
    rules = IngestRules("flights", partitioner("dt=%Y-%m-%d/HH=%H"), True, MESSAGE_BYTES)
    records = json.loads(DELIVERY.read_text())["Records"]
    assert {record["eventSourceARN"] for record in records} == {ARN}
    ingested = ingest(records, rules, StreamDecoder("flights"), queue, store, clock, lambda: 60.0)
    sections = [f"# result of ingest\n{ingested}"]
    for number, waiting in enumerate(queue.messages, 1):
        sections.append(f"# message {number}\n" + "\n".join(told_message(waiting.body, store)))
    clock.sleep(20)
    flushed = flush(
        queue.receive(0), FlushRules("flights", "ddb/flights", 0, 67_108_864, 30), queue, store, clock, lambda: 120.0
    )
    sections.append("# result of flush\n" + f"{flushed}".replace("), (", "),\n  ("))
    for one in store.list(""):
        kept = store.objects[one.key]
        sections.append(f"# object {one.key}\n{told_metadata(dict(kept.metadata))}{told_body(one.key, kept.body)}")
    return sanitised("\n\n".join(sections) + "\n")


def told_message(body: str, store: MemoryStore) -> list[str]:
    content = decode("flights", body)
    if isinstance(content, ClaimCheck):
        document = store.get(content.key, content.bytes)
        return [f"claim {content.key}", *map(told_member, decode_claimed("flights", content, document))]
    return [told_member(member) for member in content]


def told_member(member: Member) -> str:
    head = json.loads(member.encode())
    del head["data"]
    return f"{json.dumps(head)}\n{gzip.decompress(member.data).decode().rstrip()}"


def told_metadata(metadata: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in metadata.items())


def told_body(key: str, body: bytes) -> str:
    if key.endswith(".ndjson.gz"):
        # Split on line feeds only, as every reader of ours must: one item holds U+2028, which str.splitlines breaks.
        return "\n".join(sorted(gzip.decompress(body).decode().removesuffix("\n").split("\n")))
    document: dict[str, Any] = json.loads(body)
    if "payload" in document:
        return json.dumps(document | {"payload": b64decode(document["payload"]).decode()}, indent=1)
    return "(see its message)"


def sanitised(text: str) -> str:
    """What another zlib would compress otherwise: digests and sizes of compressed bytes, each by its own number."""
    seen: dict[str, str] = {}

    def name(found: re.Match[str]) -> str:
        # A quarantine object is named by JSON that we write ourselves: its digest must not move.
        if text[: found.start()].endswith("quarantine/"):
            return found[0]
        return seen.setdefault(found[0], f"<digest {len(seen) + 1}>")

    text = re.sub(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32}(?=\.ndjson|$))", name, text, flags=re.MULTILINE)
    text = re.sub(r'"(bytes|crc32)": \d+', r'"\1": <moves>', text)
    text = re.sub(r"message_bytes=\d+", "message_bytes=<moves>", text)
    return re.sub(r"(ndjson\.gz', )\d+", r"\1<moves>", text)


def test_the_delivery_becomes_what_was_approved() -> None:
    received = carried()
    RECEIVED.parent.mkdir(parents=True, exist_ok=True)
    RECEIVED.write_text(received)
    assert received == APPROVED.read_text(), (
        f"look at the difference; to approve it, copy .build/{RECEIVED.name} over tests/golden/{APPROVED.name}"
    )


def test_the_delivery_is_carried_the_same_way_each_time() -> None:
    assert carried() == carried()
