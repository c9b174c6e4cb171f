"""The operator's policy of docs/RIGHTS.md, proved by running every verb of the command under it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from docs.operator_rights import OPERATOR
from tests.golden.public_names import differences
from tests.golden.verb_results import GOLDEN, results
from tests.roles.deployed import Right
from tests.roles.judging import Request, Statement
from tests.roles.lives import LIVES
from tests.roles.operators import CHANGING, READING, VERBS, Operated, operate
from tests.roles.operators import OPERATOR as ROLE
from tests.support.command_verbs import NO_AWS
from tests.support.command_verbs import VERBS as COMMANDS
from tests.support.translated_template import ROOT

KEPT = json.loads(GOLDEN.read_text())
WRITTEN = [one.statement() for one in OPERATOR]
OF_THE_TABLES_KEY = ("verify", "verify --publish", "config infer", "doctor --smoke", "verify --repair", "smoke")
"""What is run with a table's own key, and a hash key in Parameter Store, besides."""

MOST_CHARACTERS = 6_144
"""Of a managed policy, without white space (IAM user guide, quotas)."""


def run(
    life: str,
    verbs: Mapping[str, Sequence[str]] = VERBS,
    taken: Right | None = None,
    statements: Sequence[Mapping[str, Any]] = WRITTEN,
) -> Operated:
    with TemporaryDirectory() as folder:
        return operate(LIVES[life], statements, Path(folder), verbs, taken)


@cache
def operated() -> tuple[Operated, ...]:
    """Every verb on a stack with a customer's key; and what an existing table's own key is needed for."""
    return run("customer-key"), run("existing", {verb: VERBS[verb] for verb in OF_THE_TABLES_KEY})


@cache
def asked() -> list[tuple[Operated, str, frozenset[Request]]]:
    """What each verb asked for, once each."""
    return [(one, verb, frozenset(requests)) for one in operated() for verb, requests in one.asked.items()]


def denied_without(gone: Sequence[Right]) -> set[str]:
    """The verbs that would be denied something: the judge has no state, so each would have asked the same till then."""
    found = set()
    for one, verb, requests in asked():
        left = [(right, statement) for right, statement in one.here.roles[ROLE] if right not in gone]
        less = replace(one.here, roles={ROLE: left})
        if not all(less.judge(ROLE, each) for each in requests):
            found.add(verb)
    return found


def rights() -> Iterator[Right]:
    yield from (right for right, _ in operated()[0].here.roles[ROLE])


def test_every_verb_of_the_command_is_run() -> None:
    run_here = {re.sub(r" --.*", "", verb) for verb in VERBS}
    assert run_here == {" ".join(path) for path in COMMANDS if path not in NO_AWS}


def test_no_verb_is_denied_anything() -> None:
    for one in operated():
        assert {verb: [str(each) for each in denied] for verb, denied in one.denied.items() if denied} == {}


def test_the_verbs_do_what_they_are_there_for() -> None:
    """Exit status 1 tells of what this stack has: a gap, dead letters, an empty silver, nobody who delivers an item."""
    first, second = operated()
    for one in (first, second):
        assert {verb for verb, statuses in one.statuses.items() if not set(statuses) <= {0, 1}} == set()
    tells = {
        "status",
        "status --all",
        "status --publish",
        "verify",
        "verify --publish",
        "verify --repair",
        "dlq list",
        "dlq redrive",
    }
    assert {verb for verb, statuses in first.statuses.items() if 1 in statuses} == tells | {"doctor --smoke", "smoke"}


def test_what_the_verbs_tell_is_as_the_golden_file_says() -> None:
    found = differences(KEPT, json.loads(json.dumps(results(operated()[0]))))
    assert not found, "\n".join([*found, "Where this is meant: .venv/bin/python -m tests.golden.verb_results"])


