"""Every alarm sends the person on call to a page that exists, and everything that must have an alarm has one."""

import copy
import json
import re
from typing import Any

import pytest

from lakebound.operate.cost import WATCHES, Watched
from lakebound.operate.status import Limits
from tests.support.rendered_template import DEPLOYMENTS, NEW, Resources, listed, of_type, properties, render
from tests.support.translated_template import ROOT, translated

PAGES = set(re.findall(r'<a id="([a-z-]+)">', (ROOT / "docs" / "OPERATIONS.md").read_text()))
TELEMETRY = (ROOT / "src" / "lakebound" / "adapters" / "telemetry.py").read_text()
AUDITS = {"Gap", "ChainBreaks", "Unequal"}
MERGE_JOB = (ROOT / "spark" / "lakebound_spark" / "silver" / "freshness.py").read_text()
HOUR_MS = 3_600_000


def rendered() -> Resources:
    resources: Resources = render(
        translated(), {**NEW, "VerifyAlarms": "on", "SilverLagMinutes": "60", "HeartbeatMinutes": "5"}
    )["Resources"]
    return resources


OPTIONAL = {"VerifyAlarms": "on", "SilverLagMinutes": "60", "HeartbeatMinutes": "5"}


def lean(**parameters: str) -> Resources:
    resources: Resources = render(translated(), {**NEW, "Watch": "lean", **parameters})["Resources"]
    return resources


def alarms(resources: Resources) -> dict[str, dict[str, Any]]:
    return of_type(resources, "AWS::CloudWatch::Alarm")


def composites(resources: Resources) -> dict[str, dict[str, Any]]:
    return of_type(resources, "AWS::CloudWatch::CompositeAlarm")


def pages_of(resources: Resources) -> dict[str, str]:
    found = {}
    for name, alarm in (alarms(resources) | composites(resources)).items():
        page = re.search(r"\. docs/OPERATIONS\.md#([a-z-]+)$", alarm["AlarmDescription"])
        assert page, f"{name} does not end with its page"
        found[name] = page[1]
    return found


def test_every_alarm_ends_with_a_page_that_exists_and_names_it_back() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text()
    for name, page in (pages_of(rendered()) | pages_of(lean())).items():
        assert page in PAGES, name
        section = text.split(f'<a id="{page}">')[1].split("<a id=")[0]
        assert re.search(rf"\b{name}\b", section), f"the page {page} does not name {name}"


def test_an_alarm_without_a_page_would_be_seen() -> None:
    template = copy.deepcopy(translated())
    template["Resources"]["DeadLetters"]["Properties"]["AlarmDescription"] = "Dead letters."
    with pytest.raises(AssertionError, match="DeadLetters does not end with its page"):
        pages_of(render(template, NEW)["Resources"])


def test_the_iterator_age_has_its_four_steps() -> None:
    assert sorted(
        int(alarm["Threshold"]) for alarm in alarms(rendered()).values() if alarm.get("MetricName") == "IteratorAge"
    ) == [300_000, 6 * HOUR_MS, 12 * HOUR_MS, 20 * HOUR_MS]


@pytest.mark.parametrize(
    "metric",
    [
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
        "Errors",
        "Throttles",
        "RecordsQuarantined",
        "OnFailureDestinationDeliveredEventCount",
        "DestinationDeliveryFailures",
        "OldestRecordAge",
        "ExecutionsFailed",
        "FailureObjectsExpiring",
        "ChainBreaks",
        "Gap",
        "Unequal",
        "SilverLagSeconds",
        "SilverMergeOverdueSeconds",
        "HeartbeatSeconds",
    ],
)
def test_what_can_go_wrong_has_an_alarm(metric: str) -> None:
    assert any(alarm.get("MetricName") == metric for alarm in alarms(rendered()).values())


@pytest.mark.parametrize(
    ("on", "made"),
    [
        ({"VerifyAlarms": "on"}, {"Unequal", "VerifyMissing"}),
        ({"SilverLagMinutes": "15"}, {"MergeMissing", "SilverLag", "SilverPending"}),
        ({"HeartbeatMinutes": "5"}, {"HeartbeatMissing"}),
    ],
)
def test_nobody_who_runs_no_such_job_has_its_alarms(on: dict[str, str], made: set[str]) -> None:
    without = alarms(render(translated(), NEW)["Resources"])
    assert alarms(render(translated(), {**NEW, **on})["Resources"]).keys() - without.keys() == made


