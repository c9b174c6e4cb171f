"""A table of another account in the operator's verbs: the policies for its owner, and every call by its ARN."""

import json
import shlex
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.adapters.backfill_table import BackfillTable
from lakebound.adapters.clock import SystemClock
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.cli import backfill, config, cost, deployed, verify
from lakebound.errors import Misconfigured
from lakebound.formats.registry import reader_of
from lakebound.record.table_identity import Home, Source, TableArn
from lakebound.source.sharing import policies
from tests.support.operator_stack import Lakebound, Operated
from tests.support.two_accounts import ACROSS, OWN, OWN_STREAM, THEIR_STREAM, THEIRS, TwoAccounts

HOME = Home("aws", "us-east-1", "123456789012")
STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/lake/51af3dc0-da77-11e4-872e-1234567db123"


@pytest.fixture
def dynamodb(operated: Operated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TwoAccounts:
    """Both accounts' tables for every verb; STS is moto's, of account 123456789012. In an empty folder."""
    two = TwoAccounts(lambda: int(time.time() * 1000))

    def client(service: str) -> Any:
        return two.client() if service == "dynamodb" else operated.scripted(service)

    for module in (deployed, backfill, config, cost):
        monkeypatch.setattr(module, "aws_client", client)
    monkeypatch.chdir(tmp_path)
    return two


def of_their_stream(operated: Operated) -> None:
    """The deployed stack reads the other account's table."""
    operated.outputs["TableStreamArn"] = operated.stream_arn = THEIR_STREAM
    describe = operated.answers["describe_stacks"]

    def described(StackName: str) -> dict[str, Any]:  # noqa: N803
        answer = describe(StackName=StackName)
        answer["Stacks"][0]["StackId"] = STACK_ID
        return answer

    operated.answers["describe_stacks"] = described


def document(command: str) -> tuple[str, dict[str, Any]]:
    """(resource, policy) of a command as a shell reads it."""
    words = shlex.split(command)
    assert words[:3] == ["aws", "dynamodb", "put-resource-policy"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    return options["--resource-arn"], json.loads(options["--policy"])


@given(
    st.text("aZ09_.-", min_size=3, max_size=255),
    st.text("aZ09-", max_size=127).map(lambda rest: f"L{rest}"),
    st.sampled_from(["aws", "aws-cn", "aws-us-gov"]),
)
def test_a_policy_pastes_and_grants_the_roles_what_they_use_and_no_more(name: str, stack: str, partition: str) -> None:
    home, there = Home(partition, "us-east-1", "123456789012"), Home(partition, "us-east-1", "111122223333")
    stream = f"{TableArn(there, name)}/stream/2026-11-24T00:00:00.000"
    made = policies(TableArn(there, name), stream, home, stack, [f"arn:{partition}:iam::123456789012:user/o"])
    assert [document(one.command) for one in made] == [(one.resource, one.document) for one in made]
    assert [one.resource for one in made] == [stream.partition("/stream/")[0], stream]
    for one in made:
        assert len(json.dumps(one.document)) < 20_480
        for statement in one.document["Statement"]:
            assert statement["Resource"] == one.resource
            assert statement["Principal"] == {"AWS": f"arn:{partition}:iam::123456789012:root"}
            patterns = statement["Condition"]["ArnLike"]["aws:PrincipalArn"]
            assert all(text.startswith(f"arn:{partition}:iam::123456789012:") for text in patterns)
            # Never the whole account: what comes before the * is a resource of this stack, or its name's beginning
            # where CloudFormation shortens the name of the role to IAM's 64 characters.
            for text in patterns:
                begin = text.removesuffix("*").rpartition("/")[2]
                if text.endswith("*") and len(stack) <= 34:
                    assert begin in (f"{stack}-BackfillRole-", f"{stack}-StreamIngestRole-")
                elif text.endswith("*"):
                    assert len(begin) >= 20
                    assert f"{stack}-".startswith(begin) or begin == f"{stack}-BackfillRole-"
                else:
                    assert begin == "o"
            table_actions = {f"dynamodb:{action}" for action in ACROSS}
            stream_actions = {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"}
            assert set(statement["Action"]) <= (stream_actions if "/stream/" in one.resource else table_actions)


def test_init_prints_both_policies_and_writes_the_stream(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    lines = [line.strip() for line in lakebound.out("init", "--table", THEIRS).splitlines()]
    (of_table, table), (of_stream, stream) = (document(line) for line in lines if line.startswith("aws "))
    assert (of_table, of_stream) == (THEIRS, THEIR_STREAM)
    roles = "arn:aws:iam::123456789012:role/lakebound-flights"
    read, keys = table["Statement"]
    assert read["Action"] == ["dynamodb:DescribeTable", "dynamodb:Scan", "dynamodb:BatchGetItem"]
    assert read["Condition"]["ArnLike"]["aws:PrincipalArn"] == [
        f"{roles}-BackfillRole-*",
        "arn:aws:iam::123456789012:user/moto",
    ]
    assert keys["Action"] == ["dynamodb:DescribeTable"]
    assert keys["Condition"]["ArnLike"]["aws:PrincipalArn"] == [f"{roles}-StreamIngestRole-*"]
    assert stream["Statement"][0]["Condition"]["ArnLike"]["aws:PrincipalArn"] == [f"{roles}-StreamIngestRole-*"]
    given = tomllib.loads(Path("samconfig.toml").read_text())["default"]["deploy"]["parameters"]["parameter_overrides"]
    assert shlex.split(given) == ["TableName=flights", f"TableStreamArn={THEIR_STREAM}"]
    assert dynamodb.asked == [("DescribeTable", THEIRS)]


def test_init_before_the_policy_prints_it_and_writes_nothing(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    """A file without the stream's ARN would make `lakebound deploy` create a table of that name in this account."""
    dynamodb.policy_is_there = False
    told = lakebound.out("init", "--table", THEIRS)
    assert told.count("put-resource-policy") == 1
    assert "Nothing is written yet" in told
    assert not Path("samconfig.toml").exists()
    answer = lakebound.document("init", "--table", "flights", "--stream", THEIR_STREAM)
    assert [one["resource"] for one in answer["policies"]] == [THEIRS, THEIR_STREAM]
    assert answer["parameters"] == {"TableName": "flights", "TableStreamArn": THEIR_STREAM}
    assert Path("samconfig.toml").exists()
    assert OWN not in dynamodb.names
    assert "flights" not in dynamodb.names


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--table", "trains", "--stream", THEIR_STREAM], "The stream is of table flights, and TableName is trains"),
        (["--table", THEIRS, "--stream", OWN_STREAM], f"The stream is of {OWN}, and --table is {THEIRS}"),
        (
            ["--table", THEIRS.replace("us-east-1", "eu-west-1")],
            "The table flights is in eu-west-1, and this is us-east",
        ),
        (
            ["--table", "flights", "--stream", OWN_STREAM.replace("us-east-1", "eu-west-1")],
            "The table flights is in eu-west-1, and this is us-east-1",
        ),
        (["--table", "flights", "--stream", OWN_STREAM[:-3] + "999"], f"The table flights has the stream {OWN_STREAM}"),
        (["--table", "fl/ghts"], "'fl/ghts' names no table"),
        (["--table", THEIRS, "--operator", "it's me"], '--operator "it\'s me" names no role or user'),
    ],
    ids=["another table", "another account", "another region", "its stream", "another stream", "no name", "operator"],
)
def test_init_refuses_what_would_follow_one_table_and_read_another(
    lakebound: Lakebound, dynamodb: TwoAccounts, arguments: list[str], sentence: str
) -> None:
    assert lakebound("init", *arguments) == 2
    told = lakebound.printed()
    assert sentence in told.err
    assert (told.out, list(Path().iterdir())) == ("", [])


def checks(lakebound: Lakebound) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["level"], one["told"]) for one in lakebound.document()["checks"]}


def test_doctor_before_looks_at_what_make_deploy_would_use(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    assert lakebound("init", "--table", THEIRS) == 0
    lakebound.printed()
    dynamodb.asked.clear()
    assert lakebound("doctor", "--before", "--json") == 0
    told = checks(lakebound)
    assert told["table"] == ("good", "flights of another account can be described")
    assert told["stream"][0] == "good"
    assert told["recovery"][0] == told["time to live"][0] == "warn"
    assert dynamodb.asked == [("DescribeTable", THEIRS)]
    file = Path("samconfig.toml")
    file.write_text(file.read_text().replace(":table/flights/", ":table/trains/"))
    dynamodb.asked.clear()
    assert lakebound("doctor", "--before", "--json") == 1
    assert checks(lakebound)["source"][1].startswith("The stream is of table trains, and TableName is flights")
    assert dynamodb.asked == []


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (["--table", "flights", "--stream", OWN_STREAM.replace("us-east-1", "eu-west-1")], "is in eu-west-1"),
        (["--table", THEIRS.replace("us-east-1", "eu-west-1")], "is in eu-west-1"),
        (["--table", "trains", "--stream", OWN_STREAM], "The stream is of table flights, and TableName is trains"),
        (["--table", OWN, "--stream", THEIR_STREAM], f"The stream is of {THEIRS}, and --table is {OWN}"),
    ],
    ids=["stream of another region", "table of another region", "another table", "another account"],
)
def test_doctor_before_refuses_before_anything_is_created(
    lakebound: Lakebound, dynamodb: TwoAccounts, arguments: list[str], finding: str
) -> None:
    assert lakebound("doctor", "--before", *arguments, "--json") == 1
    level, told = checks(lakebound)["source"]
    assert level == "bad"
    assert finding in told


