"""What DROP_ATTRIBUTES and HASH_ATTRIBUTES name lands nowhere; everything else lands as it was."""

import hmac
import io
import logging
from base64 import b64decode
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.adapters.secrets import redaction_at_start
from lakebound.errors import Misconfigured
from lakebound.formats.registry import encoder_of, reader_of
from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.raw_items import ItemReader
from lakebound.record.redaction import Redaction, parse_paths
from lakebound.record.stream_records import StreamDecoder
from lakebound.settings import IngestSettings, RedactionSettings
from lakebound.transport import messages
from lakebound.transport.object_keys import partitioner
from tests.support.item_text import compact, spaced
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.stream_records import NOW_MS, TABLE, odd_values, stream_record

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_795_000_005_000
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000"


def redaction(drop: str = "", hashed: str = "") -> Redaction:
    return Redaction.of(parse_paths("DROP_ATTRIBUTES", drop), parse_paths("HASH_ATTRIBUTES", hashed), KEY)


def image_of(item: dict[str, Any], drop: str = "", hashed: str = "") -> dict[str, Any]:
    record = {"dynamodb": {"NewImage": item}}
    redacted: Any = redaction(drop, hashed).record(record)
    assert record == {"dynamodb": {"NewImage": item}}
    image: dict[str, Any] = redacted["dynamodb"]["NewImage"]
    return image


def digest(text: str) -> dict[str, str]:
    return {"S": hmac.new(KEY, text.encode(), "sha256").hexdigest()}


def test_paths_are_names_between_dots_with_backslashes_for_what_is_in_a_name() -> None:
    assert parse_paths("X", r" email, address.street ,a\.b.c,d\,e,f\\.g,,") == (
        ("email",),
        ("address", "street"),
        ("a.b", "c"),
        ("d,e",),
        ("f\\", "g"),
    )


@pytest.mark.parametrize("text", ["a..b", ".a", "a."])
def test_an_empty_name_is_refused_with_the_settings_name(text: str) -> None:
    with pytest.raises(Misconfigured, match="DROP_ATTRIBUTES has the path"):
        parse_paths("DROP_ATTRIBUTES", text)


@pytest.mark.parametrize(("drop", "hashed"), [("a", "a"), ("a", "a.b"), ("a.b", "a"), ("a,a.b", "")])
def test_paths_that_contradict_each_other_are_refused(drop: str, hashed: str) -> None:
    with pytest.raises(Misconfigured, match="disagree about"):
        redaction(drop, hashed)


def test_dropped_and_hashed_by_path_inside_maps_and_lists() -> None:
    item = {
        "email": {"S": "x@example.com"},
        "a.b": {"S": "dotted"},
        "keep": {"N": "1"},
        "person": {"M": {"name": {"S": "N"}, "age": {"N": "7"}}},
        "lines": {
            "L": [{"M": {"serial": {"S": "1"}, "n": {"N": "1"}}}, {"L": [{"M": {"serial": {"S": "2"}}}]}, {"N": "3"}]
        },
    }
    assert image_of(item, r"email,a\.b,person.name,lines.n", "lines.serial,person.age,missing,keep.inside") == {
        "keep": {"N": "1"},
        "person": {"M": {"age": digest("N:7")}},
        "lines": {"L": [{"M": {"serial": digest("S:1")}}, {"L": [{"M": {"serial": digest("S:2")}}]}, {"N": "3"}]},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"S": "x"}, "S:x"),
        ({"N": "1.50"}, "N:1.5"),
        ({"B": "AAE="}, "B:AAE="),
        ({"NULL": True}, "NULL:true"),
        ({"BOOL": False}, "BOOL:false"),
        ({"NS": ["2", "1.0"]}, 'NS:["1","2"]'),
        ({"SS": ["b", "a"]}, 'SS:["a","b"]'),
        ({"L": [{"N": "1.0"}]}, 'L:[{"N":"1"}]'),
        ({"M": {"b": {"N": "10"}, "a": {"S": "x"}}}, 'M:{"a":{"S":"x"},"b":{"N":"10"}}'),
        ({"N": "NaN"}, '?:{"N":"NaN"}'),
        ({"S": 1}, '?:{"S":1}'),
        ({"SS": ["b", "", "a"]}, 'SS:["","a","b"]'),
        ({"SS": ["a", "a"]}, '?:{"SS":["a","a"]}'),
        ({"X": {"b": 1.50, "a": None}}, '?:{"X":{"a":null,"b":1.5}}'),
        ({"S": "a", "N": "1"}, '?:{"N":"1","S":"a"}'),
        ({"L": [{"N": "1.0"}, {"X": 1}]}, 'L:[{"N":"1"},{"X":1}]'),
        ({"M": {"b": {"N": 1}, "a": {"N": "1.0"}}}, 'M:{"a":{"N":"1"},"b":{"N":1}}'),
        ({"S": "\ud800"}, '?:{"S":"\\ud800"}'),
        ({"X": ["\ud800", {"b": 1, "a": 2}]}, '?:{"X":["\\ud800",{"a":2,"b":1}]}'),
        ("no value", '?:"no value"'),
    ],
)
def test_a_hash_is_of_the_canonical_value(value: Any, text: str) -> None:
    assert image_of({"a": value}, hashed="a") == {"a": digest(text)}


