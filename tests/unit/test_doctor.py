"""`doctor` finds each thing that is wrong and nothing else; `init` writes what `deploy` reads; `cost` adds up."""

import io
import re
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakebound.errors import LakeboundError
from lakebound.operate.cost import (
    CostLine,
    SparkCluster,
    Usage,
    Workload,
    amount,
    dollars,
    estimate,
    headline,
    measure,
    of_tables,
    with_spark,
)
from lakebound.operate.doctor import (
    BAD,
    GOOD,
    UNKNOWN,
    WARN,
    StackFacts,
    TableFacts,
    check_stack,
    check_table,
    smoke,
    smoke_keys,
)
from lakebound.record.attributes import Image
from tests.support.local_ports import ManualClock
from tests.support.operator_stack import Lakebound, Operated, remove, take_away

TOPIC = "arn:aws:sns:us-east-1:123456789012:oncall"
ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/flights/stream/2026-11-01T00:00:00.000"
READY = TableFacts("flights", True, ARN, "NEW_AND_OLD_IMAGES", None, True, None, (), 1_000, None)
DEPLOYED = StackFacts(
    stack="lake",
    status="UPDATE_COMPLETE",
    mappings={
        "stream": {"State": "Enabled", "EventSourceArn": ARN, "LastProcessingResult": "OK"},
        "queue": {"State": "Enabled"},
    },
    functions={"ingest": {"State": "Active", "Runtime": "python3.13"}, "flusher": {"Runtime": "python3.13"}},
    table_stream=ARN,
    alarms=18,
    alarms_without_action=0,
)


def found(checks: Any) -> list[tuple[str, str]]:
    return [(check.name, check.level) for check in checks if check.level != GOOD]


def test_a_table_that_is_ready_has_nothing_to_fix() -> None:
    assert found(check_table(READY)) == []
    assert found(check_stack(DEPLOYED)) == []


def test_a_night_that_is_too_short_for_its_share_is_told_with_one_that_fits() -> None:
    fits, too_large = (replace(DEPLOYED, nightly=(items, 30)) for items in (15_000_000, 15_000_001))
    assert found(check_stack(fits)) == []
    (check,) = [check for check in check_stack(too_large) if check.level != GOOD]
    assert (check.name, check.level, check.fix) == ("nightly verify", WARN, "lakebound deploy -p VerifyShare=1/31")
    assert "1,000,001 keys a night" in check.told


def test_the_verb_judges_the_share_of_the_night(lakebound: Lakebound, operated: Operated) -> None:
    operated.parameters |= {"VerifyTarget": "s3://lake/silver", "VerifyShare": "1/30"}
    assert "VerifyShare 1/30 compares about" in lakebound.out("doctor", status=1)
    operated.parameters["VerifyTarget"] = ""
    assert "VerifyShare" not in lakebound.out("doctor", status=1)


