"""With every name and parameter at its longest the stack fits into what the services take; and edits that break it."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lakebound.record.redaction import parse_paths
from lakebound.transport.object_keys import DataKey, partitioner
from tests.support.rendered_template import listed, of_type, render, setting
from tests.support.translated_template import translated

REGION = "ap-southeast-2"
ACCOUNT = "123456789012"
STACK_ID = "51af3dc0-da77-11e4-872e-1234567db123"
LONGEST_STACK = "s" * 128
PSEUDO = {
    "AWS::StackName": LONGEST_STACK,
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{LONGEST_STACK}/{STACK_ID}",
}
TABLE = "t" * 255
STREAM = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{TABLE}/stream/2026-11-24T00:00:00.000"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/mrk-" + "0" * 32


def longest(name: str) -> str:
    """The longest value that a parameter of text without a list of choices takes."""
    most: int = translated()["Parameters"][name]["MaxLength"]
    made = {
        "S3Prefix": "p" * most,
        "VerifyTarget": "s3://" + "b" * 63 + "/" + "t" * (most - 69),
        "PartitionTemplate": "%Y" * (most // 2),
        "DropAttributes": "d" * most,
        "HashAttributes": "h" * most,
        "HashKeyArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:".ljust(most, "x"),
        "KmsKeyArn": KEY.ljust(most, "0"),
        "TableKmsKeyArn": KEY.ljust(most, "0"),
        "ReaderAccountIds": ",".join(f"{210000000000 + n}" for n in range((most + 1) // 13)),
        "PartitionKeyName": "k" * most,
        "SortKeyName": "k" * most,
    }[name]
    pattern = translated()["Parameters"][name].get("AllowedPattern")
    assert len(made) == most
    assert pattern is None or re.fullmatch(pattern, made), name
    return made


ANY = {
    "TableName": TABLE,
    **{
        name: longest(name)
        for name in ("S3Prefix", "PartitionTemplate", "DropAttributes", "HashAttributes", "KmsKeyArn", "VerifyTarget")
    },
    "HashKeyArn": longest("HashKeyArn"),
    "AlarmTopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:" + "a" * 256,
    **{
        name: str(parameter.get("MaxValue", "9" * 15))
        for name, parameter in translated()["Parameters"].items()
        if parameter["Type"] == "Number" and "AllowedValues" not in parameter
    },
    **{
        name: max(map(str, parameter["AllowedValues"]), key=len)
        for name, parameter in translated()["Parameters"].items()
        if "AllowedValues" in parameter
    },
}
DEPLOYMENTS = {
    "all of it new": {
        **ANY,
        "PartitionKeyName": longest("PartitionKeyName"),
        "SortKeyName": longest("SortKeyName"),
        "ReaderAccountIds": longest("ReaderAccountIds"),
    },
    "all of it existing": {
        **ANY,
        "TableStreamArn": STREAM,
        "S3Bucket": "b" * 63,
        "TableKmsKeyArn": longest("TableKmsKeyArn"),
    },
    "default prefix": {**ANY, "S3Prefix": "", "TableStreamArn": STREAM},
}


def physical(rendered: dict[str, Any]) -> dict[str, Any]:
    """The rendered stack with what CloudFormation would put for other resources, each at its longest."""
    resources = rendered["Resources"]

    def made(reference: str) -> str:
        name, _, attribute = reference.strip("<>").partition(".")
        one = resources[name]
        match one["Type"]:
            case "AWS::SQS::Queue":
                queue = one["Properties"]["QueueName"]
                if attribute == "QueueName":
                    return str(queue)
                url = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}"
                return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}" if attribute else url
            case "AWS::Lambda::Function":
                return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{'f' * 64}" if attribute else "f" * 64
            case "AWS::S3::Bucket":
                return "arn:aws:s3:::" + "b" * 63 if attribute else "b" * 63
            case "AWS::Lambda::EventSourceMapping":
                return STACK_ID
            case "AWS::DynamoDB::Table":
                return STREAM
            case "AWS::Logs::LogGroup":
                return f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{one['Properties']['LogGroupName']}:*"
        return f"arn:aws:{REGION}:{ACCOUNT}:".ljust(256, "x")

    text = re.sub(r"<[A-Za-z0-9]+(\.[A-Za-z]+)?>", lambda found: made(found[0]), json.dumps(rendered))
    whole: dict[str, Any] = json.loads(text)
    return whole


# ── limits: what a service says, and what the stack gives it ──

Measured = Iterator[tuple[str, int, int]]
"""(what, how long it is, the most that the service takes)."""

NAMES = {
    ("AWS::SQS::Queue", "QueueName"): (80, r"[A-Za-z0-9_-]+"),
    ("AWS::StepFunctions::StateMachine", "StateMachineName"): (80, r"[A-Za-z0-9_-]+"),
    ("AWS::Logs::LogGroup", "LogGroupName"): (512, r"[A-Za-z0-9_/.#-]+"),
    ("AWS::CloudWatch::Dashboard", "DashboardName"): (255, r"[A-Za-z0-9_-]+"),
    ("AWS::DynamoDB::Table", "TableName"): (255, r"[A-Za-z0-9_.-]+"),
    ("AWS::Lambda::Function", "Description"): (256, r"[^\n]+"),
    ("AWS::Lambda::LayerVersion", "Description"): (256, r"[^\n]+"),
    ("AWS::Lambda::LayerVersion", "LayerName"): (140, r"[A-Za-z0-9_-]+"),
    ("AWS::Events::Rule", "Description"): (512, r"[^\n]+"),
    ("AWS::IAM::Role", "Description"): (1000, r"[^\n]+"),
    ("AWS::CloudWatch::Alarm", "AlarmDescription"): (1024, r"[^\n]+"),
}
NAMED_BY_CLOUDFORMATION = {
    ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::IAM::Role", "RoleName"),
    ("AWS::CloudWatch::Alarm", "AlarmName"),
    ("AWS::S3::Bucket", "BucketName"),
    ("AWS::Events::Rule", "Name"),
}
"""CloudFormation makes these of the stack's name, the resource's and a random part, cut to what the service takes."""


def names_fit(resources: dict[str, Any]) -> Measured:
    for name, one in resources.items():
        given = {(one["Type"], field) for field in one["Properties"]} & NAMED_BY_CLOUDFORMATION
        assert not given, f"{name} has a {given} of its own, whose length nobody measures"
        for (kind, field), (most, pattern) in NAMES.items():
            if one["Type"] == kind and field in one["Properties"]:
                text = one["Properties"][field]
                assert re.fullmatch(pattern, text), (name, field, text)
                yield f"{name}.{field}", len(text), most


def environments_fit(resources: dict[str, Any]) -> Measured:
    """Lambda measures the variables as one JSON text, quotes and escapes included (its error shows that text)."""
    for name, function in of_type(resources, "AWS::Lambda::Function").items():
        variables = {key: str(value) for key, value in function["Environment"]["Variables"].items()}
        text = json.dumps(variables, ensure_ascii=False, separators=(",", ":"))
        yield f"variables of {name}", len(text.encode()), 4096


def policies_fit(resources: dict[str, Any]) -> Measured:
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        texts = [json.dumps(one["PolicyDocument"], separators=(",", ":")) for one in role["Policies"]]
        yield f"policies of {name}", sum(map(len, texts)), 10_240
    for name, policy in of_type(resources, "AWS::S3::BucketPolicy").items():
        # S3 keeps an account as the ARN of its root.
        text = json.dumps(policy["PolicyDocument"], separators=(",", ":"))
        readers = {
            account
            for one in policy["PolicyDocument"]["Statement"]
            if one["Effect"] == "Allow"
            for account in listed(one["Principal"]["AWS"])
        }
        grown = len("arn:aws:iam:::root") * len(readers) * 2
        yield name, len(text) + grown, 20 * 1024
    for name, policy in of_type(resources, "AWS::SQS::QueuePolicy").items():
        yield name, len(json.dumps(policy["PolicyDocument"])), 8192


def metrics_and_dashboards_fit(resources: dict[str, Any]) -> Measured:
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        for dimension in alarm["Dimensions"]:
            yield f"dimension of {name}", len(dimension["Value"]), 1024
    for name, dashboard in of_type(resources, "AWS::CloudWatch::Dashboard").items():
        yield f"body of {name}", len(dashboard["DashboardBody"]), 1024 * 1024


def keys_fit(resources: dict[str, Any]) -> Measured:
    """A batch file's key, under the longest prefix and hour partition."""
    variables = resources["StreamIngest"]["Properties"]["Environment"]["Variables"]
    partition = partitioner(variables["PARTITION_TEMPLATE"])(1_700_000_000_000, True)
    key = DataKey(partition, "incremental_export", 1_700_000_000_000, 10**9, "f" * 64, "ndjson.gz")
    yield "key of a batch file", len(key.format(variables["S3_PREFIX"]).encode()), 1024