def test_equal_values_have_equal_hashes_and_another_key_gives_others() -> None:
    assert image_of({"a": {"N": "1E2"}}, hashed="a") == image_of({"a": {"N": "100.0"}}, hashed="a")
    other: Any = Redaction.of((), (("a",),), b"f" * 16).record({"dynamodb": {"NewImage": {"a": {"N": "100"}}}})
    assert other["dynamodb"]["NewImage"] != image_of({"a": {"N": "100"}}, hashed="a")


@given(odd_values(), st.sampled_from([compact, spaced]))
def test_a_value_has_one_hash_whether_the_stream_or_a_scan_said_it(value: Any, written: Any) -> None:
    item = {"id": {"S": "k"}, "a": value, "b": {"L": [{"N": "1.0"}, value]}}
    hashing = Redaction.of((), (("a",), ("b",)), KEY)
    streamed = hashing.event(StreamDecoder(TABLE).decode(stream_record(keys={"id": item["id"]}, new=item), NOW_MS))
    # As another writer of JSON would say it: names in another order, spaces, escapes.
    said = ItemReader(("id",)).read(written(turned(item)))
    scanned = hashing.event(SnapshotDecoder(TABLE, "run", "scan", ("id",)).item(said, 5, "e"))
    assert streamed.new_image == scanned.new_image


