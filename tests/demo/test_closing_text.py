"""The closing text of `make demo KEEP=1`: each command in it is one that its program takes."""

from collections.abc import Mapping
from pathlib import Path

import boto3
import pytest
import typer
from botocore import xform_name

from demo.closing_text import ONE_MORE_KEY, NextSteps, Step
from demo.local_stack import Deployment
from demo.paths import Paths
from lakebound.cli.app import app
from lakebound.record.attributes import canonical_key
from lakebound_spark.jobs.merge_changes import _parser

OUTPUTS = {"MergeSource": "s3://bucket/ddb/flights", "FlusherLogGroup": "/lakebound/lakebound/flusher"}


def steps_of(folder: Path) -> NextSteps:
    return NextSteps.of(Paths(folder), Deployment(OUTPUTS, False, 0.0, 0.0))


STEPS = steps_of(Path(".demo").absolute())


def all_of(steps: NextSteps) -> list[Step]:
    return [*steps.one_more, *steps.operate, *steps.explore]


OF_EVERY_COMMAND = {"--query", "--output", "--no-paginate"}
OF_PAGINATED_ONES = {"--max-items"}


def check_aws(words: tuple[str, ...]) -> None:
    """Raises where the AWS CLI, whose versions are both made from botocore's models, would not take the words."""
    _, service, operation, *rest = words
    if service == "s3":
        assert (operation, rest[0]) == ("ls", "--recursive")
        return
    model = boto3.client(service, region_name="us-east-1").meta.service_model  # type: ignore[call-overload]
    # Commands that only one version has of its own (`logs tail`) are in no model.
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in names, f"aws {service} {operation}"
    shape = model.operation_model(names[operation]).input_shape
    members: Mapping[str, object] = shape.members
    given = {word for word in rest if word.startswith("--")}
    known = {f"--{xform_name(name, '-')}" for name in members} | OF_EVERY_COMMAND | OF_PAGINATED_ONES
    assert given <= known, given - known
    assert {f"--{xform_name(name, '-')}" for name in shape.required_members} <= given


def check(step: Step) -> None:
    program, *words = step.command
    name = Path(program).name
    if name == "aws":
        check_aws(step.command)
    elif name == "lakebound":
        command = typer.main.get_command(app)
        while subcommands := getattr(command, "commands", None):
            command = subcommands[words.pop(0)]
        command.make_context("lakebound", list(words))
    else:
        assert (name, Path(words[0]).name) == ("python", "merge_changes.py")
        assert Path(_parser().parse_args(words[1:]).config).exists()


def refusal(command: str) -> str:
    """The name of the error that the check ends with, or "" where it takes the command."""
    try:
        check(Step(tuple(command.split()), ""))
    except Exception as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("purpose", [step.purpose for step in all_of(STEPS)])
def test_each_command_is_one_that_its_program_takes(purpose: str, tmp_path: Path) -> None:
    # A folder as a run leaves it, for an option may ask that its path exists. The project's own `.demo` is a person's.
    Paths(tmp_path).files.mkdir()
    (step,) = (step for step in all_of(steps_of(tmp_path)) if step.purpose == purpose)
    check(step)


def test_the_item_that_is_changed_is_the_one_that_is_traced() -> None:
    assert canonical_key({"flight_id": {"S": "UA1545#EWR"}, "flight_date": {"N": "20130208"}}) == ONE_MORE_KEY
    assert {"UA1545#EWR" in step.shown() for step in STEPS.one_more[:2]} == {True}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ("aws logs tail /group", "AssertionError"),
        ("aws dynamodb scan --name flights", "AssertionError"),
        ("aws dynamodb scan", "AssertionError"),
        ("lakebound status --stak x", "NoSuchOption"),
        ("lakebound statuses", "KeyError"),
    ],
)
def test_red_control_a_wrong_command_is_seen(wrong: str, error: str) -> None:
    assert refusal(wrong) == error
