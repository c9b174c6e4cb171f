"""The roles, proved by running: the real handlers over moto, every AWS call judged by the role that would make it.

That a right is needed follows from what was asked: the judge has no state, so without the right the run would have
been the same up to the first request that only this right allows. `test_a_right_taken_away_fails_a_run` lives some
lives again without one to show it, and all of them in the soak.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
from botocore.exceptions import ClientError

from lakebound.adapters.clients import client
from tests.roles import asking
from tests.roles.deployed import Deployed, Right
from tests.roles.explained import UNUSED
from tests.roles.judging import Request, Statement, allowed
from tests.roles.lives import LIVES, OWNER, TARGET, Lived, begun, live
from tests.support.rendered_template import NEW


@cache
def lived(name: str) -> Lived:
    return live(LIVES[name])


@cache
def needed() -> dict[Right, str]:
    """Each right of each role, with the life that is denied something without it; empty where none is."""
    found: dict[Right, str] = {}
    for name in LIVES:
        here = lived(name).here
        for role, rights in here.roles.items():
            asked = set(here.asked.get(role, ()))
            for right, _ in rights:
                if not found.get(right):
                    found[right] = name if any(not here.judge(role, one, right) for one in asked) else ""
    return found


def test_no_run_is_denied_anything() -> None:
    for name in LIVES:
        assert lived(name).wrong == [], name
        assert lived(name).denied == [], name


def test_every_role_of_the_template_was_judged() -> None:
    for name in LIVES:
        here = lived(name).here
        assert {role for role, asked in here.asked.items() if asked} == set(here.roles), name


def test_the_lives_hold_every_statement_that_the_template_has() -> None:
    """A condition of the template that no life meets would hide a statement from the judge."""
    from tests.support.translated_template import translated

    def sids(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if "Sid" in node:
                yield str(node["Sid"])
            for part in node.values():
                yield from sids(part)
        elif isinstance(node, list):
            for part in node:
                yield from sids(part)

    resources = translated()["Resources"].values()
    written = {sid for one in resources if one["Type"] == "AWS::IAM::Role" for sid in sids(one["Properties"])}
    assert {right.sid for right in needed()} == written


def test_every_right_is_needed_by_a_run_or_explained() -> None:
    unused = {str(right) for right, by in needed().items() if not by}
    assert unused - set(UNUSED) == set(), "no run uses these: remove them, or say why in tests/roles/explained.py"
    assert set(UNUSED) - unused == set(), "these are used, or are gone: remove them from tests/roles/explained.py"


def test_a_right_too_many_would_be_seen() -> None:
    here = lived("everything-new").here
    role = "FlusherRole"
    more = Right(role, "More", "s3:DeleteObject", "BUCKET/ddb/flights/*")
    statement = Statement("More", "Allow", (more.action,), (f"arn:aws:s3:::{here.bucket}/ddb/flights/*",))
    wider = replace(here, roles=here.roles | {role: [*here.roles[role], (more, statement)]})
    assert all(wider.judge(role, one, more) for one in here.asked[role])


def beyond(here: Deployed, one: Request) -> Iterator[Request]:
    """The same act where it is nobody's business."""
    name = dict(one.context)
    lake, _, path = TARGET.removeprefix("s3://").partition("/")
    if one.resource.partition("/")[0].endswith(f":::{lake}"):
        # Whoever deploys names the lake, which may be another account's: no condition on its owner.
        yield replace(one, resource=one.resource.replace(f":::{lake}", ":::others-lake"))
        if f"/{path}" in one.resource:
            yield replace(one, resource=one.resource.replace(f"/{path}", "/silver/cars"))
            yield replace(one, action="s3:PutObject")
    elif one.action.startswith("s3:"):
        yield replace(one, resource=one.resource.replace(f":::{here.bucket}", ":::others-bucket"))
        foreign = tuple(sorted((name | {"s3:ResourceAccount": "999999999999"}).items()))
        yield replace(one, context=foreign)
        if "s3:if-none-match" in name and "/_lakebound/flights/backfills/" not in one.resource:
            del name["s3:if-none-match"]
            if not any(f"/_lakebound/flights/{kind}/" in one.resource for kind in ("exports", "gaps")):
                yield replace(one, context=tuple(sorted(name.items())))
        if "/flights/" in one.resource:
            yield replace(one, resource=one.resource.replace("/flights/", "/cars/"))
    elif one.resource != "*":
        # The last word of an ARN, or a table's name in its middle, is another one.
        head, _, tail = one.resource.rpartition(":")
        if one.action.startswith(("dynamodb:", "kms:", "secretsmanager:", "ssm:")):
            yield replace(
                one, resource=one.resource.replace("/flights", "/cars").replace(":123456789012:", ":999999999999:")
            )
        if one.action.startswith(("sqs:", "lambda:")):
            yield replace(one, resource=f"{head}:others-{tail}")


