"""`--all`: every stack that bears our tag has its line, the worst first; one that cannot be read hides no other."""

from dataclasses import replace
from typing import Any

import pytest

from lakebound.cli import fleet
from lakebound.operate.cost import Bill, CostLine, amount
from lakebound.operate.doctor import BAD, GOOD, UNKNOWN, WARN, Check
from lakebound.operate.fleet import FleetLine, Reading, bill_line, checks_line, status_line, worst_first
from lakebound.operate.status import assess
from lakebound.source.gaps import Gap
from tests.support.dead_letters import a_body
from tests.support.operator_stack import Lakebound, Operated, refused
from tests.support.report_figures import WELL

NEIGHBOURS: dict[str, dict[str, Any] | str] = {
    "denied": "AccessDenied",
    "gone": "ValidationError",
    "throttled": "Throttling",
    "foreign": {"TableName": ""},
    "half": {"BucketName": ""},
    "odd": {"SilverLagMinutes": "soon", "FailureRetentionDays": "soon"},
    "another": {"StreamIngestName": "silent"},
}
"""Stacks beside the one that is well, and why each is not."""


@pytest.fixture
def many(operated: Operated) -> Operated:
    operated.neighbours = NEIGHBOURS
    return operated


def test_each_stack_has_its_line_and_the_reason_why_it_was_not_read(lakebound: Lakebound, many: Operated) -> None:
    stacks = lakebound.document("status", "--all", status=1)["stacks"]
    assert {one["stack"] for one in stacks} == {"lake", *NEIGHBOURS}
    refusals = {one["stack"]: one["refused"] for one in stacks if one["refused"]}
    assert {one["state"] for one in stacks if one["refused"]} == {"UNKNOWN"}
    assert "may not describe_stacks (stack denied)" in refusals.pop("denied")
    assert "There is no stack gone" in refusals.pop("gone")
    assert "throttles" in refusals.pop("throttled")
    assert "no output TableName" in refusals.pop("foreign")
    assert "no output BucketName" in refusals.pop("half")
    assert "ValueError in the command itself" in refusals["odd"]
    assert "--stack odd" in refusals.pop("odd")
    assert refusals == {}
    assert {one["stack"]: one["table"] for one in stacks}["half"] == "flights"
    assert {one["stack"]: one["state"] for one in stacks if not one["refused"]} == {"lake": "OK", "another": "OK"}


