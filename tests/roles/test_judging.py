"""The judge itself, against the rules of IAM's own guide."""

from __future__ import annotations

from typing import Any

import pytest

from tests.roles.judging import Request, Statement, allowed, holds

BUCKET = "arn:aws:s3:::lake"
PUT = Request.of("s3:PutObject", f"{BUCKET}/ddb/flights/x", s3__if_none_match="*")


def statement(
    effect: str = "Allow", action: Any = "s3:PutObject", resource: Any = f"{BUCKET}/*", **more: Any
) -> Statement:
    return Statement.of({"Effect": effect, "Action": action, "Resource": resource, **more})


@pytest.mark.parametrize(
    ("action", "resource", "wanted"),
    [
        ("s3:PutObject", f"{BUCKET}/*", True),
        ("s3:putobject", f"{BUCKET}/*", True),  # actions know no case
        ("s3:Put*", f"{BUCKET}/ddb/*/x", True),
        ("s3:GetObject", f"{BUCKET}/*", False),
        ("s3:PutObject", BUCKET, False),
        ("s3:PutObject", f"{BUCKET}/DDB/*", False),  # resources do
        ("s3:PutObjectAcl", f"{BUCKET}/*", False),
        ("s3:PutObjec?", f"{BUCKET}/ddb/flights/?", True),
        ("s3.PutObject", f"{BUCKET}/*", False),  # a dot is a dot
    ],
)
def test_an_allow_covers_what_its_patterns_say(action: str, resource: str, wanted: bool) -> None:
    assert allowed(PUT, [statement(action=action, resource=resource)]) is wanted


@pytest.mark.parametrize(
    ("condition", "context", "wanted"),
    [
        ({"StringEquals": {"a": "1"}}, {"a": "1"}, True),
        ({"StringEquals": {"a": ["0", "1"]}}, {"A": "1"}, True),
        ({"StringEquals": {"a": "1"}}, {}, False),
        ({"StringNotEquals": {"a": "1"}}, {}, True),
        ({"StringNotEquals": {"a": ["1", "2"]}}, {"a": "2"}, False),
        ({"StringLike": {"a": "x/*"}}, {"a": "x/y"}, True),
        ({"StringLike": {"a": "x/*"}}, {}, False),
        ({"Bool": {"a": "false"}}, {"a": "false"}, True),
        ({"Bool": {"a": "false"}}, {}, False),
        ({"Null": {"a": "false"}}, {"a": "*"}, True),
        ({"Null": {"a": "false"}}, {}, False),
        ({"Null": {"a": "true"}}, {}, True),
        ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1"}, False),
        ({"StringEquals": {"a": "1"}, "Null": {"b": "true"}}, {"a": "1", "b": "x"}, False),
    ],
)
def test_every_operator_of_a_condition_has_to_hold(condition: Any, context: dict[str, str], wanted: bool) -> None:
    assert holds(condition, context) is wanted


def test_an_operator_that_is_not_known_is_an_error() -> None:
    with pytest.raises(AssertionError, match="NumericLessThan is not known here"):
        holds({"NumericLessThan": {"a": "1"}}, {"a": "1"})


def test_a_deny_wins_wherever_it_stands() -> None:
    deny = statement("Deny", "s3:*", f"{BUCKET}/*", Principal="*")
    assert not allowed(PUT, [statement()], [deny])
    assert not allowed(PUT, [statement(), statement("Deny")])
    unmet = statement(
        "Deny", "s3:*", f"{BUCKET}/*", Principal="*", Condition={"Bool": {"aws:SecureTransport": "false"}}
    )
    assert allowed(PUT, [statement()], [unmet])


def test_what_is_excluded_by_a_not_is_not_covered() -> None:
    deny = Statement.of({"Effect": "Deny", "Principal": "*", "NotAction": "s3:GetObject", "Resource": "*"})
    assert not allowed(PUT, [statement()], [deny])
    spared = Statement.of({"Effect": "Deny", "Principal": "*", "NotAction": "s3:Put*", "Resource": "*"})
    assert allowed(PUT, [statement()], [spared])
    elsewhere = Statement.of({"Effect": "Deny", "Principal": "*", "Action": "*", "NotResource": f"{BUCKET}/ddb/*"})
    assert allowed(PUT, [statement()], [elsewhere])


def test_across_accounts_both_sides_have_to_allow() -> None:
    theirs = statement(Principal={"AWS": "210987654321"})
    wanted = {"account": "210987654321", "owner": "123456789012"}
    assert allowed(PUT, [statement()], [theirs], **wanted)
    assert not allowed(PUT, [statement()], [], **wanted)
    assert not allowed(PUT, [], [theirs], **wanted)
    assert not allowed(PUT, [statement()], [theirs], account="333333333333", owner="123456789012")
