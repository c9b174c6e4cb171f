"""A table of another account, backfilled and healed by its ARN; never this account's table of the same name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lakebound.adapters.backfill_table import BackfillTable, ScanSegment
from lakebound.adapters.secrets import key_attributes
from lakebound.adapters.verify_table import DynamoDBTable
from lakebound.backfill.key_reread import read_keys
from lakebound.backfill.run_context import RunContext
from lakebound.backfill.segment_worker import PageSource
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.table_identity import Source
from lakebound.source.facts import MappingFacts
from lakebound.source.gaps import Gap, GapBook
from tests.support.backfill_world import START_MS, World, world
from tests.support.state_machine import Failed, start
from tests.support.two_accounts import OWN, OWN_STREAM, THEIR_STREAM, THEIRS, TwoAccounts

FOREIGN = Source("flights", THEIRS, is_foreign=True)
MINUTE = 60_000


def deployed(source: Source, stream: str) -> tuple[World, TwoAccounts]:
    """The states over real adapters; the mapping reads `stream`, and `source` is what the settings decided."""
    made = world()
    dynamodb = TwoAccounts(made.clock.now_ms)
    table = BackfillTable(source, dynamodb.client(), made.clock)

    def scan(decoder: SnapshotDecoder, segment: int, total: int, consistent: bool, margin_ms: int) -> PageSource:
        return ScanSegment(table, decoder, segment, total, consistent, margin_ms)

    rules = replace(made.context.rules, table="flights")
    made.mapping.facts = MappingFacts("m", stream, "Enabled", START_MS - 3_600_000)
    made.context = RunContext(rules, replace(made.context.ports, source=table, scan=scan))
    return made, dynamodb


def run(made: World, **given: Any) -> dict[str, Any]:
    result: dict[str, Any] = start(made.function, given, name="run-1", sleep=made.clock.sleep).run()
    return result


def landed(made: World) -> list[tuple[str, str]]:
    return [(one["source_table"], one["keys"]["id"]["S"]) for one in made.bucket.records()]


@pytest.mark.parametrize("given", [{}, {"mode": "scan", "segments": 3}])
def test_a_backfill_reads_the_owners_table_and_no_other(given: dict[str, Any]) -> None:
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    assert run(made, **given)["records"] == 1
    assert landed(made) == [("flights", "theirs")]
    assert dynamodb.names == {THEIRS}
    # The owner alone may ask for backups and exports.
    assert {operation for operation, _ in dynamodb.asked} == {"DescribeTable", "Scan"}


def test_an_own_table_is_asked_for_by_its_name_as_ever() -> None:
    made, dynamodb = deployed(Source.own("flights"), OWN_STREAM)
    run(made)
    assert landed(made) == [("flights", "mine")]
    assert dynamodb.names == {"flights"}


def test_a_gap_is_healed_by_a_scan_and_the_result_says_why() -> None:
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    GapBook("flights", made.bucket, made.bucket).record(Gap(made.clock.ms, made.clock.ms + MINUTE, "mapping_behind"))
    made.clock.pass_ms(30 * MINUTE)
    result = run(made, mode="heal")
    assert result["mode"] == "scan"
    assert "DynamoDB exports an account's own tables only" in result["reason"]
    assert landed(made) == [("flights", "theirs")]
    assert dynamodb.names == {THEIRS}


@pytest.mark.parametrize(
    "given",
    [{"mode": "export"}, {"mode": "incremental_export", "from": "2026-11-18T08:00:00Z", "to": "2026-11-18T09:00:00Z"}],
)
def test_an_export_is_refused_in_the_first_state_with_what_works_instead(given: dict[str, Any]) -> None:
    made, _ = deployed(FOREIGN, THEIR_STREAM)
    with pytest.raises(Failed) as failed:
        run(made, **given)
    assert failed.value.state == "Validate"
    assert "DynamoDB exports an account's own tables only. Use mode scan" in failed.value.cause
    assert made.bucket.objects == {}


@pytest.mark.parametrize(
    ("source", "stream"),
    [
        (Source.own("flights"), THEIR_STREAM),
        (FOREIGN, OWN_STREAM),
        (Source.own("flights"), OWN_STREAM.replace("us-east-1", "eu-west-1")),
        (Source.own("flights"), OWN_STREAM.replace("/flights/", "/trains/")),
    ],
    ids=["another account's stream", "another account's table", "another region's", "another table's"],
)
@pytest.mark.parametrize("mode", ["scan", "heal"])
def test_the_first_state_refuses_a_table_that_is_not_the_streams(source: Source, stream: str, mode: str) -> None:
    """The row that this file is about: the same-named table of this account is never read in the other's place."""
    made, dynamodb = deployed(source, stream)
    with pytest.raises(Failed) as failed:
        run(made, mode=mode)
    assert (failed.value.state, failed.value.error) == ("Validate", "Misconfigured")
    assert f"the stream that is followed is of {stream.partition('/stream/')[0]}, and this run would read" in (
        failed.value.cause
    )
    assert made.bucket.objects == {}
    assert {operation for operation, _ in dynamodb.asked} == {"DescribeTable"}


