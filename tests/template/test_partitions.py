"""The whole stack in China and GovCloud: no ARN, region or address of another partition anywhere in it."""

import json
import re
from typing import Any

import pytest

from tests.support.rendered_template import DEPLOYMENTS, render
from tests.support.translated_template import ROOT, translated

MACHINE = (ROOT / "statemachines" / "backfill.asl.json").read_text()
PARTITIONS = {
    "aws": ("eu-west-1", "amazonaws.com"),
    "aws-cn": ("cn-northwest-1", "amazonaws.com.cn"),
    "aws-us-gov": ("us-gov-east-1", "amazonaws.com"),
}
"""A region of each, and how its addresses end. None of them is a region that a careless line would name."""

PRINCIPALS = {"lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com"}
"""Services are called so in a trust policy in every partition (IAM refuses `lambda.amazonaws.com.cn`)."""

REGION = re.compile(r"\b(?:af|ap|ca|cn|eu|il|me|mx|sa|us)(?:-(?:gov|iso[a-z]?))?-(?:[a-z]+)-[0-9]\b")


def at_home(values: dict[str, str], partition: str, region: str) -> dict[str, str]:
    """A deployment's parameters with the ARNs that a person there would give."""
    return {
        name: value.replace("arn:aws:", f"arn:{partition}:").replace("us-east-1", region)
        for name, value in values.items()
    }


def everything(template: dict[str, Any], machine: str, partition: str, given: dict[str, str]) -> str:
    """All that CloudFormation and Step Functions get there, the state machine's definition included, as one text."""
    region, suffix = PARTITIONS[partition]
    pseudo = {"AWS::Partition": partition, "AWS::Region": region, "AWS::URLSuffix": suffix}
    pseudo["AWS::StackId"] = f"arn:{partition}:cloudformation:{region}:123456789012:stack/lake/51af3dc0-11e4"
    rendered = render(template, at_home(given, partition, region), pseudo)
    substitutions = rendered["Resources"]["BackfillMachine"]["Properties"]["DefinitionSubstitutions"]
    definition = re.sub(r"\$\{(\w+)\}", lambda found: str(substitutions[found[1]]), machine)
    json.loads(definition)
    return json.dumps(rendered) + definition


def foreign(text: str, partition: str) -> set[str]:
    """Every ARN of another partition, region of elsewhere and address that ends otherwise than here."""
    region, suffix = PARTITIONS[partition]
    found = {arn for arn in re.findall(r"arn:[a-z${}A-Z:-]+?:", text) if arn != f"arn:{partition}:"}
    found |= {one for one in REGION.findall(text) if one != region}
    addresses = set(re.findall(r"[a-z0-9.-]*amazonaws\.com(?:\.cn)?", text)) - PRINCIPALS
    return found | {one for one in addresses if not one.endswith("." + suffix)}


everywhere = pytest.mark.parametrize("partition", PARTITIONS)


@everywhere
@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_nothing_in_the_stack_belongs_to_another_partition(partition: str, deployment: str) -> None:
    text = everything(translated(), MACHINE, partition, DEPLOYMENTS[deployment])
    assert foreign(text, partition) == set()
    assert text.count(f"arn:{partition}:states:::lambda:invoke") == MACHINE.count('"Type": "Task"') == 12


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("arn:${Partition}:states:::lambda:invoke", "arn:aws:states:::lambda:invoke"),
        ("arn:${AWS::Partition}:s3:::", "arn:aws:s3:::"),
        ('{"Ref": "AWS::Region"}', '"us-east-1"'),
        ("${AWS::Region}", "eu-central-1"),
        ("lambda.amazonaws.com", "sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_a_line_that_names_one_partition_would_be_seen(old: str, new: str) -> None:
    given = DEPLOYMENTS["everything new"]
    template = json.loads(json.dumps(translated()).replace(old, new))
    machine = MACHINE.replace(old, new)
    assert (template, machine) != (translated(), MACHINE)
    for partition in ("aws-cn", "aws-us-gov"):
        assert foreign(everything(template, machine, partition, given), partition)


def test_the_template_itself_names_no_partition_region_or_address() -> None:
    """Descriptions and patterns may show `arn:aws:`; nothing that is created may be made of one."""
    resources = json.dumps({name: translated()[name] for name in ("Resources", "Outputs", "Mappings", "Conditions")})
    assert not re.findall(r"arn:aws[a-z-]*:", resources + MACHINE)
    assert not REGION.findall(resources + MACHINE)
