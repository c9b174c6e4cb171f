"""IAM's decision on one request, from the policies as CloudFormation gets them.

The rules are those of the IAM user guide (policy evaluation logic, condition operators): an explicit Deny ends it; in
one account an Allow of the identity suffices; across accounts identity and resource both have to allow. What is not
known here (an operator, a kind of principal) is an error and never a silent yes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class Request:
    """One thing that a principal wants to do. `because` says which call asks for it."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()
    because: str = ""

    @staticmethod
    def of(action: str, resource: str, because: str = "", **context: str) -> Request:
        """The context's names with `__` for the colon and `_` for the dash: `s3__if_none_match`."""
        named = tuple((name.replace("__", ":").replace("_", "-"), value) for name, value in sorted(context.items()))
        return Request(action, resource, named, because)

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} ({self.because})"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy, its lists as tuples."""

    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    """Of a resource's policy: `*`, account ids, or services."""
    not_actions: bool = False
    not_resources: bool = False

    @staticmethod
    def of(written: Mapping[str, Any]) -> Statement:
        known = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition", "Principal"}
        assert not set(written) - known, f"a statement has {set(written) - known}"
        principal = written.get("Principal", ())
        if isinstance(principal, Mapping):
            principal = [name for names in principal.values() for name in listed(names)]
        return Statement(
            sid=written.get("Sid", ""),
            effect=written["Effect"],
            actions=tuple(listed(written.get("Action", written.get("NotAction")))),
            resources=tuple(listed(written.get("Resource", written.get("NotResource")))),
            condition=written.get("Condition", {}),
            principals=tuple(listed(principal)),
            not_actions="NotAction" in written,
            not_resources="NotResource" in written,
        )

    def covers(self, request: Request, account: str) -> bool:
        """Whether it is about this request of a principal of this account."""
        if self.principals and not any(_names(principal, account) for principal in self.principals):
            return False
        action = any(_matches(pattern.lower(), request.action.lower()) for pattern in self.actions)
        resource = any(_matches(pattern, request.resource) for pattern in self.resources)
        if action == self.not_actions or resource == self.not_resources:
            return False
        return holds(self.condition, dict(request.context) | surroundings(account))


def surroundings(account: str) -> dict[str, str]:
    """What every request of ours bears: TLS, and the account of a principal that is no service."""
    return {"aws:SecureTransport": "true", "aws:PrincipalAccount": account, "aws:PrincipalIsAWSService": "false"}


def allowed(
    request: Request,
    identity: Iterable[Statement],
    resource: Iterable[Statement] = (),
    *,
    account: str = ACCOUNT,
    owner: str = ACCOUNT,
) -> bool:
    """Whether a principal of `account` may, on a resource of `owner`."""
    by_identity, by_resource = False, False
    for statement in identity:
        if statement.covers(request, account):
            if statement.effect == "Deny":
                return False
            by_identity = True
    for statement in resource:
        if statement.covers(request, account):
            if statement.effect == "Deny":
                return False
            by_resource = True
    return by_identity and (by_resource or account == owner)


def holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """Whether every operator of a condition holds. Raises AssertionError for one that is not known here."""
    given = {name.lower(): value for name, value in context.items()}
    for operator, tests in condition.items():
        for name, wanted in tests.items():
            value = given.get(name.lower())
            texts = [str(one) for one in listed(wanted)]
            match operator:
                case "StringEquals" | "ArnEquals":
                    good = value is not None and value in texts
                case "StringNotEquals" | "ArnNotEquals":
                    # A negated operator holds for a key that the request does not have.
                    good = value is None or value not in texts
                case "StringLike" | "ArnLike":
                    good = value is not None and any(_matches(text, value) for text in texts)
                case "Bool":
                    good = value is not None and value.lower() in [text.lower() for text in texts]
                case "Null":
                    good = str(value is None).lower() in [text.lower() for text in texts]
                case _:
                    raise AssertionError(f"the operator {operator} is not known here")
            if not good:
                return False
    return True


def listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


def _names(principal: str, account: str) -> bool:
    if principal == "*" or principal == account:
        return True
    if found := re.fullmatch(r"arn:[a-z-]+:iam::(\d{12}):root", principal):
        return found[1] == account
    assert re.fullmatch(r"\d{12}|[a-z0-9.-]+\.amazonaws\.com(\.cn)?", principal), (
        f"{principal} is no principal known here"
    )
    return False


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(letter, re.escape(letter)) for letter in pattern), re.DOTALL)


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None
