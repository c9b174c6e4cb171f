"""`make deploy` gives SAM each value as it was written or refuses; without a terminal it says what to do; it keeps
nothing of a deployment that failed."""

import os
import random
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lakebound.adapters.sam_cli import SamCli
from lakebound.errors import Misconfigured
from lakebound.operate.deploy_plan import refuse_stuck
from lakebound.operate.sam_parameters import kept
from tests.support.deploy_rule import ROOT, Done, in_sam, kept_in, make, sam_reads, script, tree

TABLE = "TableName=cars PartitionKeyName=vin"
STACK = "STACK=lakebound-cars"
BUILT_FOR = {"Runtime": "python3.13", "Architecture": "arm64"}
CARS = {"TableName": "cars", "PartitionKeyName": "vin", **BUILT_FOR}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tree(tmp_path)


def stack_and_parameters(text: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(text)["default"]["deploy"]["parameters"]
    return found


def refused(done: Done, folder: Path, why: str, before: str | None = None) -> None:
    assert (done.status, done.calls) == (2, [])
    assert done.samconfig == ((ROOT / "samconfig.toml").read_text() if before is None else before)
    assert why in done.said
    assert "Nothing was built, deployed or written." in done.said
    assert "Traceback" not in done.said


def in_soak(*rows: tuple[str, str]) -> list[Any]:
    """Each form takes runs of make and of SAM's parser: one of a kind is tried daily, these in the soak."""
    return [pytest.param(*row, marks=pytest.mark.soak) for row in rows]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("DropAttributes='first name,email'", "first name,email"),
        ("DropAttributes=price$,cost$(euro),$HOME", "price$,cost$(euro),$HOME"),
        *in_soak(
            ('DropAttributes="address.street,first name , e-mail"', "address.street,first name , e-mail"),
            ('DropAttributes="it\'s"', "it's"),
            ('DropAttributes="first name"', "first name"),
            ("DropAttributes=email", "email"),
            ('DropAttributes=""', ""),
            ("DropAttributes=", ""),
            (r"DropAttributes=a\.b,c\,d", r"a\.b,c\,d"),
            (r'DropAttributes="a\.b, c"', r"a\.b, c"),
            ("DropAttributes=größe,日本語", "größe,日本語"),
            ("DropAttributes='say \"hi\"'", 'say "hi"'),
            ("DropAttributes=a=b", "a=b"),
            ("DropAttributes=#1,`id`,;rm,*", "#1,`id`,;rm,*"),
        ),
    ],
)
def test_a_privacy_setting_reaches_sam_exactly(folder: Path, written: str, value: str) -> None:
    done = make(folder, STACK, f"PARAMETERS={TABLE} {written}", "YES=1")
    assert done.status == 0, done.said
    wanted = {**CARS, "DropAttributes": value}
    assert done.deployed == wanted
    # And once more from the file that the deployment left.
    assert kept_in(done.samconfig) == wanted
    assert make(folder, "YES=1").deployed == wanted


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("DropAttributes=first name", "cannot be read from 'name' on"),
        ("DropAttribute=email", "gives DropAttribute, which the template does not have"),
        ("DropAttributes=a DropAttributes=b", "gives DropAttributes twice"),
        ('DropAttributes="x ParameterKey=A,ParameterValue=b"', "cannot be given to SAM as it is"),
        *in_soak(
            ('DropAttributes="first name', "cannot be read from 'DropAttributes=\"first name'"),
            ('DropAttributes="first"name', "cannot be read from"),
            ('DropAttributes=first" name"', "cannot be read from"),
            ('DropAttributes="a \\" b"', "cannot be read from"),
            ("DropAttributes email", "cannot be read from 'DropAttributes email'"),
            ("dropattributes=email", "gives dropattributes, which the template does not have"),
            ("ParameterKey=DropAttributes,ParameterValue=email", "gives ParameterKey"),
        ),
    ],
)
def test_what_would_change_on_the_way_is_refused_before_anything(folder: Path, written: str, why: str) -> None:
    refused(make(folder, STACK, f"PARAMETERS={TABLE} {written}", "YES=1"), folder, why)


def test_the_parser_that_the_values_go_through_is_as_careless_as_was_seen() -> None:
    """Red control: given as before, SAM takes `first` and leaves the rest out."""
    assert sam_reads(["DropAttributes=first name"]) == {"DropAttributes": "first"}