def test_doctor_before_without_the_owners_policy_names_it(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    dynamodb.policy_is_there = False
    assert f"lakebound init --table {THEIRS} prints" in lakebound.out("doctor", "--before", "--table", THEIRS, status=1)


def test_doctor_names_a_stack_of_another_table(lakebound: Lakebound, operated: Operated, dynamodb: TwoAccounts) -> None:
    of_their_stream(operated)
    operated.outputs["TableName"] = "trains"
    assert lakebound("doctor", "--json") == 1
    assert checks(lakebound)["source"][1].startswith("The stream is of table flights, and TableName is trains")
    assert dynamodb.asked == []


def test_stack_verbs_ask_for_the_table_by_arn(lakebound: Lakebound, operated: Operated, dynamodb: TwoAccounts) -> None:
    of_their_stream(operated)
    lakebound("doctor", "--json")
    assert "source" not in checks(lakebound)
    lakebound("status", "--json")
    seen = lakebound.document()["seen"]
    assert (seen["table"], seen["table_stream"]) == ("flights", THEIR_STREAM)
    told = lakebound.document("backfill", "estimate")
    assert (told["table"], told["recommended"]) == ("flights", "scan")
    assert all("an account's own tables only" in one["impossible"] for one in told["options"] if one["mode"] != "scan")
    assert dynamodb.names == {THEIRS}


def test_verify_and_its_repair_read_by_arn_and_write_records_with_the_bare_name(
    operated: Operated, dynamodb: TwoAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_their_stream(operated)
    operated.outputs["BackfillName"] = "backfill"
    monkeypatch.setattr(verify, "aws_client", deployed.clients)
    subject = verify.Subject.find(None, "lake", repair=True)
    assert subject.source == Source("flights", THEIRS, is_foreign=True)
    done = subject.repair(["id=S:theirs", "id=S:mine"], ["id"], SystemClock(), lambda count: None)
    # Only this account's table has `mine`.
    assert (done.items, done.absent) == (1, 1)
    assert dynamodb.asked == [("BatchGetItem", THEIRS)]
    assert subject.store is not None
    records = [one for key in done.files for one in reader_of("ndjson.gz")(subject.store.get(key, 1 << 20))]
    assert {(one["source_table"], one["key"]) for one in records} == {
        ("flights", "id=S:theirs"),
        ("flights", "id=S:mine"),
    }
    assert verify.Subject.find(THEIRS, "lake", repair=False).source == subject.source
    with pytest.raises(Misconfigured, match=f"The stack lake is of table {THEIRS}"):
        verify.Subject.find("flights", "lake", repair=False)


def test_verbs_take_an_arn_where_they_take_a_table(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    assert lakebound("config", "infer", "--table", THEIRS, "--json") == 0
    # The bare name: the merge job compares it with each record's source_table.
    assert lakebound.document()["source_table"] == "flights"
    assert lakebound("backfill", "estimate", "--table", THEIRS, "--json") == 0
    assert lakebound("cost", "--writes", "1", "--table", THEIRS, "--json") == 0
    assert dynamodb.names == {THEIRS}
    assert {operation for operation, _ in dynamodb.asked} == {"DescribeTable", "Scan"}


def test_the_arn_of_an_own_table_is_its_name(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    assert lakebound("backfill", "estimate", "--table", OWN, "--json") == 0
    assert dynamodb.names == {"flights"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "infer", "--table"],
        ["backfill", "estimate", "--table"],
        ["cost", "--writes", "1", "--table"],
        ["verify", "--target", "silver", "--table"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_another_regions_table_is_refused(lakebound: Lakebound, dynamodb: TwoAccounts, arguments: list[str]) -> None:
    assert lakebound(*arguments, THEIRS.replace("us-east-1", "eu-west-1")) == 2
    assert "Work in eu-west-1 (AWS_REGION=eu-west-1)" in lakebound.err()
    assert dynamodb.asked == []


def test_what_cuts_an_arn_down_to_the_name_is_not_believed(lakebound: Lakebound, dynamodb: TwoAccounts) -> None:
    """DynamoDB Local does (the contract tests show it): its answer is about this account's table."""
    dynamodb.items[THEIRS] = dynamodb.items[OWN]
    answer = dynamodb._answer
    dynamodb._answer = lambda operation, given: answer(operation, {"TableName": "flights"})  # type: ignore[method-assign]
    for verb in (["config", "infer"], ["backfill", "estimate"], ["cost", "--writes", "1"]):
        assert "knows no tables of other accounts" in lakebound.err(*verb, "--table", THEIRS)


def test_verify_of_an_own_tables_arn_reads_what_moto_finds_by_it(operated: Operated) -> None:
    """moto knows a table of its own by its ARN and answers with the ARN, as DynamoDB does."""
    client = operated.client("dynamodb")
    client.put_item(TableName="flights", Item={"id": {"S": "mine"}})
    source = Source("flights", client.describe_table(TableName="flights")["Table"]["TableArn"], is_foreign=True)
    keys = [{"id": {"S": name}} for name in ("mine", "theirs")]
    compared = DynamoDBTable(source, operated.client("dynamodb"), SystemClock(), segments=1)
    assert list(compared.scan()) == list(compared.read(keys)) == [{"id": {"S": "mine"}}]
    reader = BackfillTable(source, operated.client("dynamodb"), SystemClock())
    assert reader.describe().name == "flights"
    assert reader.read_items(keys)[0]["Responses"] == {"flights": [{"id": {"S": "mine"}}]}