@pytest.mark.parametrize("minutes", translated()["Parameters"]["SilverLagMinutes"]["AllowedValues"][1:])
def test_silver_has_the_minutes_of_the_parameter_before_an_alarm(minutes: int) -> None:
    found = alarms(render(translated(), {**NEW, "SilverLagMinutes": str(minutes)})["Resources"])
    missing = found["MergeMissing"]
    assert missing["EvaluationPeriods"] * missing["Period"] == minutes * 60
    assert missing["EvaluationPeriods"] * missing["Period"] <= 86_400, "CloudWatch takes no more"
    assert (missing["TreatMissingData"], missing["Statistic"]) == ("breaching", "SampleCount")
    assert [found[name]["Threshold"] for name in ("SilverLag", "SilverPending")] == [minutes * 60] * 2


@pytest.mark.parametrize("minutes", translated()["Parameters"]["HeartbeatMinutes"]["AllowedValues"][1:])
def test_three_heartbeats_may_be_missing_before_the_alarm_and_half_an_hour(minutes: int) -> None:
    alarm = alarms(render(translated(), {**NEW, "HeartbeatMinutes": str(minutes)})["Resources"])["HeartbeatMissing"]
    assert alarm["EvaluationPeriods"] * alarm["Period"] == max(Limits().heartbeat_s, 3 * 60 * minutes)
    assert (alarm["TreatMissingData"], alarm["Statistic"]) == ("breaching", "SampleCount")


def test_our_own_metrics_are_ones_that_are_put() -> None:
    for name, alarm in alarms(rendered()).items():
        for metric in [
            alarm,
            *[one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one],
        ]:
            if metric["MetricName"].startswith("Silver"):
                assert f'"{metric["MetricName"]}"' in MERGE_JOB, name
                assert metric["Dimensions"] == [{"Name": "table", "Value": "flights"}]
            elif metric.get("Namespace") == "Lakebound" and metric["MetricName"] not in AUDITS:
                assert f'"{metric["MetricName"]}"' in TELEMETRY, name
                dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
                assert dimensions.keys() == {"service", "table"}
                assert dimensions["table"] == "flights"


def test_alarms_notify_the_topic_only_when_there_is_one() -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:oncall"
    for name, alarm in alarms(render(translated(), {**NEW, "AlarmTopicArn": topic})["Resources"]).items():
        assert alarm["AlarmActions"] == [topic], name
    for alarm in alarms(rendered()).values():
        assert alarm.get("AlarmActions", []) == []


def test_the_mapping_counts_what_the_failure_alarm_looks_at() -> None:
    assert properties(rendered(), "StreamMapping")["MetricsConfig"] == {"Metrics": ["EventCount"]}


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_the_dashboard_is_json_whose_widgets_do_not_overlap(deployment: str) -> None:
    dashboard = properties(render(translated(), DEPLOYMENTS[deployment])["Resources"], "Dashboard")
    widgets = json.loads(dashboard["DashboardBody"])["widgets"]
    places = [(x, y) for one in widgets for x in range(one["x"], one["x"] + one["width"])
              for y in range(one["y"], one["y"] + one["height"])]  # fmt: skip
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    assert "What it costs" in dashboard["DashboardBody"]


def test_queues_and_bucket_are_closed_to_other_accounts() -> None:
    resources = rendered()
    for name in ("BucketPolicy", "BufferQueuePolicy", "DeadLetterQueuePolicy"):
        (bound,) = [
            one for one in properties(resources, name)["PolicyDocument"]["Statement"] if one["Sid"] == "ThisAccountOnly"
        ]
        assert bound["Effect"] == "Deny"
        assert bound["Condition"]["StringNotEquals"] == {"aws:PrincipalAccount": "123456789012"}


# ── policies, whole, as golden files ──

GOLDEN = ROOT / "tests" / "golden" / "policies"


def policies(resources: Resources) -> dict[str, str]:
    kinds = {
        "AWS::IAM::Role": "Policies",
        "AWS::S3::BucketPolicy": "PolicyDocument",
        "AWS::SQS::QueuePolicy": "PolicyDocument",
    }
    return {
        name: json.dumps(one["Properties"][kinds[one["Type"]]], indent=1) + "\n"
        for name, one in resources.items()
        if one["Type"] in kinds
    }