def test_no_role_reaches_beyond_its_stack() -> None:
    tried = 0
    for name in LIVES:
        here = lived(name).here
        for role, asked in here.asked.items():
            for request in {other for one in asked for other in beyond(here, one)}:
                assert not here.judge(role, request), f"{name}: {role} may {request}"
                tried += 1
    assert tried > 100


# ── taking rights away, by running ──


def sampled() -> list[str]:
    """A few rights of several roles, the same in every run of the tests."""
    return [
        "FlusherRole ReadClaims s3:GetObject arn:aws:s3:::BUCKET/_lakebound/flights/claims/*",
        "StreamIngestRole SendMessages sqs:SendMessage arn:aws:sqs:us-east-1:123456789012:BufferQueue",
    ]


@pytest.mark.parametrize("text", sampled())
def test_a_right_taken_away_fails_a_run(text: str) -> None:
    (right,) = (one for one in needed() if str(one) == text)
    without = live(LIVES[needed()[right]], right)
    assert without.denied
    assert without.wrong, f"nothing goes wrong without {right}"


@pytest.mark.soak
@pytest.mark.parametrize("part", range(8))
def test_each_right_taken_away_denies_a_run(part: int) -> None:
    for right, name in needed().items():
        if name and zlib.crc32(str(right).encode()) % 8 == part:
            without = live(LIVES[name], right)
            assert without.denied, f"no run is denied anything without {right}"
            assert without.here.denied[0][0] == right.role


def test_a_missing_claim_stops_no_good_neighbour() -> None:
    """S3 answers 403 for a missing key to who may not list the bucket: that would look like an outage."""
    with begun(NEW) as life:
        told = life.flush_without_a_claim()
        assert life.here.denied == []
    failed = {one["itemIdentifier"] for one in told["answer"]["batchItemFailures"]}
    assert told["good"] not in failed
    assert told["gone"] in failed


@pytest.mark.parametrize(("role", "status"), [("BackfillRole", 404), ("StreamIngestRole", 403)])
def test_a_missing_key_answers_404_only_to_who_may_read_and_list(role: str, status: int) -> None:
    """The red control of the judge's S3: stream_ingest may list but not read."""
    with begun(NEW) as life, life.here.acting(role), pytest.raises(ClientError) as refused:
        client("s3").get_object(Bucket=life.here.bucket, Key="_lakebound/flights/gaps/none.json")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_without_the_right_to_list_a_missing_key_answers_403() -> None:
    with begun(NEW) as life:
        (right,) = (one for one, _ in life.here.roles["BackfillRole"] if one.action == "s3:ListBucket")
        life.here.taken = right
        with life.here.acting("BackfillRole"), pytest.raises(ClientError) as refused:
            client("s3").get_object(Bucket=life.here.bucket, Key="_lakebound/flights/gaps/none.json")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


READER = "210987654321"


def reads(here: Deployed, folder: str) -> list[Request]:
    """What a merge job in the other account asks for."""
    told = {"s3__ResourceAccount": "123456789012"}
    return [
        Request.of("s3:ListBucket", here.around.bucket(here.bucket), "S3A lists", **told, s3__prefix=folder),
        Request.of("s3:GetObject", here.around.object(here.bucket, f"{folder}/x"), "S3A reads", **told),
        Request.of("s3:GetObject", here.around.object(here.bucket, folder), "S3A asks for the folder itself", **told),
    ]


def reader_may(here: Deployed, request: Request, account: str = READER) -> bool:
    anything = Statement("Anything", "Allow", ("*",), ("*",))
    return allowed(request, [anything], here.policy_of(request.resource), account=account)


