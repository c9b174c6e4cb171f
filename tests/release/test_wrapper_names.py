"""What a configuration of Terraform or an app of the CDK calls the module and the construct by: 1.x keeps these names
(docs/COMPATIBILITY.md), and adds only what has a default."""

from __future__ import annotations

import ast
import re

from tests.support.wheel import ROOT

REQUIRED = {"template", "bucket", "name", "parameters"}


def blocks(file: str, kind: str) -> dict[str, str]:
    """The bodies of a file's blocks of one kind, by their names."""
    text = (ROOT / "terraform" / file).read_text("utf-8")
    return dict(re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}', text, re.DOTALL | re.MULTILINE))


def test_the_module_has_its_variables_and_outputs() -> None:
    variables = blocks("variables.tf", "variable")
    assert variables.keys() == {*REQUIRED, "tags"}
    assert {name for name, body in variables.items() if not re.search(r"^  default ", body, re.MULTILINE)} == REQUIRED
    assert blocks("outputs.tf", "output").keys() == {"stack_name", "outputs"}


def test_the_construct_has_its_arguments_and_members() -> None:
    tree = ast.parse((ROOT / "cdk" / "lakebound_cdk" / "construct.py").read_text("utf-8"))
    (made,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    members = {node.name: node for node in made.body if isinstance(node, ast.FunctionDef)}
    assert made.name == "Lakebound"
    assert members.keys() == {"__init__", "stack_name", "output"}
    assert [one.arg for one in members["__init__"].args.args] == ["self", "scope", "construct_id"]
    assert [one.arg for one in members["__init__"].args.kwonlyargs] == ["template", "parameters"]
