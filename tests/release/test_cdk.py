"""The construct, synthesised by the CDK itself, which needs Node.js and no account. What CloudFormation makes of a
nested stack is not shown: the local stack expands no macro in one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.release.conftest import Release
from tests.support.wheel import ROOT

pytestmark = [pytest.mark.soak, pytest.mark.stack]

PYTHON = str(ROOT / ".venv-cdk" / "bin" / "python")
WRONG = """
import sys
from aws_cdk import App, Stack
from lakebound_cdk import Lakebound

def told(ask):
    try:
        ask()
    except ValueError as error:
        return str(error)

packaged, as_written, nowhere = sys.argv[1:]
stack = Stack(App(), "Lake")
good = Lakebound(stack, "Good", template=packaged, parameters={"TableName": "cars"})
print(told(lambda: Lakebound(stack, "A", template=packaged, parameters={"TableNme": "cars"})))
print(told(lambda: Lakebound(stack, "B", template=as_written, parameters={"TableName": "cars"})))
print(told(lambda: Lakebound(stack, "C", template=nowhere, parameters={"TableName": "cars"})))
print(told(lambda: good.output("Bucket")))
print(told(lambda: good.output("BucketName")))
"""


def run(*arguments: str, **more: str) -> str:
    here = os.environ | {"PYTHONPATH": str(ROOT / "cdk"), "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1"} | more
    done = subprocess.run([PYTHON, *arguments], env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_becomes_two_nested_stacks_of_the_packaged_template(release: Release, tmp_path: Path) -> None:
    made = tmp_path / "cdk.out"
    run(str(ROOT / "cdk" / "example" / "app.py"), LAKEBOUND_TEMPLATE=str(release.template), CDK_OUTDIR=str(made))
    template: dict[str, Any] = json.loads((made / "Lake.template.json").read_text())
    nested = [
        one["Properties"] for one in template["Resources"].values() if one["Type"] == "AWS::CloudFormation::Stack"
    ]
    (table,) = [name for name, one in template["Resources"].items() if one["Type"] == "AWS::DynamoDB::Table"]
    cars, trips = (one["Parameters"] for one in nested)
    assert (cars["TableName"], cars["SilverLagMinutes"]) == ("cars", "30")
    assert trips == {"TableName": {"Ref": table}, "TableStreamArn": {"Fn::GetAtt": [table, "StreamArn"]}}
    # Both name one asset, which is the template to the byte.
    (asset,) = made.glob("asset.*")
    assert asset.read_bytes() == release.template.read_bytes()
    digest = asset.name.removeprefix("asset.")
    assert [one["TemplateURL"]["Fn::Sub"].rpartition("/")[2] for one in nested] == [digest, digest]
    assert template["Outputs"]["TripsSource"]["Value"]["Fn::GetAtt"][1] == "Outputs.MergeSource"


def test_what_the_template_does_not_have_is_refused_when_the_app_is_synthesised(release: Release) -> None:
    asked = (str(release.template), str(ROOT / "template.yaml"), str(release.folder / "nowhere.yaml"))
    parameter, as_written, nowhere, output, none = run("-c", WRONG, *asked).splitlines()
    assert "has no parameter TableNme. docs/SETTINGS.md lists them" in parameter
    assert "is no packaged template" in as_written
    assert "is no packaged template (FileNotFoundError). Make it with make package" in nowhere
    assert "has no output Bucket, but AsidePrefix, " in output
    assert none == "None"
