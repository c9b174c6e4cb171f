"""What a deployment of 0.1.0 left behind is taken by the code of today: its names, its messages, its files.

The folder 0.1.0 was written by the code of 26 November 2026: its template, and for a table `cars` the messages of seven
stream records, the files that its flusher made of them, and the silver table that its merge job made of the first two
files. tests/spark/test_upgrade.py merges into that table, tests/local_stack/test_upgrade.py deploys that template.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from lakebound.errors import Poison
from lakebound.operate.file_check import check_file
from lakebound.transport import batch_files, messages
from lakebound.transport.object_keys import DataKey
from tests.support.translated_template import source

FORMER = Path(__file__).with_name("0.1.0")
FILES = sorted((FORMER / "files").rglob("*.ndjson.gz"))
BODIES: list[str] = json.loads((FORMER / "messages.json").read_text())
REPLACING = {
    "AWS::DynamoDB::Table": ("TableName", "KeySchema"),
    "AWS::S3::Bucket": ("BucketName",),
    "AWS::SQS::Queue": ("QueueName", "FifoQueue"),
    "AWS::Logs::LogGroup": ("LogGroupName",),
    "AWS::Serverless::StateMachine": ("Name", "Type"),
    "AWS::Serverless::Function": ("FunctionName", "PackageType"),
    "AWS::Lambda::EventSourceMapping": ("EventSourceArn", "StartingPosition"),
}
"""What holds data or a position, and the properties with which CloudFormation would make another one in its place."""


def former() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(FORMER / "template.yaml"))))
    return found


def breaks(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What a stack of one template would lose by an update to the other, or would be refused for."""
    found = []
    for part in ("Parameters", "Outputs"):
        found += [f"{part}.{name} is gone" for name in before[part] if name not in after[part]]
    for name, one in after["Parameters"].items():
        known = before["Parameters"].get(name)
        if known is None and "Default" not in one:
            found.append(f"Parameters.{name} is new and has no default")
        if known is not None and (known["Type"], known.get("Default")) != (one["Type"], one.get("Default")):
            found.append(f"Parameters.{name} has another type or default")
        if known is not None and (gone := set(known.get("AllowedValues", ())) - set(one.get("AllowedValues", ()))):
            found.append(f"Parameters.{name} no longer takes {sorted(gone)}")
    for name, one in before["Resources"].items():
        if one["Type"] in REPLACING:
            now = after["Resources"].get(name, {"Type": None})
            if now["Type"] != one["Type"]:
                found.append(f"Resources.{name} is gone")
                continue
            found += [
                f"Resources.{name} would be replaced for its {key}"
                for key in REPLACING[one["Type"]]
                if now.get("Properties", {}).get(key) != one.get("Properties", {}).get(key)
            ]
    return found


def test_an_update_of_the_stack_keeps_every_name_and_whatever_holds_data() -> None:
    assert breaks(former(), source()) == []


def test_every_kind_that_holds_data_is_in_the_former_template() -> None:
    kinds = {one["Type"] for one in former()["Resources"].values()}
    assert REPLACING.keys() - kinds == set()


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("Parameters", "S3Prefix"), None, "Parameters.S3Prefix is gone"),
        (("Parameters", "MaxSeconds", "Default"), 31, "Parameters.MaxSeconds has another type or default"),
        (("Parameters", "FileFormat", "AllowedValues"), ["avro"], "Parameters.FileFormat no longer takes"),
        (("Parameters", "New"), {"Type": "String"}, "Parameters.New is new and has no default"),
        (("Outputs", "BucketName"), None, "Outputs.BucketName is gone"),
        (("Resources", "BufferQueue"), None, "Resources.BufferQueue is gone"),
        (("Resources", "BufferQueue", "Properties", "QueueName"), "b", "Resources.BufferQueue would be replaced for"),
    ],
)
def test_red_control_a_break_is_found(path: tuple[str, ...], value: Any, told: str) -> None:
    after = json.loads(json.dumps(source()))
    place = after
    for name in path[:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    (found,) = breaks(former(), after)
    assert found.startswith(told)


def test_a_message_that_waited_in_the_queue_becomes_the_same_file() -> None:
    made: dict[str, bytes] = {}
    for body in BODIES:
        members = messages.decode("cars", body)
        assert isinstance(members, list)
        made |= {
            file.key.removeprefix("ddb/cars/"): file.body
            for file in batch_files.assemble("ddb/cars", "stream", members)
        }
    assert made == {path.relative_to(FORMER / "files").as_posix(): path.read_bytes() for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.split("-")[3][:8])
def test_a_file_is_whole_to_the_check_of_today(path: Path) -> None:
    key = DataKey.parse("ddb/cars", f"ddb/cars/{path.relative_to(FORMER / 'files').as_posix()}")
    assert key is not None
    check_file(key, path.read_bytes())
    # Red control: a byte fewer.
    with pytest.raises(Poison):
        check_file(key, path.read_bytes()[:-1])