def test_every_value_is_passed_on_exactly_or_refused() -> None:
    """Generated values, through what the rule uses and SAM's own parser: of 3,000 none may come out otherwise."""
    choose = random.Random(17)
    alphabet = [*"aB1 ,.=\"'\\$é日-", "ParameterKey=A,ParameterValue=b"]
    values = ["".join(choose.choices(alphabet, k=choose.randint(0, 9))) for _ in range(3_000)]
    code = """
from lakebound.errors import Misconfigured as Refused
from lakebound.operate.sam_parameters import kept, overrides
from samcli.cli.types import CfnParameterOverridesType as Type
answers = []
for value in document:
    try:
        made = overrides({"TableName": "cars", "DropAttributes": value, "HashAttributes": "x"})
    except Refused:
        answers.append(None)
        continue
    found = Type().convert(tuple(made), None, None)
    answers.append(found["DropAttributes"] if found == kept(" ".join(made)) else "not kept")
print(json.dumps(answers))
"""
    answers = in_sam(code, values)
    assert len(answers) == len(values)
    assert [(value, found) for value, found in zip(values, answers, strict=True) if found not in (None, value)] == []
    # What people write is carried, not refused.
    plain = [(value, found) for value, found in zip(values, answers, strict=True) if not set(value) & set("\"'\\=")]
    assert len(plain) > 300
    assert [value for value, found in plain if found is None] == []


def test_what_is_read_from_the_file_is_what_sam_reads() -> None:
    """Generated texts of parameter_overrides: each is refused, or read as SAM's own parser reads it."""
    choose = random.Random(29)
    pieces = [
        "TableName=",
        "B2=",
        "=",
        " ",
        "  ",
        '"',
        "'",
        "\\",
        '\\"',
        "\\ ",
        "a",
        "é",
        ",",
        ".",
        "ParameterKey=",
        "x y",
    ]
    pieces += [",ParameterValue=", "ParameterKey=A,ParameterValue=b", 'C="d e"', "F='g h'"]
    texts = ["".join(choose.choices(pieces, k=choose.randint(1, 7))) for _ in range(6_000)]
    mine = [kept_or_none(text) for text in texts]
    code = """
from samcli.cli.types import CfnParameterOverridesType as Type
answers = []
for value in document:
    try:
        answers.append(Type().convert((value,), None, None))
    except Exception as refused:
        answers.append(str(refused))
print(json.dumps(answers))
"""
    accepted = [(text, found) for text, found in zip(texts, mine, strict=True) if found]
    theirs = in_sam(code, [text for text, _ in accepted])
    assert len(accepted) > 300
    assert [(*one, other) for one, other in zip(accepted, theirs, strict=True) if one[1] != other][:3] == []
    assert any("'" in text for text, _ in accepted)


def kept_or_none(text: str) -> dict[str, str] | None:
    try:
        return kept(text)
    except Misconfigured:
        return None


def keeping(folder: Path, overrides: str, more: str = "") -> str:
    path = folder / "samconfig.toml"
    path.write_text(
        path.read_text() + f"stack_name = \"lakebound-cars\"\nparameter_overrides = '''{overrides}'''\n{more}"
    )
    return path.read_text()


def test_a_later_deployment_keeps_the_privacy_settings_of_the_first(folder: Path) -> None:
    make(folder, STACK, f"PARAMETERS={TABLE} DropAttributes='first name'", "YES=1")
    done = make(folder, STACK, "PARAMETERS=MaxSeconds=10", "YES=1")
    assert done.deployed == {**CARS, "DropAttributes": "first name", "MaxSeconds": "10"}
    assert kept_in(done.samconfig) == done.deployed


def test_parameters_without_a_stack_belong_to_the_kept_one(folder: Path) -> None:
    keeping(folder, 'TableName="cars" PartitionKeyName="vin"')
    done = make(folder, "PARAMETERS=DropAttributes=email", "YES=1")
    assert done.deployed == {**CARS, "DropAttributes": "email"}
    assert done.deploy_argv[1:3] == ["--stack-name", "lakebound-cars"]