BEFORE: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"exists": False}, ("table", BAD)),
    ({"unknown": ("time to live: no right",)}, ("time to live", WARN)),
    ({"unknown": ("readers: no right",)}, ("readers", WARN)),
    ({"stream_arn": None}, ("stream", BAD)),
    ({"view": "KEYS_ONLY"}, ("stream", BAD)),
    ({"view": "NEW_IMAGE"}, ("stream", WARN)),
    ({"recovery": False}, ("recovery", WARN)),
    ({"table_key": "arn:aws:kms:x"}, ("table key", WARN)),
    ({"readers": ("a", "b")}, ("readers", BAD)),
    ({"concurrency": 3}, ("concurrency", BAD)),
    ({"key_enabled": False}, ("key", BAD)),
]
AFTER: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"status": "UPDATE_ROLLBACK_COMPLETE"}, ("stack", BAD)),
    ({"mappings": {"stream": {"State": "Disabled"}}}, ("stream mapping", BAD)),
    ({"mappings": {"queue": {"State": "Enabled", "LastProcessingResult": "PROBLEM: x"}}}, ("queue mapping", BAD)),
    ({"table_stream": ARN + "1"}, ("stream", BAD)),
    ({"functions": {"ingest": {"State": "Failed"}}}, ("function ingest", BAD)),
    ({"functions": {"a": {"Runtime": "python3.11"}, "b": {"Runtime": "python3.13"}}}, ("versions", BAD)),
    ({"alarms": 0}, ("alarms", BAD)),
    ({"alarms_without_action": 3}, ("alarm topic", WARN)),
    ({"drifted": ("StreamMapping",)}, ("drift", BAD)),
    ({"key_enabled": False}, ("key", BAD)),
    ({"last_errors": {"ingest": (4.0, 4.0)}}, ("errors of ingest", BAD)),
    ({"last_errors": {"ingest": (0.0, 4.0)}}, ("errors of ingest", BAD)),
    ({"last_errors": {"ingest": None}}, ("errors of ingest", WARN)),
    ({"missing": ("table",), "table_stream": None}, ("table", BAD)),
    ({"table_stream": None}, ("stream", BAD)),
    ({"missing": ("buffer queue",)}, ("buffer queue", BAD)),
    ({"missing": ("stream mapping",), "mappings": {}}, ("stream mapping", BAD)),
    ({"unknown": ("drift: no right",)}, ("drift", WARN)),
    ({"unknown": ("alarms: no right",), "alarms": None}, ("alarms", WARN)),
    ({"unknown": ("table: no right",), "table_stream": None}, ("table", UNKNOWN)),
    ({"unknown": ("bucket: no right",)}, ("bucket", UNKNOWN)),
    ({"unknown": ("errors of ingest: no right",)}, ("errors of ingest", UNKNOWN)),
    ({"unknown": ("function ingest: no right",)}, ("function ingest", UNKNOWN)),
]


@pytest.mark.parametrize(
    ("check", "well", "change", "wanted"),
    [*((check_table, READY, *case) for case in BEFORE), *((check_stack, DEPLOYED, *case) for case in AFTER)],
)
def test_each_thing_that_is_wrong_is_found_with_its_fix(check: Any, well: Any, change: Any, wanted: Any) -> None:
    checks = list(check(replace(well, **change)))
    assert found(checks) == [wanted]
    assert all(check.fix for check in checks if check.level != GOOD)
    assert not any("…" in check.fix for check in checks), "a fix is there to be pasted"


def test_the_verb_looks_at_a_real_table_before(lakebound: Lakebound, operated: Operated) -> None:
    assert lakebound("doctor", "--before", "--table", "flights", "--json") == 0
    checks = {one["name"]: one["level"] for one in lakebound.document()["checks"]}
    assert (checks["stream"], checks["recovery"]) == ("good", "warn")


def test_the_verb_names_a_disabled_mapping(lakebound: Lakebound, operated: Operated) -> None:
    operated.answers["get_event_source_mapping"] = lambda UUID: {"State": "Disabled"}  # noqa: N803
    assert "✗ stream mapping       it is Disabled" in lakebound.out("doctor", status=1)


def levels(told: Any) -> dict[str, str]:
    return {one["name"]: one["level"] for one in told["checks"]}


def test_a_missing_table_passes_only_where_the_stack_is_to_create_it(lakebound: Lakebound, operated: Operated) -> None:
    for words, status in (("nothing", 1), ("nothing --new-table", 0), ("flights --new-table", 1), ("flights", 0)):
        assert lakebound("doctor", "--before", "--table", *words.split()) == status, words
    assert "lakebound doctor --before --table nothing --new-table" in lakebound.out()
    assert lakebound("doctor", "--new-table") == 2


def test_a_healthy_stack_passes_and_a_function_that_fails_does_not(lakebound: Lakebound, operated: Operated) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC", topic=TOPIC)
    operated.measure("Invocations", 7)
    assert levels(lakebound.document("doctor"))["errors of ingest"] == GOOD
    operated.measure("Errors", 7)
    assert "✗ errors of ingest     7 of 7 invocations of the last hour failed" in lakebound.out("doctor", status=1)


