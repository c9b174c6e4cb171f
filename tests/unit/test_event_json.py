"""Events that the runtime parses with orjson are those that it would parse itself, or fail in the same way."""

import json
from typing import Any

import pytest
from awslambdaric import lambda_runtime_client
from awslambdaric.lambda_runtime_exception import FaultException
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.adapters.event_json import parse_events_with_orjson
from tests.support.item_text import compact, spaced
from tests.support.stream_records import images, odd_images, stream_record


def marshaller() -> Any:
    """What the runtime asks after the function has been imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lambda_runtime_client.BaseLambdaRuntimeClient, "marshaller", None)
        parse_events_with_orjson()
        return lambda_runtime_client.BaseLambdaRuntimeClient.marshaller


OURS, THEIRS = marshaller(), LambdaMarshaller()


@settings(max_examples=60)
@given(st.lists(images() | odd_images(), max_size=3), st.sampled_from([compact, spaced]))
def test_a_delivery_is_the_same(some: list[Any], written: Any) -> None:
    event = written({"Records": [stream_record(at, attributes=one) for at, one in enumerate(some)]})
    assert json.dumps(OURS.unmarshal_request(event)) == json.dumps(THEIRS.unmarshal_request(event))


@pytest.mark.parametrize(
    "event",
    [rb'{"s":"\ud800"}', b"[" * 300 + b"]" * 300, b"null", b'"text"', b'{"n":1e999}'],
    ids=str,
)
def test_what_orjson_refuses_is_the_same(event: bytes) -> None:
    assert json.dumps(OURS.unmarshal_request(event)) == json.dumps(THEIRS.unmarshal_request(event))


@pytest.mark.parametrize("event", [b"", b"{", b"\xff", b'{"n":NaN}', b'{"n":-Infinity}'], ids=str)
def test_what_is_no_json_fails_as_before(event: bytes) -> None:
    with pytest.raises(FaultException) as told:
        OURS.unmarshal_request(event)
    with pytest.raises(FaultException) as before:
        THEIRS.unmarshal_request(event)
    assert str(told.value) == str(before.value)


def test_only_json_is_parsed() -> None:
    assert OURS.unmarshal_request(b"{}", "text/plain") == b"{}"


def test_an_integer_of_65_bits_outside_a_string_is_the_nearest_double() -> None:
    assert OURS.unmarshal_request(b"[36893488147419103233]") == [3.6893488147419103e19]


def test_a_runtime_without_the_attribute_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(lambda_runtime_client.BaseLambdaRuntimeClient, "marshaller")
    parse_events_with_orjson()
    assert not hasattr(lambda_runtime_client.BaseLambdaRuntimeClient, "marshaller")
