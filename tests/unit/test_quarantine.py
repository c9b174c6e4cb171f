"""A poison record is kept whole, under a name that meets itself."""

import json
import sys
from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.errors import Poison
from lakebound.record.ascii_json import ascii_json
from lakebound.transport.object_keys import QUARANTINE
from lakebound.transport.quarantine import QuarantineObject, from_delivery
from tests.support.stream_records import ARN, NOW_MS, TABLE, sequence, stream_record

POISON = Poison("number", "39 significant digits, at most 38 are legal")


def keep(record: object) -> QuarantineObject:
    return from_delivery(TABLE, record, POISON, NOW_MS)


def payload_of(kept: QuarantineObject) -> bytes:
    return b64decode(json.loads(kept.body)["payload"])


def test_the_document_says_what_where_when_and_why() -> None:
    record = stream_record(5)
    kept = keep(record)
    document = json.loads(kept.body)
    assert document == {
        "stage": "stream_ingest",
        "reason": "number",
        "detail": "39 significant digits, at most 38 are legal",
        "source": {"event_source_arn": ARN, "sequence_number": sequence(5)},
        "quarantined_at": NOW_MS,
        "payload": document["payload"],
    }
    assert json.loads(payload_of(kept)) == record
    assert kept.reason == "number"


def test_the_name_is_the_payloads_digest_so_poison_meets_itself() -> None:
    once, again = keep(stream_record(5)), from_delivery(TABLE, stream_record(5), POISON, NOW_MS + 60_000)
    assert once.key == again.key == QUARANTINE.key(TABLE, sha256(payload_of(once)).hexdigest())
    assert keep(stream_record(6)).key != once.key


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_a_payload_is_ascii_and_comes_back_whatever_it_was(record: Any) -> None:
    """Lone surrogates among it: that is what most of them are here for."""
    payload = payload_of(keep(record))
    assert payload.isascii()
    assert json.loads(payload) == record


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800"], ids=ascii)
def test_half_surrogate_pairs_are_kept(text: str) -> None:
    record = stream_record(attributes={text: {"S": text}})
    assert json.loads(payload_of(keep(record)))["dynamodb"]["NewImage"][text] == {"S": text}


def deep(levels: int, kind: str) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value, 1] if kind == "list" else {"name": value, "é": None}
    return value


def depth_of(value: Any) -> int:
    levels = 0
    while type(value) in (list, dict):
        value = value[0] if type(value) is list else value["name"]
        levels += 1
    assert value == "core"
    return levels


@pytest.mark.parametrize("kind", ["list", "map"])
def test_nesting_beyond_recursion_is_kept_whole(kind: str) -> None:
    payload = payload_of(keep({"dynamodb": deep(50_000, kind)}))
    assert payload.isascii()
    assert payload.count(b"core") == 1
    assert payload.count(b"[" if kind == "list" else b"{") - payload.count(b"]" if kind == "list" else b"}") == 0
    assert payload.count(b"[" if kind == "list" else b"{") == 50_000 + (kind == "map")


@pytest.mark.parametrize("kind", ["list", "map"])
def test_deep_nesting_is_written_as_shallow_nesting_is(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"a": deep(300, kind), "b": [], "c": {}, "d": ["\ud800", 1.5, True, None], 'e"': {"f": {}}}
    expected = ascii_json(value)
    monkeypatch.setattr(json, "dumps", _refusing_containers(json.dumps))
    assert ascii_json(value) == expected
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        assert depth_of(json.loads(expected)["a"]) == 300
    finally:
        sys.setrecursionlimit(limit)


def _refusing_containers(real: Any) -> Any:
    def dumps(value: Any, **options: Any) -> str:
        if type(value) in (list, dict):
            raise RecursionError
        text: str = real(value, **options)
        return text

    return dumps


@pytest.mark.parametrize("arn", [None, 1, ["x"], "\ud800", "é\n"], ids=ascii)
def test_a_source_that_is_none_is_told_in_ascii(arn: object) -> None:
    kept = keep(stream_record() | {"eventSourceARN": arn})
    assert kept.body.isascii()
    told = json.loads(kept.body)["source"]["event_source_arn"]
    assert told is None or (type(arn) is str and told.isprintable())


@pytest.mark.parametrize(
    "record", [None, 1, "x", [], {}, {"dynamodb": None}, {"dynamodb": {"SequenceNumber": 1}}], ids=str
)
def test_anything_at_all_can_be_kept(record: object) -> None:
    assert json.loads(keep(record).body)["source"] == {"event_source_arn": None, "sequence_number": None}
