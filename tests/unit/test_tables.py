"""Whose table is it? Every combination of TableName, stream ARN and home has one answer, and it is the right one."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakebound.errors import Misconfigured
from lakebound.record.table_identity import Home, Refused, Source, TableArn, decide, is_table_name, named
from lakebound.settings import BackfillSettings, IngestSettings

LABEL = "2026-11-24T00:00:00.000"
HOMES = st.builds(
    Home,
    st.sampled_from(["aws", "aws-cn", "aws-us-gov"]),
    st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"]),
    st.sampled_from(["123456789012", "111122223333", "000000000000"]),
)
TABLES = st.sampled_from(["flights", "flights-2", "a.b", "x_-", "n" * 255]) | st.from_regex(
    r"\A[A-Za-z0-9_.-]{3,255}\Z"
)
ODD = st.text() | st.sampled_from(["", "ab", "a/b", "n" * 256, "arn:aws:dynamodb:us-east-1:1:table/x", "flights\n"])
HERE = Home("aws", "us-east-1", "123456789012")


def stream_of(home: Home, table: str) -> str:
    return f"arn:{home.partition}:dynamodb:{home.region}:{home.account}:table/{table}/stream/{LABEL}"


@given(TABLES, TABLES, HOMES, HOMES)
@example("flights", "flights", HERE, Home("aws", "us-east-1", "111122223333"))
@example("flights", "flights", HERE, HERE)
@example("flights", "flights", HERE, Home("aws", "eu-west-1", "123456789012"))
@example("flights", "Flights", HERE, HERE)
def test_the_decision_is_own_another_accounts_or_a_refusal(table: str, followed: str, home: Home, there: Home) -> None:
    decision = decide(table, stream_of(there, followed), home)
    if table != followed or (home.partition, home.region) != (there.partition, there.region):
        assert isinstance(decision, Refused)
        assert decision.what
        assert decision.hint
    elif home.account == there.account:
        assert decision == Source(table, table)
    else:
        # The name alone would be this account's table.
        assert decision == Source(table, str(TableArn(there, table)), is_foreign=True)
        assert decision.asked.split(":")[4] == there.account


@given(ODD | TABLES, ODD | st.builds(stream_of, HOMES, TABLES), st.none() | HOMES)
def test_there_is_a_decision_for_any_texts(table: str, stream: str, home: Home | None) -> None:
    decision = decide(table, stream, home)
    if isinstance(decision, Refused):
        with pytest.raises(Misconfigured, match=re.escape(decision.what)):
            raise decision.error()
    else:
        assert is_table_name(table)
        assert decision.table == table
        assert decision.asked in (table, stream.partition("/stream/")[0])


@given(ODD | TABLES | st.builds(lambda home, table: str(TableArn(home, table)), HOMES, TABLES), st.none() | HOMES)
def test_what_somebody_names_is_a_table_or_a_refusal(text: str, home: Home | None) -> None:
    decision = named(text, home)
    arn = TableArn.parse(text)
    if is_table_name(text):
        assert decision == Source.own(text)
    elif arn is None:
        assert isinstance(decision, Refused)
    elif home is not None and (arn.home.partition, arn.home.region) != (home.partition, home.region):
        assert isinstance(decision, Refused)
        assert f"AWS_REGION={arn.home.region}" in decision.hint
    else:
        foreign = home is None or arn.home.account != home.account
        assert decision == Source(arn.table, text if foreign else arn.table, is_foreign=foreign)


@given(HOMES, TABLES)
def test_an_arn_is_its_text(home: Home, table: str) -> None:
    arn = TableArn(home, table)
    assert TableArn.parse(str(arn)) == arn
    assert TableArn.of_stream(stream_of(home, table)) == arn
    assert TableArn.parse(stream_of(home, table)) is None
    assert TableArn.of_stream(str(arn)) is None
    assert Home.parse(str(home)) == home
    assert Home.of(str(arn)) == home


def test_an_answer_about_this_accounts_table_is_not_taken_for_the_others() -> None:
    foreign = Source("flights", str(TableArn(Home("aws", "us-east-1", "111122223333"), "flights")), is_foreign=True)
    foreign.check_told(foreign.asked)
    Source.own("flights").check_told("anything")
    for told in (str(TableArn(HERE, "flights")), ""):
        with pytest.raises(Misconfigured, match="knows no tables of other accounts"):
            foreign.check_told(told)


NEEDED = {"TABLE_NAME": "flights", "S3_BUCKET": "lake", "QUEUE_URL": "https://sqs/buffer", "STACK_HOME": str(HERE)}


@pytest.mark.parametrize("settings", [IngestSettings, BackfillSettings])
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"TABLE_STREAM_ARN": stream_of(HERE, "trains")},
            "The stream is of table trains, and TableName is flights: a backfill would read another table than the "
            "stream tells of. Give TableName=trains, or the LatestStreamArn of flights",
        ),
        (
            {"TABLE_STREAM_ARN": stream_of(Home("aws", "eu-west-1", HERE.account), "flights")},
            "The table flights is in eu-west-1, and this is us-east-1. "
            "Work in eu-west-1 (AWS_REGION=eu-west-1): Lambda reads streams of its own region only",
        ),
        (
            {"TABLE_STREAM_ARN": stream_of(Home("aws-cn", "cn-north-1", HERE.account), "flights")},
            "The table flights is in cn-north-1 of aws-cn, and this is us-east-1. "
            "Work in cn-north-1 (AWS_REGION=cn-north-1): Lambda reads streams of its own region only",
        ),
        (
            {"TABLE_STREAM_ARN": "flights"},
            "TableStreamArn is 'flights'. Give the table's LatestStreamArn, as describe-table tells it",
        ),
        ({"STACK_HOME": "us-east-1"}, "STACK_HOME is 'us-east-1'. Use partition:region:account"),
        (
            {"TABLE_NAME": "a/b"},
            "TABLE_NAME is 'a/b'. Use the table's name, not its ARN: 3 to 255 letters, digits, _ . and -",
        ),
    ],
    ids=["another table", "another region", "another partition", "no ARN", "no home", "no name"],
)
def test_a_function_does_not_start_on_another_table(settings: type, values: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        settings.read(NEEDED | values)  # type: ignore[attr-defined]
    assert str(refused.value) == sentence


@pytest.mark.parametrize("settings", [IngestSettings, BackfillSettings])
def test_a_function_asks_for_another_accounts_table_by_its_arn(settings: type) -> None:
    there = Home("aws", "us-east-1", "111122223333")
    read = settings.read(NEEDED | {"TABLE_STREAM_ARN": stream_of(there, "flights")})  # type: ignore[attr-defined]
    assert read.table == "flights"
    assert read.source == Source("flights", "arn:aws:dynamodb:us-east-1:111122223333:table/flights", is_foreign=True)
    assert settings.read(NEEDED | {"TABLE_STREAM_ARN": stream_of(HERE, "flights")}).source == Source.own("flights")