def test_another_stack_takes_nothing_of_the_kept_one(folder: Path) -> None:
    keeping(folder, 'TableName="cars" PartitionKeyName="vin" DropAttributes="email"')
    done = make(folder, "STACK=lakebound-trucks", "PARAMETERS=TableName=trucks PartitionKeyName=id", "YES=1")
    assert done.deployed == {"TableName": "trucks", "PartitionKeyName": "id", **BUILT_FOR}


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        ("TableName=cars DropAttributes=first name", "SAM would not read all of parameter_overrides"),
        ('TableName=cars DropAttributes="first name', "SAM would not read all of parameter_overrides"),
        ("TableName=cars DropAttribute=email", "samconfig.toml gives DropAttribute"),
    ],
)
def test_a_kept_setting_that_sam_would_cut_or_leave_out_is_refused(folder: Path, kept: str, why: str) -> None:
    before = keeping(folder, kept)
    refused(make(folder, "YES=1"), folder, why, before)


@pytest.mark.parametrize(
    "kept",
    [
        "ParameterKey=TableName,ParameterValue=cars ParameterKey=DropAttributes,ParameterValue=email",
        "TableName=cars DropAttributes=email",
        'TableName="cars"   DropAttributes="email"',
    ],
)
def test_every_form_that_sam_reads_whole_is_taken(folder: Path, kept: str) -> None:
    keeping(folder, kept)
    assert make(folder, "YES=1").deployed == {"TableName": "cars", "DropAttributes": "email", **BUILT_FOR}


def test_a_file_that_is_no_toml_is_refused(folder: Path) -> None:
    (folder / "samconfig.toml").write_text("version = \n")
    refused(make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1"), folder, "samconfig.toml is no TOML", "version = \n")


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        (
            (STACK, f"PARAMETERS={TABLE}"),
            "no terminal to confirm the change set on. Say lakebound deploy --yes (make deploy YES=1)",
        ),
        ((), "No stack is named, and there is nobody to ask"),
        (("YES=1",), "No stack is named, and there is nobody to ask"),
    ],
)
def test_without_a_terminal_nothing_is_asked_and_the_way_for_ci_is_named(
    folder: Path, variables: tuple[str, ...], why: str
) -> None:
    refused(make(folder, *variables), folder, why)


def test_ci_deploys_without_being_asked(folder: Path) -> None:
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1")
    assert [call["argv"][0] for call in done.calls] == ["build", "deploy"]
    assert "--no-confirm-changeset" in done.deploy_argv


def test_a_stack_that_is_never_confirmed_needs_no_terminal(folder: Path) -> None:
    path = folder / "samconfig.toml"
    path.write_text(path.read_text().replace("confirm_changeset = true", "confirm_changeset = false"))
    assert make(folder, STACK, f"PARAMETERS={TABLE}").status == 0


def test_at_a_terminal_sam_asks(folder: Path) -> None:
    done = make(folder, STACK, f"PARAMETERS={TABLE}", terminal=True)
    assert done.status == 0
    assert "--no-confirm-changeset" not in done.deploy_argv


def test_at_a_terminal_without_a_stack_sam_asks_for_everything(folder: Path) -> None:
    done = make(folder, terminal=True)
    assert (done.deploy_argv[:2], done.deployed) == (["deploy", "--guided"], BUILT_FOR)


@pytest.mark.parametrize("step", ["STUB_BUILD", "STUB_DEPLOY"])
@pytest.mark.parametrize("writes", ["", "1"])
def test_a_deployment_that_fails_leaves_the_file_as_it_was(folder: Path, step: str, writes: str) -> None:
    before = (folder / "samconfig.toml").read_text()
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1", **{step: "3", "STUB_WRITES": writes})
    assert done.status == 2
    assert "SAM ended with status 3; samconfig.toml is as it was" in done.said
    assert done.samconfig == before
    assert "sam delete --stack-name lakebound-cars" in done.said
    assert not list(folder.glob(".samconfig-*"))


class CloudFormation(ThreadingHTTPServer):
    """Answers DescribeStacks: the status of the stack that was asked for, or that there is none."""

    status = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), DescribeStacks)

    @property
    def place(self) -> dict[str, str]:
        """The environment of somebody who is signed in there."""
        signed = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "eu-west-1"}
        return signed | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}"}