LIMITS = (names_fit, environments_fit, policies_fit, metrics_and_dashboards_fit, keys_fit)


def stack(template: dict[str, Any], deployment: str) -> dict[str, Any]:
    resources: dict[str, Any] = physical(render(template, DEPLOYMENTS[deployment], PSEUDO))["Resources"]
    return resources


def overrun(template: dict[str, Any], deployment: str) -> list[str]:
    """What is longer than its service takes."""
    resources = stack(template, deployment)
    return [
        f"{what}: {length} of {most}" for limit in LIMITS for what, length, most in limit(resources) if length > most
    ]


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.__name__)
def test_the_longest_of_everything_fits(limit: Callable[[dict[str, Any]], Measured], deployment: str) -> None:
    measured = list(limit(stack(translated(), deployment)))
    assert measured
    for what, length, most in measured:
        assert length <= most, what


STACK = {"Ref": "AWS::StackName"}
ID = {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("BufferQueue.Properties.QueueName", {"Fn::Join": ["-", [STACK, "buffer", ID]]}, "BufferQueue.QueueName"),
        ("BackfillMachine.Properties.StateMachineName", {"Fn::Join": ["-", [STACK, "x"]]}, ".StateMachineName"),
        ("StreamIngest.Properties.Description", {"Fn::Sub": "${TableName}: to messages"}, "Description"),
        ("LookSchedule.Properties.Description", {"Fn::Sub": "${TableName}" * 3}, "LookSchedule.Description"),
        ("Flusher.Properties.Environment.Variables.MAX_RECORDS", {"Fn::Sub": "${TableName}" * 16}, "of Flusher"),
        ("BackfillRole.Properties.Policies.0.PolicyDocument.Id", "x" * 5_000, "policies of BackfillRole"),
    ],
)
def test_an_edit_that_makes_something_too_long_is_seen(path: str, value: object, found: str) -> None:
    template = copy.deepcopy(translated())
    template["Resources"]["BackfillRole"]["Properties"]["Policies"][0]["PolicyDocument"].setdefault("Id", "")
    setting(path, value)(template)
    assert any(found in one for deployment in DEPLOYMENTS for one in overrun(template, deployment))