@pytest.mark.parametrize("part", ["table", "buffer", "dead", "bucket", "mapping", "function"])
def test_each_part_that_is_gone_is_found(lakebound: Lakebound, operated: Operated, part: str) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC", topic=TOPIC)
    assert lakebound("doctor") == 0
    remove(operated, part)
    assert lakebound("doctor") == 1


@pytest.mark.parametrize(
    ("service", "operation", "status"),
    [
        ("cloudwatch", "get_metric_statistics", 1),
        ("cloudwatch", "describe_alarms", 0),
        ("cloudformation", "list_stack_resources", 0),
        ("cloudformation", "describe_stack_resource_drifts", 0),
        ("lambda", "get_event_source_mapping", 1),
        ("lambda", "get_function_configuration", 1),
        ("dynamodb", "describe_table", 1),
        ("sqs", "get_queue_attributes", 1),
        ("s3", "list_objects_v2", 1),
    ],
)
def test_what_may_not_be_looked_at_is_never_called_good(
    lakebound: Lakebound, operated: Operated, monkeypatch: pytest.MonkeyPatch, service: str, operation: str, status: int
) -> None:
    operated.make_alarm("lake-DeadLetters-0ABC", topic=TOPIC)
    take_away(operated, monkeypatch, service, operation)
    assert lakebound("doctor") == status
    assert "could not be checked" in lakebound.out()


def test_a_stack_without_alarms_is_not_told_of_those_of_the_account(lakebound: Lakebound, operated: Operated) -> None:
    operated.make_alarm("another-x", ours=False, topic=TOPIC)
    assert "✗ alarms               0 alarms" in lakebound.out("doctor", status=1)


class Table:
    """A table of one item that counts what happens to it."""

    def __init__(self, *, fails_at: int = 99) -> None:
        self.calls: list[str] = []
        self.items: list[Image] = []
        self._fails_at = fails_at

    def put(self, item: Image) -> None:
        self.calls.append("put")
        if len(self.calls) == self._fails_at:
            raise LakeboundError("throttled")
        self.items = [item]

    def delete(self, keys: Image) -> None:
        self.calls.append("delete")
        self.items = []


class Files:
    """Files in which the records arrive one by one."""

    def __init__(self, arrive: int) -> None:
        self.looks = 0
        self._arrive = arrive

    def count(self, key: str) -> int:
        self.looks += 1
        return min(self.looks, self._arrive)


KEYS = smoke_keys([("id", "S"), ("n", "N"), ("b", "B")], "0123456789abcdef")


def test_the_smoke_test_times_all_three_changes_and_leaves_no_item() -> None:
    table = Table()
    timed = smoke(table, KEYS, Files(3).count, ManualClock(), every_s=2)
    assert (table.calls, table.items) == (["put", "put", "delete"], [])
    assert timed.to_file == 4.0


def test_a_smoke_test_whose_changes_do_not_all_arrive_says_so() -> None:
    assert smoke(Table(), KEYS, Files(2).count, ManualClock(), limit_s=60).to_file is None


def test_a_smoke_test_that_fails_half_way_still_removes_its_item() -> None:
    table = Table(fails_at=2)
    with pytest.raises(LakeboundError, match="throttled"):
        smoke(table, KEYS, Files(3).count, ManualClock())
    assert table.items == []


def test_init_writes_what_sam_and_every_verb_read(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lakebound("init", "--table", "flights", "--topic", "arn:aws:sns:us-east-1:123456789012:t") == 0
    deploy = tomllib.loads((tmp_path / "samconfig.toml").read_text())["default"]["deploy"]["parameters"]
    assert deploy["stack_name"] == "lakebound-flights"
    assert f'TableStreamArn="{operated.stream_arn}"' in deploy["parameter_overrides"]
    assert lakebound("init", "--table", "flights") == 2
    assert lakebound("init", "--table", "nothing", "--file", "x") == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--partition-key", "id"), "The table flights exists, and has its key. Leave --partition-key out"),
        (("--operator", "arn:aws:iam::123456789012:role/x"), "--operator says nothing without a table of another"),
    ],
)
def test_init_takes_no_option_that_is_for_another_table(
    lakebound: Lakebound, operated: Operated, option: tuple[str, ...], said: str
) -> None:
    assert said in lakebound.err("init", "--table", "flights", "--dry-run", *option)


