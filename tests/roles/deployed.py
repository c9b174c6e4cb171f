"""A rendered stack on moto, whose functions call AWS under their roles: each call is judged before it is answered.

The template decides everything: the resources that moto makes, the functions' variables, the roles' statements. What
moto lacks (exports, event source mappings) is answered here, after it was judged. A denied call is answered with 403 as
AWS does, and S3 answers 403 for a missing key to who may not list.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from types import ModuleType
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from moto import mock_aws

from lakebound.adapters import clients
from lakebound.adapters.clock import SystemClock
from lakebound.record.table_identity import Home, TableArn
from lakebound.source.sharing import Policy, policies
from tests.roles import asking
from tests.roles.judging import ACCOUNT, Request, Statement, allowed, listed
from tests.support.rendered_template import render
from tests.support.translated_template import ROOT, translated

REGION = "us-east-1"
_names = count(1)


@dataclass(frozen=True, slots=True)
class Right:
    """One action on one resource that a role's statement allows: what can be taken away."""

    role: str
    sid: str
    action: str
    resource: str
    """As in the template's own terms: BUCKET, KEY, STREAM … stand for what differs from deployment to deployment."""

    def __str__(self) -> str:
        return f"{self.role} {self.sid} {self.action} {self.resource}"


@dataclass
class Deployed:
    """One stack. `asked` are the requests of each role, `denied` those that were refused, in order."""

    resources: dict[str, Any]
    names: Mapping[str, str]
    roles: dict[str, list[tuple[Right, Statement]]]
    around: asking.Surroundings
    bucket: str
    table: str
    stream: str
    table_arn: str
    role: str = ""
    ahead_ms: int = 0
    asked: dict[str, list[Request]] = field(default_factory=dict)
    denied: list[tuple[str, Request]] = field(default_factory=list)
    answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    taken: Right | None = None
    owners: dict[str, list[Statement]] = field(default_factory=dict)
    """The policies that the owner of another account's table has put on its resources."""
    broken: str = ""
    """An operation that answers with an outage."""
    _unjudged: Any = None

    def may(self, role: str, request: Request) -> bool:
        """Judges and remembers one request of a role."""
        self.asked.setdefault(role, []).append(request)
        good = self.judge(role, request, self.taken)
        if not good:
            self.denied.append((role, request))
        return good

    def judge(self, role: str, request: Request, without: Right | None = None) -> bool:
        """Whether the role may, were one right taken away."""
        identity = [statement for right, statement in self.roles[role] if right != without]
        # CloudFormation's name for it.
        arn = f"arn:aws:iam::{ACCOUNT}:role/lake-{role}-1A2B3C4D5E6F"
        asked = replace(request, context=(*request.context, ("aws:PrincipalArn", arn)))
        return allowed(asked, identity, self.policy_of(request.resource), owner=owner_of(request.resource))

    def policy_of(self, resource: str) -> list[Statement]:
        """The statements of the resource's own policy: of the bucket, of a queue, of another account's table."""
        found = [one for on, statements in self.owners.items() if on == resource for one in statements]
        for one in self.resources.values():
            if one["Type"] in ("AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy"):
                kind = "s3" if "S3" in one["Type"] else "sqs"
                if f":{kind}:" in resource:
                    found += [Statement.of(s) for s in one["Properties"]["PolicyDocument"]["Statement"]]
        return found

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """Calls made meanwhile are the role's."""
        before, self.role = self.role, role
        try:
            yield
        finally:
            self.role = before

    def keep_arguments(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = dict(params)
        if str(params.get("TableName", "")).startswith("arn:"):
            # moto has one account: the owner's table lies in it under its name.
            params["TableName"] = self.table

    def before_call(self, model: Any, context: dict[str, Any], **_: Any) -> Any:
        service, operation = model.service_model.service_name, model.name
        assert self.role, f"nobody's call: {service} {operation}"
        given = context["asked"]
        for request in asking.asked(service, operation, given, self.around):
            if not self.may(self.role, request):
                return _refusal(service)
        if operation in ("GetObject", "HeadObject") and not self._exists(given["Bucket"], given["Key"]):
            missing = asking.to_know_that_it_is_missing(given["Bucket"], self.around)
            if not self.may(self.role, missing):
                return _refusal(service)
        if operation == self.broken:
            return _failure(503, "SlowDown")
        if answer := self.answers.get(operation):
            return AWSResponse("", 200, {}, None), answer(given) | {"ResponseMetadata": {"HTTPHeaders": {}}}
        return None

    def after_call(self, parsed: dict[str, Any], **_: Any) -> None:
        """Services and functions share one clock, which this test moves on."""
        parsed.setdefault("ResponseMetadata", {}).setdefault("HTTPHeaders", {})["date"] = format_datetime(
            self.now(), True
        )

    def _exists(self, bucket: str, key: str) -> bool:
        if self._unjudged is None:
            self._unjudged = boto3.client("s3")
        try:
            self._unjudged.head_object(Bucket=bucket, Key=key)
        except ClientError:
            return False
        return True

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def now_ms(self) -> int:
        return _TRUE_NOW(SystemClock()) + self.ahead_ms

    def sleep(self, seconds: float) -> None:
        self.ahead_ms += round(seconds * 1000)

    def load(self, function: str, logical: str) -> ModuleType:
        """The real handler's module, started with the rendered variables under its role."""
        variables = self.resources[logical]["Properties"]["Environment"]["Variables"]
        with pytest.MonkeyPatch.context() as patch, self.acting(self.role_of(logical)):
            for name, value in variables.items():
                patch.setenv(name, str(value))
            # Powertools keeps one logger a service for the life of the process.
            patch.setenv("POWERTOOLS_SERVICE_NAME", f"{function}-{next(_names)}")
            spec = importlib.util.spec_from_file_location(f"roles_{function}", ROOT / "functions" / function / "app.py")
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return module

    def call(self, module: ModuleType, logical: str, event: dict[str, Any], seconds: int = 60) -> dict[str, Any]:
        """One invocation, with what Lambda itself does under the role: the log stream and its lines."""
        role = self.role_of(logical)
        log = self.names[f"{logical}Logs.Arn"]
        for action in ("logs:CreateLogStream", "logs:PutLogEvents"):
            self.may(role, Request.of(action, f"{log}:log-stream:2026/11/26/x", "Lambda writes the log"))
        with self.acting(role):
            answer: dict[str, Any] = module.handler(event, _Context(seconds))
        return answer

    def role_of(self, logical: str) -> str:
        return str(self.resources[logical]["Properties"]["Role"])


@dataclass(frozen=True)
class _Context:
    seconds: int
    function_name = "roles"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:roles"
    aws_request_id = "00000000-0000-4000-8000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.seconds * 1000


def owner_of(resource: str) -> str:
    """The account in an ARN; this one's for what has none."""
    parts = resource.split(":")
    return parts[4] if len(parts) > 5 and parts[4] else ACCOUNT


_TRUE_NOW = SystemClock.now_ms
_DENIED = {"s3": "AccessDenied", "sqs": "AccessDenied", "cloudwatch": "AccessDenied"}


def _refusal(service: str) -> tuple[AWSResponse, dict[str, Any]]:
    return _failure(403, _DENIED.get(service, "AccessDeniedException"))


def _failure(status: int, code: str) -> tuple[AWSResponse, dict[str, Any]]:
    parsed = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return AWSResponse("", status, {}, None), parsed


@contextmanager
def deployed(parameters: Mapping[str, str], taken: Right | None = None) -> Iterator[Deployed]:
    """The stack with these parameters, with one right of a role taken away if `taken`."""
    rendered = render(translated(), parameters)["Resources"]
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        here = _make(rendered, parameters)
        here.taken = taken
        session = botocore.session.Session()
        session.register("before-parameter-build", here.keep_arguments)
        session.register("before-call", here.before_call)
        session.register("after-call", here.after_call)
        patch.setattr(clients, "_session", lambda: session)
        patch.setattr(SystemClock, "now_ms", lambda self: here.now_ms())
        patch.setattr(SystemClock, "sleep", lambda self, seconds: here.sleep(seconds))
        yield here


def _make(rendered: dict[str, Any], parameters: Mapping[str, str]) -> Deployed:
    """What holds data, in moto; and the template's placeholders filled in with what it is called there."""
    names: dict[str, str] = {}
    bucket = parameters.get("S3Bucket") or "lake-bucket"
    boto3.client("s3").create_bucket(Bucket=bucket)
    names |= {"Bucket": bucket, "Bucket.Arn": f"arn:aws:s3:::{bucket}"}
    dynamodb = boto3.client("dynamodb")
    table = parameters["TableName"]
    described = dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    stream = parameters.get("TableStreamArn") or described["LatestStreamArn"]
    names |= {"Table": table, "Table.Arn": described["TableArn"], "Table.StreamArn": stream}
    if beats := rendered.get("HeartbeatTable"):
        made = dynamodb.create_table(
            TableName=beats["Properties"]["TableName"],
            **{name: beats["Properties"][name] for name in ("KeySchema", "AttributeDefinitions", "BillingMode")},
        )["TableDescription"]
        names |= {
            "HeartbeatTable": made["TableName"],
            "HeartbeatTable.Arn": made["TableArn"],
            "HeartbeatTable.StreamArn": f"{made['TableArn']}/stream/2026-11-01T08:00:00.000",
        }
    queues = {}
    for name in ("DeadLetterQueue", "BufferQueue"):
        properties = rendered[name]["Properties"]
        url = boto3.client("sqs").create_queue(
            QueueName=properties["QueueName"],
            Attributes={"VisibilityTimeout": str(properties.get("VisibilityTimeout", 30))},
        )["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:123456789012:{properties['QueueName']}"
        queues[url] = arn
        names |= {name: url, f"{name}.Arn": arn, f"{name}.QueueName": properties["QueueName"]}
    account = f"{REGION}:123456789012"
    for name, one in rendered.items():
        match one["Type"]:
            case "AWS::Logs::LogGroup":
                group = one["Properties"]["LogGroupName"]
                # The attribute Arn of a log group ends in `:*`.
                names |= {name: group, f"{name}.Arn": f"arn:aws:logs:{account}:log-group:{group}:*"}
            case "AWS::Lambda::Function":
                names |= {name: f"lake-{name}", f"{name}.Arn": f"arn:aws:lambda:{account}:function:lake-{name}"}
            case "AWS::Lambda::EventSourceMapping":
                names[name] = f"00000000-0000-4000-8000-{sorted(rendered).index(name):012d}"
            case "AWS::StepFunctions::StateMachine":
                names[name] = f"arn:aws:states:{account}:stateMachine:{one['Properties']['StateMachineName']}"
            case "AWS::IAM::Role":
                names |= {name: name, f"{name}.Arn": name}
    key = parameters.get("KmsKeyArn", "")
    here = Deployed(
        resources=filled(rendered, names),
        names=names,
        roles={},
        around=asking.Surroundings(
            partition="aws",
            region=REGION,
            queues=queues,
            bucket_keys={bucket: key} if key else {},
            queue_key=key,
            # A table of the stack is encrypted with the stack's key, an existing one with its own.
            table_key=parameters.get("TableKmsKeyArn") or ("" if "TableStreamArn" in parameters else key),
        ),
        bucket=bucket,
        table=table,
        stream=stream,
        table_arn=stream.partition("/stream/")[0],
    )
    for policy in _owners_policies(stream):
        here.owners[policy.resource] = [Statement.of(one) for one in policy.document["Statement"]]
    shown = {bucket: "BUCKET", stream: "STREAM", here.table_arn: "TABLE"}
    shown |= {names[f"{name}.Arn"].rpartition(":")[2]: name for name in ("BufferQueue", "DeadLetterQueue")}
    shown |= {names["BackfillMachine"].rpartition(":")[2]: "BackfillMachine"}
    shown |= {value: name for name, value in parameters.items() if name.endswith("Arn") and name != "TableStreamArn"}
    for name, one in here.resources.items():
        if one["Type"] == "AWS::IAM::Role":
            here.roles[name] = list(_rights(name, one["Properties"]["Policies"], shown))
    return here


def _owners_policies(stream: str) -> tuple[Policy, ...]:
    """What `lakebound init` prints for the owner, put by the owner."""
    table, home = TableArn.parse(stream.partition("/stream/")[0]), Home("aws", REGION, ACCOUNT)
    assert table is not None
    return policies(table, stream, home, "lake") if table.home.account != ACCOUNT else ()


def _rights(role: str, policies: list[dict[str, Any]], shown: Mapping[str, str]) -> Iterator[tuple[Right, Statement]]:
    for policy in policies:
        for written in policy["PolicyDocument"]["Statement"]:
            whole = Statement.of(written)
            assert whole.effect == "Allow", f"{role} denies: taking that away is no loss"
            for action in listed(written["Action"]):
                for resource in listed(written["Resource"]):
                    told = resource
                    for value, name in shown.items():
                        told = told.replace(value, name)
                    right = Right(role, whole.sid, action, told)
                    yield right, replace(whole, actions=(action,), resources=(resource,))


def filled(node: Any, names: Mapping[str, str]) -> Any:
    """With `<Resource>` and `<Resource.Attribute>` replaced. What nothing here is called stays as it is."""
    text = json.dumps(node)
    found: Any = json.loads(re.sub(r"<([A-Za-z.]+)>", lambda match: names.get(match[1], match[0]), text))
    return found
