"""The translated template with parameters filled in, as CloudFormation would resolve it before it creates anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

NO_VALUE = object()
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::StackName": "lake",
    "AWS::StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/lake/51af3dc0-da77-11e4-872e-1234567db123",
    "AWS::NoValue": NO_VALUE,
    "AWS::URLSuffix": "amazonaws.com",
}


def render(
    template: Mapping[str, Any], given: Mapping[str, str], pseudo: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Resources and outputs for these parameters. Another resource's attribute stays as `<Resource.Attribute>`.

    `pseudo` stands in for some of PSEUDO: another partition, region or stack name.
    """
    return _Rendering(template, given, pseudo or {}).everything()


class _Rendering:
    def __init__(
        self, template: Mapping[str, Any], given: Mapping[str, str], pseudo: Mapping[str, str] | None = None
    ) -> None:
        self.template = template
        self.pseudo: dict[str, Any] = PSEUDO | (pseudo or {})
        unknown = set(given) - set(template["Parameters"])
        assert not unknown, f"no such parameters: {unknown}"
        self.parameters = {
            name: given.get(name, parameter.get("Default")) for name, parameter in template["Parameters"].items()
        }
        missing = [name for name, value in self.parameters.items() if value is None]
        assert not missing, f"required parameters: {missing}"

    def everything(self) -> dict[str, Any]:
        resources = {
            name: self.value({key: part for key, part in resource.items() if key != "Condition"})
            for name, resource in self.template["Resources"].items()
            if self.holds(resource.get("Condition"))
        }
        told = {name: one for name, one in self.template["Outputs"].items() if self.holds(one.get("Condition"))}
        return {"Resources": resources, "Outputs": self.value(told)}

    def broken_rules(self) -> list[str]:
        return [
            assertion["AssertDescription"]
            for rule in self.template["Rules"].values()
            if self.truth(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self.truth(assertion["Assert"])
        ]

    def holds(self, condition: str | None) -> bool:
        return condition is None or self.truth(self.template["Conditions"][condition])

    def truth(self, expression: Any) -> bool:
        ((function, operands),) = expression.items()
        if function == "Fn::Equals":
            left, right = (self.value(operand) for operand in operands)
            return str(left) == str(right)
        if function == "Fn::Not":
            return not self.truth(operands[0])
        if function == "Fn::And":
            return all(self.truth(operand) for operand in operands)
        assert function == "Condition", f"{function} is not known here"
        return self.holds(operands)

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [one for one in map(self.value, node) if one is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, operands),) = node.items()
            if function == "Ref":
                return self.reference(operands)
            if function.startswith("Fn::"):
                return self.call(function, operands)
        values = {key: self.value(part) for key, part in node.items()}
        return {key: part for key, part in values.items() if part is not NO_VALUE}

    def reference(self, name: str) -> Any:
        if name in self.pseudo:
            return self.pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        assert self.holds(self.template["Resources"][name].get("Condition")), f"{name} is not created here"
        return f"<{name}>"

    def call(self, function: str, operands: Any) -> Any:
        match function:
            case "Fn::If":
                condition, yes, no = operands
                return self.value(yes if self.holds(condition) else no)
            case "Fn::GetAtt":
                resource, attribute = operands
                return f"{self.reference(resource)[:-1]}.{attribute}>"
            case "Fn::Sub":
                text, names = operands if isinstance(operands, list) else (operands, {})
                return re.sub(r"\$\{([^}]+)\}", lambda found: str(self.named(found[1], names)), text)
            case "Fn::Join":
                separator, parts = operands
                return separator.join(str(part) for part in self.value(parts))
            case "Fn::Split":
                separator, text = operands
                return self.value(text).split(separator)
            case "Fn::Select":
                position, choices = operands
                return self.value(choices)[int(position)]
            case "Fn::FindInMap":
                mapping, *keys = operands
                found = self.template["Mappings"][mapping]
                for key in keys:
                    found = found[self.value(key)]
                return found
        raise AssertionError(f"{function} is not known here")

    def named(self, name: str, names: Mapping[str, Any]) -> Any:
        if name in names:
            return self.value(names[name])
        resource, _, attribute = name.partition(".")
        return self.call("Fn::GetAtt", [resource, attribute]) if attribute else self.reference(name)


def broken_rules(template: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """What the template's Rules say against these parameters."""
    return _Rendering(template, given).broken_rules()


KEY = "arn:aws:kms:us-east-1:123456789012:key/abc"
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/flights/stream/2026-11-24T00:00:00.000"
FOREIGN_TABLE = "arn:aws:dynamodb:us-east-1:111122223333:table/flights"
FOREIGN_STREAM = f"{FOREIGN_TABLE}/stream/2026-11-24T00:00:00.000"
NEW = {"TableName": "flights", "PartitionKeyName": "flight_id"}

DEPLOYMENTS = {
    "everything new": NEW,
    "new with a sort key": {**NEW, "SortKeyName": "day", "SortKeyType": "N"},
    "existing table and bucket": {"TableName": "flights", "TableStreamArn": STREAM, "S3Bucket": "lake-files"},
    "customer key": {**NEW, "KmsKeyArn": KEY},
    "encrypted existing table": {"TableName": "flights", "TableStreamArn": STREAM, "TableKmsKeyArn": KEY},
    "another account's table": {"TableName": "flights", "TableStreamArn": FOREIGN_STREAM},
    "readers": {**NEW, "ReaderAccountIds": "210987654321,333333333333"},
    "switched on": {**NEW, "KmsKeyArn": KEY, "HeartbeatMinutes": "10", "VerifyTarget": "s3://lake/silver/flights"},
    "longest flush and window": {**NEW, "FlusherTimeout": "900", "QueueWindowSeconds": "300"},
}

Resources = dict[str, Any]


def properties(resources: Resources, name: str) -> dict[str, Any]:
    return resources[name]["Properties"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def of_type(resources: Resources, kind: str) -> dict[str, Any]:
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}


Edit = Callable[[dict[str, Any]], None]


def setting(path: str, value: Any) -> Edit:
    """An edit that puts a value at a dotted path under Resources."""

    def edit(template: dict[str, Any]) -> None:
        node: Any = template["Resources"]
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            node = node[part]
        assert node[last] != value
        node[last] = value

    return edit