@pytest.mark.parametrize("deployment", ["everything new", "customer key", "readers", "switched on"])
def test_each_policy_is_the_one_that_was_approved(deployment: str) -> None:
    """After a wanted change: look at the difference, then write the file anew with the text that is shown."""
    found = policies(render(translated(), DEPLOYMENTS[deployment])["Resources"])
    folder = GOLDEN / deployment.replace(" ", "-")
    assert found.keys() == {path.stem for path in folder.glob("*.json")}
    for name, text in found.items():
        assert text == (folder / f"{name}.json").read_text(), f"{folder / name}.json is not what the template says"


NO_RESOURCE = {"cloudwatch:GetMetricData", "lambda:GetAccountSettings"}
"""Actions for which AWS knows no resource but `*` (its own list of a service's actions says so)."""


def bare_wildcards(resources: Resources) -> set[str]:
    """Actions that a policy allows on any resource."""
    found: set[str] = set()
    for text in policies(resources).values():
        documents = json.loads(text)
        for document in [one["PolicyDocument"] for one in documents] if isinstance(documents, list) else [documents]:
            for statement in document["Statement"]:
                if "*" in listed(statement["Resource"]):
                    found |= set(listed(statement["Action"]))
    return found


def test_no_resource_is_a_bare_wildcard_but_where_aws_knows_no_other() -> None:
    assert bare_wildcards(rendered()) == NO_RESOURCE


def test_a_bare_wildcard_would_be_seen() -> None:
    template = copy.deepcopy(translated())
    template["Resources"]["FlusherRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0]["Resource"] = (
        "*"
    )
    assert "sqs:ReceiveMessage" in bare_wildcards(render(template, NEW)["Resources"])


# ── Watch: lean ──

TOPIC = "arn:aws:sns:us-east-1:123456789012:oncall"


def in_the_rule(resources: Resources) -> list[str]:
    """The alarms that the composite alarm names. (A reference to a resource that is not made fails in `render`.)"""
    (trouble,) = composites(resources).values()
    parts = [part for part in trouble["AlarmRule"].split(" OR ") if part != "FALSE"]
    names = [re.fullmatch(r'ALARM\("<(\w+)>"\)', part) for part in parts]
    assert all(names), trouble["AlarmRule"]
    return [name[1] for name in names if name]


@pytest.mark.parametrize("parameters", [{}, {"VerifyAlarms": "on"}, OPTIONAL], ids=["usual", "verify", "all"])
def test_the_composite_alarm_of_lean_names_every_alarm_that_there_is_and_no_other(parameters: dict[str, str]) -> None:
    resources = lean(**parameters)
    assert sorted(in_the_rule(resources)) == sorted(alarms(resources))


def test_an_alarm_that_the_rule_forgets_would_be_seen() -> None:
    template = copy.deepcopy(translated())
    del template["Resources"]["FilesLate"]["Condition"]
    resources = render(template, {**NEW, "Watch": "lean"})["Resources"]
    assert set(alarms(resources)) - set(in_the_rule(resources)) == {"FilesLate"}


def test_with_lean_one_alarm_notifies_and_with_full_each() -> None:
    found = lean(AlarmTopicArn=TOPIC, **OPTIONAL)
    assert [alarm["AlarmActions"] for alarm in composites(found).values()] == [[TOPIC]]
    assert [alarm["OKActions"] for alarm in composites(found).values()] == [[TOPIC]]
    assert [name for name, alarm in alarms(found).items() if alarm.get("AlarmActions") or alarm.get("OKActions")] == []
    assert composites(rendered()) == {}
    assert [alarm.get("AlarmActions") for alarm in composites(lean()).values()] == [None]


@pytest.mark.parametrize("watch", WATCHES)
def test_the_bill_counts_what_each_value_of_watch_makes(watch: str) -> None:
    resources = render(translated(), {**NEW, "Watch": watch})["Resources"]
    boards = of_type(resources, "AWS::CloudWatch::Dashboard")
    assert Watched(len(alarms(resources)), len(composites(resources)), len(boards)) == WATCHES[watch]


def test_an_alarm_costs_one_metric() -> None:
    assert [name for name, alarm in alarms(rendered()).items() if "Metrics" in alarm] == []


def test_the_page_says_what_lean_cannot_tell() -> None:
    page = (ROOT / "docs" / "COST.md").read_text().partition('<a id="watch"></a>')[2]
    assert [name for name in set(alarms(rendered())) - set(alarms(lean(**OPTIONAL))) if name not in page] == []