class DescribeStacks(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, CloudFormation)
        status = self.server.status
        stack = f"<StackName>s</StackName><StackStatus>{status}</StackStatus>"
        found = f"<DescribeStacksResult><Stacks><member>{stack}</member></Stacks></DescribeStacksResult>"
        error = "<Error><Type>Sender</Type><Code>ValidationError</Code><Message>does not exist</Message></Error>"
        body = (
            f"<DescribeStacksResponse>{found}</DescribeStacksResponse>"
            if status
            else f"<ErrorResponse>{error}</ErrorResponse>"
        )
        self.send_response(200 if status else 400)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    made = CloudFormation()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_stack_that_takes_no_change_is_told_before_the_build(folder: Path, cloudformation: CloudFormation) -> None:
    cloudformation.status = "ROLLBACK_COMPLETE"
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1", **cloudformation.place)
    refused(done, folder, "The first deployment of lakebound-cars was rolled back")
    assert "sam delete --stack-name lakebound-cars" in done.said


def test_a_layer_without_bytecode_is_noticed(folder: Path) -> None:
    program = SamCli(folder)
    layer = folder / ".aws-sam" / "build" / "LakeboundLayer" / "python" / "lakebound"
    script(layer / "errors.py", "")
    assert not program.has_bytecode
    script(layer / "__pycache__" / "errors.cpython-313.pyc", "")
    assert program.has_bytecode


def test_only_a_stack_that_is_left_over_or_at_work_is_refused() -> None:
    for status in ("", "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"):
        refuse_stuck("lakebound-cars", status, "sam")
    with pytest.raises(Misconfigured, match=r"still at work on lakebound-cars \(UPDATE_IN_PROGRESS\)"):
        refuse_stuck("lakebound-cars", "UPDATE_IN_PROGRESS", "sam")


def test_who_is_not_signed_in_is_told_before_the_build(folder: Path) -> None:
    nobody = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-1"}
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1", **nobody)
    assert (done.status, done.calls) == (2, [])
    assert "There are no complete AWS credentials" in done.said
    # With a profile in samconfig.toml it is SAM's to sign in.
    keeping(folder, "TableName=cars PartitionKeyName=vin", 'profile = "lake"\n')
    assert len(make(folder, "YES=1", **nobody).calls) == 2


def test_the_file_keeps_its_comments_and_settings_and_changes_after_success_only(
    folder: Path, cloudformation: CloudFormation
) -> None:
    before = (folder / "samconfig.toml").read_text()
    asked = (STACK, f"PARAMETERS={TABLE} DropAttributes='first name'", "YES=1")
    done = make(folder, *asked, **cloudformation.place)
    assert {call["samconfig"] for call in done.calls} == {before}
    assert set(before.splitlines()) <= set(done.samconfig.splitlines())
    found = stack_and_parameters(done.samconfig)
    assert found["stack_name"] == "lakebound-cars"
    assert found["confirm_changeset"] is True
    assert not list(folder.glob(".samconfig-*"))


def test_without_a_file_there_is_one_afterwards(folder: Path) -> None:
    (folder / "samconfig.toml").unlink()
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1")
    assert done.status == 0
    assert stack_and_parameters(done.samconfig)["stack_name"] == "lakebound-cars"


# ── what the layer is built for ──


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ((), ("python3.13", "arm64", "ndjson.gz")),
        (("RUNTIME=python3.12", "ARCHITECTURE=x86_64"), ("python3.12", "x86_64", "ndjson.gz")),
    ],
)
def test_the_layer_fits_the_deployment(folder: Path, variables: tuple[str, ...], wanted: tuple[str, str, str]) -> None:
    names = ("LAKEBOUND_RUNTIME", "LAKEBOUND_ARCHITECTURE", "LAKEBOUND_FILE_FORMAT")
    done = make(folder, STACK, f"PARAMETERS={TABLE}", "YES=1", *variables)
    assert [tuple(call["environment"][name] for name in names) for call in done.calls] == [wanted, wanted]
    assert (done.deployed["Runtime"], done.deployed["Architecture"]) == wanted[:2]
    # And the next one without being told, for the format too.
    done = make(folder, "PARAMETERS=FileFormat=parquet", "YES=1")
    assert tuple(done.calls[0]["environment"][name] for name in names) == (*wanted[:2], "parquet")
    assert "MAKEFLAGS" not in done.calls[0]["environment"]
    assert done.calls[0]["environment"]["LAKEBOUND_VERIFY"] == "off"
    done = make(folder, "PARAMETERS=VerifyTarget=s3://lake/silver/cars", "YES=1")
    assert done.calls[0]["environment"]["LAKEBOUND_VERIFY"] == "on"