def test_readers_of_another_account_read_what_a_merge_needs_and_nothing_else() -> None:
    here = lived("readers").here
    for folder in ("ddb/flights", "_lakebound/flights/manifests", "_lakebound/flights/gaps"):
        for request in reads(here, folder):
            assert reader_may(here, request), str(request)
            assert not reader_may(here, request, "999999999999"), "an account that is not named"
            assert not reader_may(lived("everything-new").here, request), "a stack without readers"
    for folder in ("_lakebound/flights/quarantine", "_lakebound/flights/claims", "aws/lambda/x"):
        assert not reader_may(here, reads(here, folder)[1])
    put = Request.of(
        "s3:PutObject", here.around.object(here.bucket, "ddb/flights/x"), s3__ResourceAccount="123456789012"
    )
    assert not reader_may(here, put)


def test_without_what_its_owner_puts_nothing_of_anothers_table_is_read() -> None:
    here = lived("another-account").here
    closed = replace(here, owners={})
    theirs = [(role, one) for role, asked in here.asked.items() for one in asked if OWNER in one.resource]
    assert {one.action for _, one in theirs} >= {"dynamodb:GetRecords", "dynamodb:DescribeTable", "dynamodb:Scan"}
    for role, one in theirs:
        assert here.judge(role, one)
        assert not closed.judge(role, one), str(one)


def test_what_the_owner_puts_opens_the_table_to_the_stacks_own_roles_only() -> None:
    here = lived("another-account").here
    anything = Statement("Anything", "Allow", ("*",), ("*",))
    for role, asked in here.asked.items():
        for one in {one for one in asked if OWNER in one.resource}:
            for name in ("lake-prod-BackfillRole-1", "somebody", "lake-FlusherRole-1A2B3C4D5E6F"):
                arn = ("aws:PrincipalArn", f"arn:aws:iam::123456789012:role/{name}")
                other = replace(one, context=(*one.context, arn))
                assert not allowed(other, [anything], here.policy_of(one.resource), owner=OWNER), f"{role} {name} {one}"


def test_every_right_that_the_owner_is_asked_for_is_needed_or_explained() -> None:
    here, unused = lived("another-account").here, set()
    for resource, statements in here.owners.items():
        for gone in statements:
            for action in gone.actions:
                less = replace(gone, actions=tuple({*gone.actions} - {action}))
                others = [less if one is gone else one for one in statements]
                closed = replace(here, owners=here.owners | {resource: others})
                if all(closed.judge(role, one) for role, asked in here.asked.items() for one in set(asked)):
                    unused.add(f"{gone.sid} {action}")
    assert unused == set(ASKED_FOR_BESIDES)


ASKED_FOR_BESIDES = {
    "LakeboundReadsTable dynamodb:BatchGetItem": "it is for the operator too, whose `lakebound verify` reads "
    "by key; the backfill reads by key after an incremental export only, which another account's table has not"
}


def test_nobody_comes_without_tls() -> None:
    here = lived("everything-new").here
    for role, asked in here.asked.items():
        for one in {one for one in asked if one.action.startswith(("s3:", "sqs:"))}:
            plain = replace(one, context=(*one.context, ("aws:SecureTransport", "false")))
            policies = here.policy_of(one.resource)
            assert policies, "the bucket and the queues have policies of their own"
            assert not _allowed_plain(plain, [statement for _, statement in here.roles[role]], policies)


def _allowed_plain(request: Request, identity: list[Statement], resource: list[Statement]) -> bool:
    from tests.roles import judging

    kept: Callable[[str], dict[str, str]] = judging.surroundings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "surroundings", lambda account: kept(account) | {"aws:SecureTransport": "false"})
        return allowed(request, identity, resource)


def test_a_call_that_nobody_has_described_is_an_error() -> None:
    around = lived("everything-new").here.around
    for service, operation in (("s3", "CopyObject"), ("dynamodb", "UpdateItem"), ("sns", "Publish")):
        with pytest.raises(AssertionError, match="nothing is known here"):
            asking.asked(service, operation, {"Bucket": "lake-bucket"}, around)