def test_keys_are_read_again_by_arn_and_found_in_an_answer_that_bears_it() -> None:
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    reader = made.context.ports.source
    keys = {f"id=S:{name}": {"id": {"S": name}} for name in ("theirs", "mine")}
    read, _, _ = read_keys(reader, made.clock, "flights", ("id",), keys)
    assert read == [({"id": {"S": "theirs"}}, {"id": {"S": "theirs"}}), ({"id": {"S": "mine"}}, None)]
    assert dynamodb.asked == [("BatchGetItem", THEIRS)]


def test_an_answer_about_another_table_is_an_error_and_not_an_absence() -> None:
    """Read as "there is no such item", it would remove every key that is asked for."""
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    keys = [{"id": {"S": "theirs"}}]
    to_compare = DynamoDBTable(FOREIGN, dynamodb.client(), made.clock)
    to_heal = BackfillTable(FOREIGN, dynamodb.client(), made.clock)
    answer = dynamodb._answer

    def of_the_wrong_table(operation: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, json.loads(json.dumps(answer(operation, given)[1]).replace(THEIRS, OWN))

    dynamodb._answer = of_the_wrong_table  # type: ignore[method-assign]
    with pytest.raises(LakeboundError, match=f"not about {THEIRS}"):
        list(to_compare.read(keys))
    with pytest.raises(LakeboundError, match=f"not about {THEIRS}"):
        to_heal.read_items(keys)


def test_verify_scans_and_reads_by_arn() -> None:
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    source = DynamoDBTable(FOREIGN, dynamodb.client(), made.clock, segments=2)
    assert list(source.scan()) == [{"id": {"S": "theirs"}}]
    assert list(source.read([{"id": {"S": "theirs"}}, {"id": {"S": "mine"}}])) == [{"id": {"S": "theirs"}}]
    assert dynamodb.names == {THEIRS}


def test_key_attributes_are_asked_for_by_arn() -> None:
    _, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    assert key_attributes(dynamodb.client(), FOREIGN.asked) == ["id"]
    assert dynamodb.asked == [("DescribeTable", THEIRS)]


def test_without_the_owners_policy_the_refusal_names_the_policies() -> None:
    made, dynamodb = deployed(FOREIGN, THEIR_STREAM)
    dynamodb.policy_is_there = False
    with pytest.raises(Failed) as failed:
        run(made)
    assert f"the role may not describe_table table {THEIRS}. Let its owner put the policies" in failed.value.cause
    with pytest.raises(Misconfigured, match="its owner's policy has to name them"):
        DynamoDBTable(FOREIGN, dynamodb.client(), made.clock)