def test_red_control_a_renamed_field_another_status_and_another_unit_are_found() -> None:
    first = operated()[0]
    renamed = replace(
        first,
        told=first.told | {"backfill start": ['{"name": "another"}']},
        statuses=first.statuses | {"cost": [0, 1]},
        printed=first.printed.replace("Milliseconds", "Seconds"),
    )
    assert sorted(differences(KEPT, json.loads(json.dumps(results(renamed))))) == [
        "/metrics/Lakebound NewestRecordAge/unit: 'Milliseconds' is now 'Seconds'",
        "/metrics/Lakebound OldestRecordAge/unit: 'Milliseconds' is now 'Seconds'",
        "/verbs/backfill start/fields/name is new",
        "/verbs/backfill start/fields/run is gone",
        "/verbs/cost/statuses/--table flights --writes 10: 0 is now 1",
    ]


def test_every_right_is_needed_by_a_verb() -> None:
    assert [str(right) for right in rights() if not denied_without([right])] == []


def test_the_page_names_the_verbs_that_need_each_statement() -> None:
    for one in OPERATOR:
        needed = denied_without([right for right in rights() if right.sid == one.sid])
        assert sorted(one.verbs) == sorted(needed), one.sid


def test_who_only_looks_needs_no_statement_that_acts() -> None:
    denied = denied_without([right for right in rights() if not right.sid.startswith("Look")])
    assert denied & set(READING) == set()
    assert denied == set(CHANGING)


def test_a_dry_run_needs_no_statement_that_acts() -> None:
    looking = [one for one in WRITTEN if one["Sid"].startswith("Look")]
    # `doctor` and `status` have none: without their option they act on nothing.
    dry = {verb: [f"{line} --dry-run" for line in lines] for verb, lines in CHANGING.items() if verb not in NEVER_DRY}
    only = run("customer-key", dry, statements=looking)
    assert {verb: [str(each) for each in denied] for verb, denied in only.denied.items() if denied} == {}
    assert {verb for verb, statuses in only.statuses.items() if not set(statuses) <= {0, 1}} == set()


NEVER_DRY = {"doctor --smoke", "status --publish"}


def test_a_statement_to_look_by_changes_nothing() -> None:
    reads = re.compile(r"\w+:(Describe|List|Get|Scan$|BatchGetItem$)|kms:Decrypt$")
    others = {right.action for right in rights() if right.sid.startswith("Look") and not reads.match(right.action)}
    assert others == {"sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"}, "SQS has no other way to read a message"


@pytest.mark.parametrize(
    ("sid", "action", "resource", "verb"),
    [("LookFiles", "s3:GetObject", "/_lakebound/", "dlq show"), ("ActOnBuffer", "sqs:SendMessage", "", "dlq redrive")],
)
def test_a_right_taken_away_is_missed_by_running(sid: str, action: str, resource: str, verb: str) -> None:
    (right,) = (one for one in rights() if (one.sid, one.action) == (sid, action) and resource in one.resource)
    without = run("customer-key", {verb: VERBS[verb]}, right)
    assert {each.action for each in without.denied[verb]} == {action}
    assert without.statuses[verb] != operated()[0].statuses[verb]


def test_a_right_too_many_would_be_seen() -> None:
    more = Right(ROLE, "ActOnFiles", "s3:DeleteObject", "arn:aws:s3:::${BucketName}/*")
    one = operated()[0]
    wide = Statement(more.sid, "Allow", (more.action,), (f"arn:aws:s3:::{one.here.bucket}/*",))
    here = replace(one.here, roles={ROLE: [*one.here.roles[ROLE], (more, wide)]})
    assert all(here.judge(ROLE, each, more) for requests in one.asked.values() for each in requests)


def test_the_page_holds_this_policy_and_iam_takes_it() -> None:
    page = (ROOT / "docs" / "RIGHTS.md").read_text("utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    document = json.loads(block)
    assert document == {"Version": "2012-10-17", "Statement": WRITTEN}
    sids = [one["Sid"] for one in WRITTEN]
    assert len(set(sids)) == len(sids)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", sid) for sid in sids)
    assert len(json.dumps(document, separators=(",", ":"))) < MOST_CHARACTERS


def test_the_page_says_what_each_placeholder_is() -> None:
    page = (ROOT / "docs" / "RIGHTS.md").read_text("utf-8")
    words = set(re.findall(r"\$\{(\w+)\}", json.dumps(WRITTEN))) - {"Region", "Account"}
    told = page.partition("<!-- generated")[0]
    assert {word for word in words if f"`{word}`" not in told} == set()