def turned(value: Any) -> Any:
    """The same JSON with every map's names in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(inner) for name, inner in reversed(value.items())}
    return [turned(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "value",
    [
        {"S": {"b": "canary"}},
        {"SS": [{"b": "canary"}]},
        {"BOOL": {"b": "canary"}},
        {"NULL": ["canary"]},
        {"N": {"b": "canary"}},
        {"FUTURE": {"b": "canary"}},
    ],
)
def test_a_scalar_that_is_none_hides_nothing_on_the_way_to_a_path(value: Any) -> None:
    assert "canary" not in str(image_of({"a": value}, drop="a.b"))


def test_a_forged_shape_on_the_way_is_hashed_or_dropped_whole() -> None:
    for forged in ({"M": {"b": {"S": "canary"}}, "S": "x"}, {"X": {"b": {"S": "canary"}}}, ["canary"], {"M": "canary"}):
        for image in (image_of({"a": forged}, hashed="a.b"), image_of({"a": forged}, drop="a.b")):
            assert "canary" not in str(image)
    without_key: Any = Redaction.of((("a", "b"),), (), b"").record({"dynamodb": {"NewImage": {"a": ["canary"]}}})
    assert without_key["dynamodb"]["NewImage"] == {"a": {"NULL": True}}
    deep: Any = {"S": "canary"}
    for _ in range(20_000):
        deep = {"L": [deep]}
    assert "canary" not in str(image_of({"a": deep}, drop="a.b"))


def test_dropping_a_key_attribute_is_refused_at_start() -> None:
    settings = RedactionSettings((("vin",),), (), "")
    with pytest.raises(Misconfigured, match="names the key attribute 'vin'"):
        redaction_at_start(settings, NoSecrets(), lambda: ["vin"])
    assert redaction_at_start(settings, NoSecrets(), lambda: ["id"]) is not None


def test_nothing_is_asked_for_where_nothing_is_redacted() -> None:
    assert redaction_at_start(RedactionSettings((), (), ""), NoSecrets(), lambda: pytest.fail("asked")) is None


def test_the_key_is_fetched_once_and_a_short_one_is_refused() -> None:
    secrets = NoSecrets(KEY)
    assert (
        redaction_at_start(RedactionSettings((), (("a",),), "arn"), secrets, lambda: pytest.fail("asked")) is not None
    )
    assert secrets.asked == ["arn"]
    with pytest.raises(Misconfigured, match="has 5 bytes"):
        redaction_at_start(RedactionSettings((), (("a",),), "arn"), NoSecrets(b"short"), list)


def test_hashing_without_a_key_is_refused_with_a_sentence() -> None:
    environment = {"TABLE_NAME": "cars", "S3_BUCKET": "b", "QUEUE_URL": "q", "HASH_ATTRIBUTES": "email"}
    with pytest.raises(Misconfigured, match="HASH_KEY_ARN is not set"):
        IngestSettings.read(environment)
    assert IngestSettings.read({**environment, "HASH_KEY_ARN": "arn"}).redaction.hashed == (("email",),)


class NoSecrets:
    """A store of one secret that counts who asks."""

    def __init__(self, secret: bytes = b"") -> None:
        self.secret = secret
        self.asked: list[str] = []

    def fetch(self, name: str) -> bytes:
        self.asked.append(name)
        return self.secret


def canary(name: str) -> dict[str, Any]:
    """One value of every type, each with a text that occurs nowhere else."""
    return {
        "M": {
            "S": {"S": f"canary-S-{name}"},
            "N": {"N": "70707070707070"},
            "B": {"B": "Y2FuYXJ5"},
            "SS": {"SS": [f"canary-SS-{name}", "x"]},
            "L": {"L": [{"S": f"canary-L-{name}"}, {"M": {"deep": {"S": f"canary-deep-{name}"}}}]},
        }
    }


CANARIES = ("canary", "70707070707070", "Y2FuYXJ5")


def delivery() -> list[Any]:
    def record(number: int, item: dict[str, Any], **body: Any) -> dict[str, Any]:
        keys = {"vin": {"S": f"canary-key-{number}"}}
        old = {**keys, **item, "was": {"S": "kept"}}
        made = stream_record(number, name="MODIFY", keys=keys, new={**keys, **item}, old=old, eventSourceARN=ARN)
        return made | {"dynamodb": made["dynamodb"] | body}

    item = {
        "dropped": canary("dropped"),
        "hashed": canary("hashed"),
        "list": {
            "L": [{"M": {"dropped": canary("in list"), "hashed": {"S": "canary in list"}, "kept": {"S": "kept"}}}]
        },
        "kept": {"S": "kept"},
    }
    large = {**item, "large": {"S": "".join(f"{number:07d}" for number in range(55_000))}}
    return [
        record(1, item),
        record(2, large),
        record(3, {**item, "bad": {"S": "\ud800"}}),
        record(4, {**item, "hashed": {"N": "canary"}}),
        record(5, item, SequenceNumber="not digits"),
        record(6, item, ApproximateCreationDateTime=None),
        record(7, {**item, "list": {"X": "canary"}}),
        record(8, item),
        record(9, item, OldImage={"vin": {"S": "canary-key-9"}, **item, "bad": {"S": "\ud800"}}),
    ]  # fmt: skip


@pytest.mark.parametrize("redacted", [True, False], ids=["redacted", "red control"])
@pytest.mark.parametrize("file_format", ["ndjson.gz", "avro", "parquet"])
def test_no_canary_reaches_an_object_a_message_or_a_log(
    file_format: str, redacted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    clock = ManualClock(NOW)
    queue, store = MemoryQueue(clock), MemoryStore(clock)
    rules = IngestRules(
        table="cars",
        partition=partitioner("dt=%Y-%m-%d/HH=%H"),
        by_event_time=False,
        message_bytes=65_536,
        file_format=file_format,
        redaction=redaction("dropped,list.dropped", "vin,hashed,list.hashed") if redacted else None,
    )
    told = io.StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        result = ingest(delivery(), rules, StreamDecoder("cars"), queue, store, clock, lambda: 60.0)
        assert (result.claims, result.sent) == (1, 6)
        assert result.quarantined == {"lone_surrogate": 1, "sequence_number": 1, "creation_time": 1}
        assert result.old_images_refused == {"lone_surrogate": 1}
        received = queue.receive(0)
        bodies = [message.body for message in received]
        flushed = flush(
            received, FlushRules("cars", "ddb/cars", 0, 64 << 20, 0, file_format), queue, store, clock, lambda: 60.0
        )
    assert flushed.records == 6
    sinks = [told.getvalue(), caplog.text, repr(result), repr(flushed)]
    for body in bodies:
        content = messages.decode("cars", body)
        if isinstance(content, messages.ClaimCheck):
            content = messages.decode_claimed("cars", content, store.get(content.key, 1 << 24))
        for member in content:
            body = encoder_of(member.format).join([member.data])
            sinks += [str(record) for record in reader_of(member.format)(body)]
    for stored in store.list(""):
        body = store.get(stored.key, 1 << 24)
        sinks += [stored.key, body.decode("latin-1")]
        if stored.key.startswith("ddb/"):
            sinks += [str(record) for record in reader_of(file_format)(body)]
        elif "/quarantine/" in stored.key:
            document = orjson.loads(body)
            sinks += [str(document), b64decode(document["payload"]).decode()]
    leaks = [sink for sink in sinks for canary in CANARIES if canary in sink]
    assert bool(leaks) == (not redacted), leaks[:1]
    assert any("kept" in sink for sink in sinks)
