"""A stack's alarms are those that CloudFormation made for it, whatever its neighbours are called."""

from typing import Any

import pytest

from lakebound.adapters.alarms import StackAlarms, alarms_of
from lakebound.adapters.cost_facts import measure_usage
from lakebound.adapters.doctor_facts import examine_stack
from lakebound.adapters.s3 import S3Store
from lakebound.adapters.smoke import alarm_actions
from lakebound.adapters.stack import describe_stack
from lakebound.adapters.status_facts import observe_pipeline
from tests.support.operator_stack import BUCKET, Lakebound, Operated

TOPIC = "arn:aws:sns:us-east-1:123456789012:oncall"
NEIGHBOURS = [
    "lake-prod-DeadLetters-1ABC",
    "lake-Flusher-Errors-2ABC",
    "lake--DeadLetters-3ABC",
    "lake",
    "lakes-x-y",
    "lake-DeadLetters-9ABC",
]
"""Of stacks named lake-prod, lake-Flusher and so on, or made by hand: by the name alone some might be ours."""


@pytest.fixture
def both(operated: Operated) -> Operated:
    """A stack with two alarms, one of which is on; and neighbours that are all on and tell nobody."""
    operated.make_alarm("lake-DeadLetters-0ABC", on=True, topic=TOPIC)
    operated.make_alarm("lake-FlusherErrors-0ABC", topic=TOPIC)
    for name in NEIGHBOURS:
        operated.make_alarm(name, on=True, ours=False)
    return operated


def test_the_neighbours_alarms_are_not_counted(both: Operated) -> None:
    stack = describe_stack(both.scripted("cloudformation"), "lake")
    assert measure_usage(both.scripted, stack, 24).alarms == 2


def test_only_an_alarm_of_the_stack_itself_is_told_as_on(both: Operated) -> None:
    stack = describe_stack(both.scripted("cloudformation"), "lake")
    facts = observe_pipeline(stack, both.scripted, S3Store(BUCKET, both.client("s3")), 0)
    assert facts.alarms == ("lake-DeadLetters-0ABC",)


def test_doctor_judges_the_stacks_own_alarms(both: Operated) -> None:
    facts = examine_stack(both.scripted, describe_stack(both.scripted("cloudformation"), "lake"))
    assert (facts.alarms, facts.alarms_without_action) == (2, 0)


def test_the_verb_names_no_neighbours_alarm(both: Operated, lakebound: Lakebound) -> None:
    lakebound("status")
    told = lakebound.out()
    assert "lake-DeadLetters-0ABC" in told
    assert not [name for name in NEIGHBOURS if f"{name} " in told]


# An alarm takes 10 ms to make: daily the last of a page and the first of the next.
@pytest.mark.parametrize("count", [1, 100, 101, *(pytest.param(more, marks=pytest.mark.soak) for more in (0, 99, 230))])
def test_every_alarm_of_a_large_stack_is_found(operated: Operated, count: int) -> None:
    for number in range(count):
        operated.make_alarm(f"lake-Alarm{number}-X")
    found = alarms_of(operated.scripted("cloudformation"), operated.client("cloudwatch"), "lake")
    assert {alarm["AlarmName"] for alarm in found} == set(operated.alarms)


def test_an_alarm_that_was_deleted_by_hand_is_not_counted(operated: Operated) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC")
    operated.alarms.append("lake-Gone-0ABC")
    assert len(alarms_of(operated.scripted("cloudformation"), operated.client("cloudwatch"), "lake")) == 1


def test_doctor_names_an_alarm_that_is_gone(operated: Operated, lakebound: Lakebound) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC", topic=TOPIC)
    assert lakebound("doctor") == 0
    operated.alarms.append("lake-Gone-0ABC")
    out = lakebound.out("doctor", status=1)
    assert "alarms gone          1: lake-Gone-0ABC" in out
    assert "docs/OPERATIONS.md#part-missing" in out


def test_doctor_names_an_alarm_that_is_off_and_counts_no_notice_of_it(operated: Operated, lakebound: Lakebound) -> None:
    """It has a topic, so a deployment with one would not help."""
    for name in ("lake-DeadLetters-0ABC", "lake-StatusGap-0ABC"):
        operated.make_alarm(name, topic=TOPIC)
    operated.client("cloudwatch").disable_alarm_actions(AlarmNames=["lake-StatusGap-0ABC"])
    out = lakebound.out("doctor", status=0)
    assert "alarms off           1: lake-StatusGap-0ABC; with its actions switched off an alarm notifies nobody" in out
    assert "aws cloudwatch enable-alarm-actions --alarm-names lake-StatusGap-0ABC" in out
    assert "AlarmTopicArn" not in out
    names, found = alarm_actions(operated.scripted, describe_stack(operated.scripted("cloudformation"), "lake"))
    assert (len(names), found) == (2, {"lake-DeadLetters-0ABC": True, "lake-StatusGap-0ABC": False})


@pytest.mark.parametrize(("is_on", "notified"), [(True, True), (False, False)])
def test_under_a_composite_alarm_that_is_off_nobody_is_notified(is_on: bool, notified: bool) -> None:
    composite = {"AlarmName": "Trouble", "AlarmRule": "FALSE", "AlarmActions": [TOPIC], "ActionsEnabled": is_on}
    alarms = StackAlarms(("A", "Trouble"), ({"AlarmName": "A", "AlarmActions": []}, composite))
    assert alarms.notifying() == {"A": notified, "Trouble": notified}
    assert (alarms.notifying(once_on=True), alarms.off) == ({"A": True, "Trouble": True}, () if is_on else ("Trouble",))


@pytest.mark.parametrize(("topics", "silent"), [([TOPIC], 0), ([], 3)])
def test_alarms_under_a_composite_one_notify_by_it(
    operated: Operated, monkeypatch: pytest.MonkeyPatch, topics: list[str], silent: int
) -> None:
    for name in ("lake-DeadLetters-0ABC", "lake-StatusGap-0ABC"):
        operated.make_alarm(name)
    operated.others = [("AWS::CloudWatch::CompositeAlarm", "lake-Trouble"), ("AWS::CloudWatch::Dashboard", "lake")]
    client = operated.client("cloudwatch")
    of_moto = client.describe_alarms

    def describe_alarms(AlarmNames: list[str], AlarmTypes: list[str], **more: Any) -> dict[str, Any]:  # noqa: N803
        """moto makes no composite alarm. CloudWatch tells of one only where its type is asked for."""
        answer: dict[str, Any] = of_moto(AlarmNames=AlarmNames, **more)
        trouble = {"AlarmName": "lake-Trouble", "AlarmRule": "FALSE", "AlarmActions": topics, "StateValue": "OK"}
        asked = "CompositeAlarm" in AlarmTypes and "lake-Trouble" in AlarmNames
        return answer | {"CompositeAlarms": [trouble] if asked else []}

    monkeypatch.setattr(client, "describe_alarms", describe_alarms)
    stack = describe_stack(operated.scripted("cloudformation"), "lake")
    facts = examine_stack(operated.scripted, stack)
    assert (facts.alarms, facts.alarms_without_action) == (3, silent)
    used = measure_usage(operated.scripted, stack, 24)
    assert (used.alarms, used.composite_alarms, used.dashboards) == (2, 1, 1)