def test_for_a_person_it_is_a_line_a_stack_and_no_traceback(
    lakebound: Lakebound, many: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for verb in ("status", "doctor", "cost"):
        out = lakebound.out(verb, "--all", status=1)
        head, rule, *lines, last = out.splitlines()
        assert "stack" in head
        assert set(rule) == {"─", " "}
        assert len(lines) == 1 + len(NEIGHBOURS), verb
        assert "Traceback" not in out
        assert "of 8 stacks" in last


def test_the_exit_status_is_that_of_one_stack(lakebound: Lakebound, operated: Operated) -> None:
    operated.make_alarm("one", topic="arn:aws:sns:us-east-1:123456789012:oncall")
    for verb in ("status", "doctor", "cost"):
        assert lakebound(verb, "--all") == lakebound(verb) == 0, verb
    operated.client("sqs").send_message(QueueUrl=operated.dead_url, MessageBody=a_body())
    assert lakebound("status", "--all") == lakebound("status") == 1
    lakebound.printed()
    assert "LAGGING" in lakebound.out("status", "--all", status=1).splitlines()[2]


def test_the_costs_of_the_stacks_are_added(lakebound: Lakebound, operated: Operated) -> None:
    for name in ("one", "two"):
        operated.make_alarm(name)
    alone = lakebound.document("cost")["dollars"]
    operated.neighbours = {"other": {}}
    told = lakebound.document("cost", "--all")
    assert told["dollars"] == pytest.approx(2 * alone)
    assert alone == pytest.approx(0.2)
    operated.neighbours = {"other": {}, "denied": "AccessDenied"}
    told = lakebound.document("cost", "--all", status=1)
    assert (told["is_minimum"], told["stacks"][0]["stack"]) == (True, "denied")


ABOUT_ONE = (
    "status --stack lake",
    "status --publish",
    "status --target t",
    "doctor --smoke",
    "doctor --before --table t",
    "cost --writes 3",
)


def test_what_is_about_one_stack_is_refused_beside_all(lakebound: Lakebound, operated: Operated) -> None:
    for line in ABOUT_ONE:
        assert "is about one stack" in lakebound.err(*line.split(), "--all"), line


def test_no_stack_and_no_right_to_list_them_are_sentences(lakebound: Lakebound, operated: Operated) -> None:
    operated.answers["get_resources"] = lambda **_: {"ResourceTagMappingList": [], "PaginationToken": ""}
    assert "bears the tag lakebound:stack" in lakebound.err("status", "--all")
    operated.answers["get_resources"] = refused("GetResources")
    assert "may not get_resources" in lakebound.err("status", "--all")


def test_a_tag_without_a_name_is_a_line_and_no_other_stacks(lakebound: Lakebound, operated: Operated) -> None:
    operated.neighbours = {"": {}}
    for verb in ("status", "doctor", "cost"):
        told = lakebound.document(verb, "--all", status=1)["stacks"]
        assert sorted(one["stack"] for one in told) == ["", "lake"]
        (refused,) = [one["refused"] for one in told if one["refused"]]
        assert "tag lakebound:stack names no stack" in refused


def test_doctor_says_of_a_stack_that_all_passes_it_over(lakebound: Lakebound, operated: Operated) -> None:
    operated.make_alarm("one", topic="arn:aws:sns:us-east-1:123456789012:oncall")
    assert "tag" not in {one["name"] for one in lakebound.document("doctor")["checks"]}
    operated.answers["list_tags"] = lambda Resource: {"Tags": {"lakebound:stack": "lake-prod"}}  # noqa: N803
    out = lakebound.out("doctor", status=0)
    assert "! tag                  status --all, doctor --all and cost --all pass the stack over" in out
    assert "aws lambda tag-resource --resource arn:aws:lambda" in out
    assert "--tags lakebound:stack=lake" in out
    operated.answers["list_tags"] = refused("ListTags")
    assert "! tag                  could not be checked" in lakebound.out("doctor", status=0)


def test_red_control_where_a_refusal_is_not_caught_it_hides_the_others(
    lakebound: Lakebound, many: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing(Exception):
        pass

    monkeypatch.setattr(fleet, "LakeboundError", Nothing)
    monkeypatch.setattr(fleet, "Exception", Nothing, raising=False)
    assert lakebound("status", "--all") == 2
    assert lakebound.printed().out == ""


STATUS = {
    "gap": replace(WELL, gaps=(Gap(5_000, None, "x"),), dead=1),
    "lagging": replace(WELL, dead=4),
    "unknown": replace(WELL, looked_ms=None, delivered_ms=None),
    "ok": WELL,
    "also-ok": replace(WELL, quarantined=1),
}


def test_states_come_worst_first_and_what_was_not_read_before_what_is_not_known() -> None:
    read = [Reading(name, "cars", assess(facts)) for name, facts in STATUS.items()]
    lines = worst_first(map(status_line, [Reading("dark", "", None, "no right"), *reversed(read)]))
    assert [line.stack for line in lines] == ["gap", "lagging", "dark", "unknown", "also-ok", "ok"]
    assert [line.is_well for line in lines] == [False] * 4 + [True] * 2
    assert lines[0].told == "a recorded gap is not healed (x) (and 1 more)"
    assert (lines[0].since_ms, lines[2].told, lines[4].told) == (5_000, "no right", "")


def test_checks_come_worst_first() -> None:
    levels = {"bad": (GOOD, WARN, BAD), "unchecked": (UNKNOWN, WARN), "warns": (WARN, GOOD), "good": (GOOD,)}
    read = [Reading(name, "cars", [Check(f"{one} part", one, "told") for one in of]) for name, of in levels.items()]
    lines = worst_first(map(checks_line, [*read, Reading("dark", "", None, "no right")]))
    assert [line.stack for line in lines] == ["bad", "dark", "unchecked", "warns", "good"]
    assert [line.is_well for line in lines] == [False, False, False, True, True]
    assert lines[0].told == "bad part: told (and 1 more)"


def test_bills_come_dearest_first_and_what_was_not_read_before_them() -> None:
    def bill(dollars: float, *, measured: bool = True) -> Bill:
        return Bill((CostLine("SQS", dollars * 10, "requests", dollars, measured),), "measured over 24 hours")

    read = [
        Reading("cheap", "a", bill(1)),
        Reading("dear", "b", bill(9)),
        Reading("half", "c", bill(0, measured=False)),
    ]
    lines = worst_first(map(bill_line, [*read, Reading("dark", "", None, "no right")]))
    assert [(line.stack, line.state, line.told) for line in lines] == [
        ("dark", "not read", "no right"),
        ("dear", "$9.00", "SQS $9.00 (90 requests)"),
        ("cheap", "$1.00", "SQS $1.00 (10 requests)"),
        ("half", "at least $0.00", "not measured: SQS"),
    ]


@pytest.mark.parametrize(
    ("count", "unit", "told"),
    [
        (1, "dashboards", "1 dashboard"),
        (20, "alarms", "20 alarms"),
        (1.2, "requests of 64 KiB", "1 request of 64 KiB"),
        (0.2, "requests", "< 1 requests"),
        (1, "metrics, put every hour", "1 metric, put every hour"),
        (1, "GB", "1 GB"),
    ],
)
def test_one_of_a_unit_is_told_as_one(count: float, unit: str, told: str) -> None:
    assert amount(CostLine("part", count, unit, 0)) == told


def test_lines_of_one_badness_go_by_name() -> None:
    lines = [FleetLine(name, "", "OK", "", 0, is_well=True) for name in ("c", "a", "b")]
    assert [line.stack for line in worst_first(lines)] == ["a", "b", "c"]
