"""Answers that hold items, kept as DynamoDB wrote them: one hook for the backfill, `verify` and the bench.

botocore would turn every AttributeValue into Python objects and every binary into bytes. A `before-parse` hook keeps
the answer's own JSON instead; signing, retries, checksums and paging stay botocore's.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from lakebound.errors import LakeboundError
from lakebound.record.attributes import Image
from lakebound.record.raw_items import can_stand_in_a_line

_OPERATIONS: Final = ("Scan", "BatchGetItem")
_BODY: Final = "RawBody"


class ScanAnswer(NamedTuple):
    """One page: its items as JSON that `can_stand_in_a_line`, or, where `texts` is None, as values."""

    texts: Sequence[msgspec.Raw] | None
    values: Sequence[Any]
    next: Image | None
    units: float


class _Page(msgspec.Struct, gc=False):
    Items: list[msgspec.Raw]
    LastEvaluatedKey: dict[str, Any] | None = None
    ConsumedCapacity: dict[str, Any] | None = None


_page = msgspec.json.Decoder(_Page).decode


def keep_bodies(client: Any) -> None:
    """Make a client's answers to Scan and BatchGetItem hold their own JSON, for `answer_of` and `scan_answer_of`."""
    for operation in _OPERATIONS:
        client.meta.events.register(
            f"before-parse.dynamodb.{operation}", _keep_body, unique_id=f"lakebound_{operation}"
        )


def _keep_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] == 200:
        customized_response_dict[_BODY] = response_dict["body"]
        response_dict["body"] = b"{}"


def answer_of(answer: Mapping[str, Any]) -> Any:
    """The answer's values with binary as base64 text, whether the hook kept its JSON or botocore parsed it.

    Raises LakeboundError for what is no JSON.
    """
    body = answer.get(_BODY)
    return _encode_binary(answer) if body is None else _values(body)


def scan_answer_of(answer: Mapping[str, Any]) -> ScanAnswer:
    """The page in an answer to Scan. Raises LakeboundError for what is none."""
    body = answer.get(_BODY)
    if body is not None and can_stand_in_a_line(body):
        try:
            page = _page(body)
        except (msgspec.DecodeError, RecursionError):
            # Half a surrogate pair in one item, perhaps: parsed, that item alone goes to quarantine.
            pass
        else:
            return ScanAnswer(page.Items, (), page.LastEvaluatedKey or None, _units(page.ConsumedCapacity))
    values = answer_of(answer)
    if type(values) is not dict or type(values.get("Items")) is not list:
        raise LakeboundError("DynamoDB's answer to a scan has no items", hint="Start it again")
    return ScanAnswer(
        None, values["Items"], values.get("LastEvaluatedKey") or None, _units(values.get("ConsumedCapacity"))
    )


def table_part(parts: Mapping[str, Any] | None, asked: str, table: str) -> Any:
    """One table's part of an answer to BatchGetItem, which names it as the request did, or by its bare name; else None.

    Raises LakeboundError for an answer about another table: its silence would read as "there are no such items".
    """
    if not parts:
        return None
    for name in (asked, table):
        if name in parts:
            return parts[name]
    raise LakeboundError(f"DynamoDB's answer is not about {asked}", hint="Start it again")


def request_key(key: Image) -> Image:
    """A key for a request: botocore encodes binary itself, base64 text would be encoded twice."""
    return {
        name: {"B": b64decode(attribute["B"])} if "B" in attribute else attribute for name, attribute in key.items()
    }


def _units(consumed: Mapping[str, Any] | None) -> float:
    return float(consumed.get("CapacityUnits", 0)) if consumed else 0.0


def _values(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise LakeboundError("DynamoDB's answer is not JSON", hint="Start it again") from None


def _encode_binary(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {name: _encode_binary(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_encode_binary(inner) for inner in value]
    return value