def test_an_init_dry_run_writes_nothing(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lakebound("init", "--table", "new", "--partition-key", "id", "--dry-run") == 0
    assert list(tmp_path.iterdir()) == []


def test_init_asks_for_the_table_and_says_so_where_nobody_answers(
    lakebound: Lakebound, operated: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert "No table is named, and there is nobody to ask. Give --table TABLE" in lakebound.err("init")
    monkeypatch.setattr(sys, "stdin", io.StringIO("flights\n"))
    assert 'TableName="flights"' in lakebound.out("init", "--dry-run", "--stack", "other").replace("\\", "")


def test_a_measured_month_is_the_hours_scaled_by_the_prices() -> None:
    did = Usage(73, 1e6, 1e6, 600_000, 0, 0, 0, 0, 0, 1_000, 0)
    dollars = {line.part: line.dollars for line in measure(did).lines}
    assert dollars["Lambda requests"] == pytest.approx(10 * 1e6 * 0.20 / 1e6)
    assert dollars["Lambda compute"] == pytest.approx(10 * 600_000 * 0.0000133334)
    assert dollars["S3 puts"] == pytest.approx(10 * 0.005)
    # A stack that was deployed for the other processor pays that one's price, and the same for all else.
    other = {line.part: line.dollars for line in measure(replace(did, architecture="x86_64")).lines}
    assert other["Lambda compute"] == pytest.approx(10 * 600_000 * 0.0000166667)
    assert other == dollars | {"Lambda compute": other["Lambda compute"]}


def test_an_estimate_grows_with_the_rate_and_costs_little_when_idle() -> None:
    idle, some, many = (estimate(Workload(rate, 1_000)).dollars for rate in (0, 10, 1_000))
    # Twenty alarms, a dashboard, two metrics, and a stream check each five minutes.
    assert idle == pytest.approx(20 * 0.10 + 3 + 2 * 0.30 + 0.74, abs=0.01)
    assert idle < some < many
    # A hundred times the writes fill deliveries and messages better: far less than a hundred times the price.
    assert many < 50 * some


LOOKS = "stream checks and backfills"
NOTHING = Usage(24, None, None, None, None, None, None, None, None, None, None, alarms=20)


def test_what_watches_a_stack_is_paid_by_kind() -> None:
    rest = replace(NOTHING, empty_receives=1.0, hours=24)
    alone = {line.part: line.dollars for line in measure(rest).lines}
    assert alone["alarms"] == pytest.approx(2)
    assert not {"composite alarms", "dashboards"} & set(alone)
    parts = {line.part: line for line in measure(replace(rest, alarms=8, composite_alarms=1, dashboards=1)).lines}
    assert [parts[name].dollars for name in ("alarms", "composite alarms", "dashboards")] == pytest.approx(
        [0.8, 0.5, 3.0]
    )
    looked = replace(rest, look_requests=288.0, look_gb_seconds=288.0)
    parts = {line.part: line for line in measure(looked).lines}
    looks = 288 * 730 / 24
    assert parts["stream checks and backfills"].amount == pytest.approx(looks)
    assert parts["stream checks and backfills"].dollars == pytest.approx(looks * (0.0000133334 + 2e-7 + 5 * 1e-5))
    assert parts["custom metrics"].amount == 2
    busy = replace(looked, ingest_requests=1.0, flusher_requests=1.0)
    assert {line.part: line.amount for line in measure(busy).lines}["custom metrics"] == 17
    beating = replace(busy, has_heartbeat=True)
    assert {line.part: line.amount for line in measure(beating).lines}["custom metrics"] == 21


def test_what_runs_by_a_schedule_is_paid_where_it_was_deployed() -> None:
    rest = replace(NOTHING, empty_receives=1.0)
    beating = replace(rest, has_heartbeat=True, heartbeats=288.0, heartbeat_reads=300.0, heartbeat_gb_seconds=90.0)
    (line,) = [line for line in measure(beating).lines if line.part == "heartbeat"]
    month = 730 / 24
    assert (line.amount, line.measured) == (pytest.approx(288 * month), True)
    assert line.dollars == pytest.approx(month * (588 * 2e-7 + 864 * 0.625e-6 + 90 * 0.0000133334))
    nightly = replace(rest, has_nightly=True, nights=1.0, night_gb_seconds=2_700.0)
    (line,) = [line for line in measure(nightly).lines if line.part == "nightly verify"]
    assert line.dollars == pytest.approx(month * (2e-7 + 2_700 * 0.0000133334))
    assert not {"heartbeat", "nightly verify"} & {line.part for line in measure(rest).lines}
    silent = measure(replace(rest, has_heartbeat=True, has_nightly=True))
    assert {"heartbeat", "nightly verify"} <= set(silent.unmeasured)


def test_so_many_tables_cost_so_many_times_as_much_and_lean_less() -> None:
    full, lean = (estimate(Workload(0, 1, watch=watch)) for watch in ("full", "lean"))
    assert of_tables(full, 50).dollars == pytest.approx(50 * full.dollars)
    assert of_tables(full, 50).way.endswith(", 50 such tables")
    assert full.dollars - lean.dollars == pytest.approx(20 * 0.10 + 3 - (8 * 0.10 + 0.50))


def test_the_verb_estimates_a_fleet(lakebound: Lakebound, operated: Operated) -> None:
    arguments = ("cost", "--writes", "0", "--item-bytes", "1", "--watch", "lean")
    one, fifty = lakebound.document(*arguments), lakebound.document(*arguments, "--tables", "50")
    assert fifty["dollars"] == pytest.approx(50 * one["dollars"])
    assert "full or lean" in lakebound.err("cost", "--writes", "1", "--watch", "thin")
    assert "Give --writes" in lakebound.err("cost", "--watch", "lean")


@pytest.mark.parametrize(
    "option",
    ["--writes inf", "--writes nan", "--writes 1e308", "--item-bytes 409601", "--tables 10001", "--dbus inf"],
)
def test_no_option_makes_the_dollars_infinite(lakebound: Lakebound, option: str) -> None:
    usual = {"--writes": "1", "--item-bytes": "100", "--spark-hours": "1"}
    name, value = option.split()
    given = [word for pair in (usual | {name: value}).items() for word in pair]
    assert "Invalid value" in lakebound.err("cost", *given)


def test_what_has_no_metric_is_not_measured_and_never_nought() -> None:
    bill = measure(NOTHING)
    assert set(bill.unmeasured) == {line.part for line in bill.lines} - {"alarms"}
    assert headline(bill).startswith("at least $2.00 a month")
    assert "not measured: " in headline(bill)
    assert bill.per_million(1e6) is None


@pytest.mark.parametrize(
    ("change", "unmeasured"),
    [
        ({"empty_receives": 10_000.0}, {LOOKS}),
        ({"flusher_requests": 5.0, "messages": 5.0}, {"S3 puts", "S3 storage, of one month's files", LOOKS}),
        ({"ingest_requests": 5.0}, {"SQS", LOOKS}),
        ({"ingest_requests": 0.0}, {LOOKS}),
        ({"ingest_requests": 0.0, "look_requests": 12.0}, set()),
        ({"files": 3.0, "file_bytes": 9.0, "flusher_requests": 3.0}, {"SQS", LOOKS}),
        ({"empty_receives": 1.0, "alarms": None}, {"alarms", LOOKS}),
    ],
)
def test_a_missing_metric_is_nought_only_where_others_show_rest(change: dict[str, Any], unmeasured: set[str]) -> None:
    assert set(measure(replace(NOTHING, **change)).unmeasured) == unmeasured


def test_what_rounds_to_nothing_is_not_called_free() -> None:
    assert [dollars(value) for value in (0, 0.001, 0.005, 1234.5)] == ["$0.00", "< $0.01", "$0.01", "$1,234.50"]
    assert [amount(CostLine("x", value, "puts", 0)) for value in (0, 0.2, 3)] == ["0 puts", "< 1 puts", "3 puts"]


def test_the_verb_finds_the_functions_of_the_schedules(lakebound: Lakebound, operated: Operated) -> None:
    operated.outputs |= {"HeartbeatName": "beat", "HeartbeatIngestName": "beat-reader", "VerifyName": "nightly"}
    operated.parameters |= {"HeartbeatMinutes": "5", "Architecture": "x86_64"}
    operated.answers["get_function_configuration"] = lambda **_: {"MemorySize": 1024}
    for function, runs in (("beat", 10), ("beat-reader", 20), ("nightly", 1)):
        operated.measure("Invocations", runs, function=function)
        operated.measure("Duration", 1_000, function=function)
    lines = {line["part"]: line for line in lakebound.document("cost", "--hours", "1")["lines"]}
    assert (lines["heartbeat"]["amount"], lines["nightly verify"]["amount"]) == (7_300, 730)
    assert lines["heartbeat"]["dollars"] == pytest.approx(730 * (30 * 2e-7 + 30 * 0.625e-6 + 2 * 0.0000166667))
    assert lines["nightly verify"]["dollars"] == pytest.approx(730 * (2e-7 + 0.0000166667))


def test_the_verb_says_what_was_not_measured(lakebound: Lakebound, operated: Operated) -> None:
    told = lakebound.out("cost")
    assert told.startswith("at least $0.00 a month, measured over 24 hours")
    assert re.search(r"^SQS +not measured", told, re.MULTILINE)
    assert "0 puts" not in told
    operated.measure("Invocations", 1_000)
    lines = {line["part"]: line for line in lakebound.document("cost")["lines"]}
    assert lines["Lambda requests"]["measured"]
    assert not lines["SQS"]["measured"]


def test_the_estimate_of_the_verb_names_its_prices(lakebound: Lakebound, operated: Operated) -> None:
    bill = lakebound.document("cost", "--writes", "100", "--table", "flights")
    assert bill["dollars"] == pytest.approx(sum(line["dollars"] for line in bill["lines"]))
    assert bill["prices_as_of"]
    assert lakebound("cost", "--json") == 0
    assert lakebound("cost", "--table", "flights") == 2


def test_spark_adds_its_machines_and_databricks_its_units() -> None:
    bill = estimate(Workload(100, 1_024))
    with_machines = with_spark(bill, SparkCluster(60, "m7g.xlarge", 3, 0.5))
    parts = {line.part: line for line in with_machines.lines}
    assert parts["Spark machines"].amount == 180
    assert parts["Spark machines"].dollars == pytest.approx(180 * 0.1632)
    assert parts["Databricks"].dollars == pytest.approx(90 * 0.15)
    assert with_machines.dollars == pytest.approx(bill.dollars + 180 * 0.1632 + 90 * 0.15)
    assert [line.dollars for line in with_machines.lines] == sorted(parts[p].dollars for p in parts)[::-1]
    assert "Databricks" not in {line.part for line in with_spark(bill, SparkCluster(60, "0.2")).lines}


@pytest.mark.parametrize("instance", ["z9.huge", "-1", "nan", "inf", ""])
def test_machines_without_a_price_are_refused(instance: str) -> None:
    with pytest.raises(LakeboundError, match="There is no price of"):
        with_spark(estimate(Workload(1, 1)), SparkCluster(1, instance))


def test_the_verb_adds_spark(lakebound: Lakebound, operated: Operated) -> None:
    arguments = ("cost", "--writes", "100", "--item-bytes", "1000")
    alone, with_machines = lakebound.document(*arguments), lakebound.document(*arguments, "--spark-hours", "100")
    assert with_machines["dollars"] == pytest.approx(alone["dollars"] + 19.2)
    assert "--dbus says nothing without --spark-hours" in lakebound.err(*arguments, "--dbus", "1")