@pytest.mark.parametrize(
    ("parameter", "most", "found"),
    [
        ("DropAttributes", 2048, "variables of Backfill"),
        ("HashAttributes", 2048, "variables of Backfill"),
        ("HashKeyArn", 2048, "variables of Backfill"),
        ("S3Prefix", 1024, "key of a batch file"),
        ("ReaderAccountIds", 4095, "BucketPolicy"),
    ],
)
def test_a_longer_parameter_would_not_fit(parameter: str, most: int, found: str) -> None:
    """Why each has the longest form that it has."""
    given = longest(parameter)
    more = (given + ("," if parameter == "ReaderAccountIds" else "")) * (most // len(given) + 1)
    resources = physical(render(translated(), DEPLOYMENTS["all of it new"] | {parameter: more}, PSEUDO))["Resources"]
    assert [what for limit in LIMITS for what, length, room in limit(resources) if length > room and found in what]


def test_each_table_name_is_one_that_the_whole_stack_takes() -> None:
    pattern = translated()["Parameters"]["TableName"]["AllowedPattern"]
    assert re.fullmatch(pattern, TABLE)
    assert not re.fullmatch(pattern, TABLE + "t")


PATHS = translated()["Parameters"]["DropAttributes"]["AllowedPattern"]
"""The pattern of both lists of paths, which CloudFormation holds against the whole value."""


def bytes_as_measured(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


@pytest.mark.parametrize(
    "character",
    ["a", "é", "日", "😀", '"', "\\", ".", "["],
    ids=["letter", "2", "3", "4 bytes", "quote", "\\", ".", "["],
)
def test_a_list_of_paths_is_bounded_by_its_bytes_and_not_its_characters(character: str) -> None:
    longest_taken = max(n for n in range(700) if re.fullmatch(PATHS, character * n))
    assert bytes_as_measured(character * longest_taken) <= 640
    assert longest_taken >= 160
    assert translated()["Parameters"]["HashAttributes"]["AllowedPattern"] == PATHS


def test_lists_of_paths_in_every_mixture_stay_within_their_bytes() -> None:
    """What the pattern takes at most, found by growing texts of mixed characters until it refuses."""
    choose = random.Random(17)
    for _ in range(300):
        text = ""
        alphabet = choose.choices(['"', "\\", "é", "日", "😀", "a", ",", ".", " ", "~", "[", "]"], k=3)
        while re.fullmatch(PATHS, text):
            assert bytes_as_measured(text) <= 640
            text += choose.choice(alphabet) * choose.randint(1, 9)
        # Refusing is as quick: no way of dividing the text is tried twice.
        assert len(text) >= 100


@pytest.mark.parametrize(
    "text", ["", "email,address.street", "first name", "größe", r"a\.b,c\,d", 'say "hi"', "日本語.名前"]
)
def test_lists_that_people_write_are_taken(text: str) -> None:
    assert re.fullmatch(PATHS, text)
    parse_paths("DROP_ATTRIBUTES", text)


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "\x00", "x" * 641])
def test_control_characters_and_longer_lists_are_refused(text: str) -> None:
    assert not re.fullmatch(PATHS, text)
