"""Members and messages: every line once, within the limits, and nothing forged gets through."""

import json
import random
from base64 import b64decode, b64encode
from dataclasses import replace
from gzip import decompress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.errors import Poison
from lakebound.transport.messages import (
    LINES_PER_MEMBER,
    MAX_CLAIM_BYTES,
    MAX_LINES,
    ClaimCheck,
    Line,
    Member,
    OutgoingMessage,
    Packer,
    decode,
    decode_claimed,
)
from lakebound.transport.object_keys import CLAIMS
from tests.support.stream_records import NOW_MS

TABLE = "flights"
HOURS = ["dt=2026-11-24/HH=03", "dt=2026-11-24/HH=04", "dt=2026-11-24/HH=05"]
SMALL = 65_536


def version(position: int) -> str:
    return f"2026-11-01T08:00:00.000|{position:040d}"


def noise(size: int, seed: int) -> bytes:
    """A line that does not compress."""
    return b64encode(random.Random(seed).randbytes(size * 3 // 4)) + b"\n"


def line(position: int, data: bytes, partition: str = HOURS[0]) -> Line:
    return Line(position, partition, version(position), data)


def pack(lines: list[Line], limit: int = SMALL) -> list[OutgoingMessage]:
    return list(Packer(TABLE, limit, NOW_MS).pack(lines))


def members_of(message: OutgoingMessage) -> list[Member]:
    content = decode(TABLE, message.body)
    if isinstance(content, ClaimCheck):
        assert message.claim is not None
        assert message.claim[0] == content.key
        return decode_claimed(TABLE, content, message.claim[1])
    assert message.claim is None
    return content


def unpacked(messages: list[OutgoingMessage]) -> dict[str, list[bytes]]:
    """The lines of each hour partition in the order in which they travel."""
    found: dict[str, list[bytes]] = {}
    for message in messages:
        for member in members_of(message):
            lines = decompress(member.data).splitlines(keepends=True)
            assert len(lines) == member.count
            found.setdefault(member.partition, []).extend(lines)
    return found


sizes = st.one_of(st.integers(1, 300), st.integers(1_000, 40_000), st.just(80_000))


@settings(max_examples=40)
@given(
    parts=st.lists(st.tuples(sizes, st.sampled_from(HOURS), st.integers(1, 20)), max_size=10),
    limit=st.sampled_from([SMALL, 131_072]),
)
def test_every_line_travels_once_within_the_limit_and_in_order(parts: list[tuple[int, str, int]], limit: int) -> None:
    lines: list[Line] = []
    for size, hour, times in parts:
        for _ in range(min(times, max(1, 50_000 // size))):
            position = len(lines)
            text = f"{position:08d}".encode() + (noise(size, position) if size > 300 else b"x" * size + b"\n")
            lines.append(line(position, text, hour))
    messages = pack(lines, limit)
    # A claim check goes ahead of the message that is still filling; all else of an hour keeps its order.
    claimed = [
        text for message in messages if message.claim for texts in unpacked([message]).values() for text in texts
    ]
    for hour in HOURS:
        sent = [one.data for one in lines if one.partition == hour]
        assert sorted(unpacked(messages).get(hour, [])) == sorted(sent)
        packed = unpacked([message for message in messages if message.claim is None]).get(hour, [])
        assert packed == [data for data in sent if data not in claimed]
    assert sum(message.count for message in messages) == len(lines)
    for message in messages:
        assert len(message.body) <= limit
        assert message.body.isascii()
        assert message.body.isprintable()
        held = [int(one[:8]) for member in members_of(message) for one in decompress(member.data).splitlines()]
        assert (message.first_position, message.members) == (min(held), len(members_of(message)))


def test_members_hold_about_five_hundred_lines_and_messages_are_filled() -> None:
    messages = pack([line(position, noise(300, position)) for position in range(10_000)], 262_144)
    members = [member for message in messages for member in members_of(message)]
    assert {member.count for member in members[:-1]} == {LINES_PER_MEMBER}
    largest = max(len(member.encode()) for member in members)
    for message in messages[:-1]:
        assert 262_144 - largest <= len(message.body) <= 262_144


@pytest.mark.parametrize("seed", range(8))
def test_a_message_of_many_small_members_keeps_within_its_limit(seed: int) -> None:
    """With event time every record may have an hour of its own: the commas between members count too."""
    messages = pack([line(position, noise(40 + seed, position), f"HH={position}") for position in range(700)])
    assert sum(message.members for message in messages) == 700
    assert max(len(message.body) for message in messages) <= SMALL
    assert len(messages) > 2


def test_a_run_too_large_for_a_message_is_split() -> None:
    lines = [line(position, noise(2_000, position)) for position in range(400)]
    messages = pack(lines)
    assert all(message.claim is None for message in messages)
    assert unpacked(messages)[HOURS[0]] == [one.data for one in lines]


def test_a_line_too_large_for_a_message_travels_by_claim_check() -> None:
    lines = [line(0, b"before\n"), line(1, noise(200_000, 1)), line(2, b"after\n")]
    messages = pack(lines)
    claims = [message for message in messages if message.claim is not None]
    assert [message.first_position for message in claims] == [1]
    assert claims[0].claim is not None
    key, document = claims[0].claim
    assert key == CLAIMS.key(TABLE, sha256(document).hexdigest())
    assert len(claims[0].body) < 500
    assert unpacked(messages)[HOURS[0]] != []
    assert sorted(unpacked(messages)[HOURS[0]]) == sorted(one.data for one in lines)


def test_a_member_says_what_it_holds() -> None:
    (message,) = pack([line(9, b"a\n"), line(3, b"b\n"), Line(4, HOURS[0], None, b"c\n")])
    (member,) = members_of(message)
    assert (member.min_version, member.max_version) == (version(3), version(9))
    assert (member.count, member.max_ingest_ms, member.format) == (3, NOW_MS, "ndjson.gz")
    assert message.first_position == 3


def test_equal_lines_give_equal_bytes() -> None:
    """The file's name is a digest of these bytes: a clock in the gzip header would give a crash another name."""
    lines = [line(position, noise(100, position)) for position in range(50)]
    assert pack(lines) == pack(lines)


def test_a_body_is_the_contracts_document() -> None:
    (message,) = pack([line(0, b"{}\n")])
    document = json.loads(message.body)
    assert list(document) == ["v", "table", "members"]
    assert (document["v"], document["table"]) == (1, TABLE)
    (member,) = document["members"]
    assert list(member) == [
        "partition", "format", "count", "bytes", "min_version", "max_version", "max_ingest_ms", "crc32", "data",
    ]  # fmt: skip
    assert member["bytes"] == len(b64decode(member["data"]))


def test_nothing_to_pack_is_no_message() -> None:
    assert pack([]) == []


# What arrives. A message is changed in one place, and the crc made right again where a forger would.


def member() -> Member:
    (message,) = pack([line(0, b'{"a":1}\n'), line(1, b'{"a":2}\n')])
    return members_of(message)[0]


def encoded(**changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(member().encode())
    return {name: inner for name, inner in (value | changes).items() if inner is not ...}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partition", HOURS[1]),
        ("format", "avro"),
        ("count", 3),
        ("bytes", 1),
        ("min_version", version(7)),
        ("min_version", None),
        ("max_version", version(7)),
        ("max_ingest_ms", NOW_MS + 1),
        ("crc32", 0),
        ("crc32", None),
        ("crc32", "1"),
        ("data", b64encode(b"other bytes").decode()),
        ("data", ""),
    ],
)
def test_the_crc_covers_every_field(field: str, value: object) -> None:
    with pytest.raises(Poison, match=r"^member_crc: "):
        Member.decode(encoded(**{field: value}))


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found(place: int, bit: int) -> None:
    data = bytearray(member().data)
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(Poison):
        Member.decode(encoded(data=b64encode(bytes(data)).decode()))


FORGED: dict[str, dict[str, Any]] = {
    "partition above the prefix": {"partition": "../../_lakebound/flights/quarantine"},
    "partition of another type": {"partition": ["dt=1"]},
    "partition with a line break": {"partition": "dt=1\nHH=2"},
    "no partition": {"partition": ...},
    "unknown format": {"format": "csv"},
    "format of another type": {"format": {}},
    "count zero": {"count": 0},
    "count negative": {"count": -1},
    "count true": {"count": True},
    "count as text": {"count": "2"},
    "count with a fraction": {"count": 2.0},
    "count above all measure": {"count": MAX_LINES + 1},
    "count of 70 bits": {"count": 2**70},
    "count of 64 bits": {"count": 2**64 - 1},
    "time negative": {"max_ingest_ms": -1},
    "time after the year 9999": {"max_ingest_ms": 253_402_300_800_000},
    "time as text": {"max_ingest_ms": "1"},
    "version of another shape": {"min_version": "1"},
    "version with a line break": {"max_version": version(1) + "\n"},
    "version as a number": {"max_version": 1},
    "version not ASCII": {"min_version": "2026-11-01é08:00|" + "0" * 40},
    "data that is not base64": {"data": "%%%%"},
    "data with a line break": {"data": "AA==\n"},
    "data not ASCII": {"data": "é"},
    "data that is null": {"data": None},
    "no data": {"data": ...},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_forged_member_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Poison, match=r"^(member_shape|member_crc): "):
        decode(TABLE, json.dumps({"v": 1, "table": TABLE, "members": [encoded(), encoded(**changes)]}))


@pytest.mark.parametrize(
    "changes",
    [{"count": MAX_LINES + 1}, {"count": 2**63}, {"partition": ".."}, {"max_ingest_ms": 253_402_300_800_000}],
    ids=str,
)
def test_a_right_crc_does_not_make_a_forged_member_good(changes: dict[str, Any]) -> None:
    forged = replace(member(), **changes)
    with pytest.raises(Poison, match=r"^member_shape: "):
        Member.decode(json.loads(forged.encode()))


BODIES: dict[str, str] = {
    "empty": "",
    "not JSON": "hello",
    "half": '{"v":1,"table":"flights","members":[',
    "null": "null",
    "list": "[]",
    "lone surrogate": '{"v":1,"table":"flights","x":"\ud800"}',
    "deep": "[" * 100_000,
    "deep and closed": "[" * 5_000 + "]" * 5_000,
    "no version": '{"table":"flights","members":[]}',
    "another table": '{"v":1,"table":"cars","members":[]}',
    "no table": '{"v":1,"members":[]}',
    "no members": '{"v":1,"table":"flights"}',
    "empty members": '{"v":1,"table":"flights","members":[]}',
    "members of another type": '{"v":1,"table":"flights","members":{"0":{}}}',
    "a member that is null": '{"v":1,"table":"flights","members":[null]}',
    "an S3 event": '{"Records":[{"eventSource":"aws:s3"}]}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_foreign_body_is_refused(body: str) -> None:
    with pytest.raises(Poison, match=r"^(message_shape|member_shape): "):
        decode(TABLE, body)


@pytest.mark.parametrize("version", [True, 1.0, "1", 0, 2, None, [1]], ids=repr)
def test_a_good_document_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(Poison, match=r"^message_shape: "):
        decode(TABLE, json.dumps({"v": version, "table": TABLE, "members": [encoded()]}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["v", "table", "members", "claim", "data", "count"]) | st.text(), inner, max_size=4
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_comes_is_refused_as_poison_and_never_otherwise(value: Any) -> None:
    bodies = [json.dumps(value)]
    bodies.append(json.dumps({"v": 1, "table": TABLE, "members": value}))
    bodies.append(json.dumps({"v": 1, "table": TABLE, "members": [value]}))
    bodies.append(json.dumps({"v": 1, "table": TABLE, "claim": value}))
    for body in bodies:
        with pytest.raises(Poison):
            decode(TABLE, body)


def claim(**changes: Any) -> str:
    digest = sha256(b"document").hexdigest()
    value = {"key": CLAIMS.key(TABLE, digest), "sha256": digest, "bytes": 8} | changes
    return json.dumps({"v": 1, "table": TABLE, "claim": value})


def test_a_claim_check_is_read() -> None:
    content = decode(TABLE, claim())
    assert isinstance(content, ClaimCheck)
    assert content.bytes == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ddb/flights/dt=1/HH=2/x.json"},
        {"key": CLAIMS.key("cars", sha256(b"document").hexdigest())},
        {"key": CLAIMS.key(TABLE, "a" * 64)},
        {"key": None},
        {"key": 1},
        {"sha256": "a" * 64},
        {"sha256": None},
        {"bytes": 0},
        {"bytes": -1},
        {"bytes": True},
        {"bytes": 8.0},
        {"bytes": "8"},
        {"bytes": MAX_CLAIM_BYTES + 1},
    ],
    ids=str,
)
def test_a_forged_claim_check_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Poison, match=r"^message_shape: "):
        decode(TABLE, claim(**changes))


def test_a_claimed_document_must_be_the_one_that_was_sent() -> None:
    content = decode(TABLE, claim())
    assert isinstance(content, ClaimCheck)
    for document in (b"", b"document2", b"documenT"):
        with pytest.raises(Poison, match=r"^claim_digest: "):
            decode_claimed(TABLE, content, document)
    with pytest.raises(Poison, match=r"^message_shape: "):
        decode_claimed(TABLE, content, b"document")


def test_a_claim_check_behind_a_claim_check_is_refused() -> None:
    document = claim().encode()
    digest = sha256(document).hexdigest()
    content = ClaimCheck(CLAIMS.key(TABLE, digest), digest, len(document))
    with pytest.raises(Poison, match=r"^message_shape: "):
        decode_claimed(TABLE, content, document)
