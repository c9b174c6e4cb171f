"""`doctor` finds each thing that is wrong and nothing else; `init` writes what `make deploy` reads; `cost` adds up."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lakebound.adapters.local import ManualClock
from lakebound.attributes import Image
from lakebound.cli.init import samconfig
from lakebound.cost import Did, Plan, estimated, measured
from lakebound.doctor import BAD, WARN, StackFacts, TableFacts, after, before, smoke, smoke_keys
from lakebound.errors import LakeboundError
from tests.unit.conftest import Lakebound
from tests.unit.operated import Operated

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
    return [(check.name, check.level) for check in checks if check.level in (BAD, WARN)]


def test_a_table_that_is_ready_has_nothing_to_fix() -> None:
    assert found(before(READY)) == []
    assert found(after(DEPLOYED)) == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"exists": False}, ("table", WARN)),
        ({"stream_arn": None}, ("stream", BAD)),
        ({"view": "KEYS_ONLY"}, ("stream", BAD)),
        ({"view": "NEW_IMAGE"}, ("stream", WARN)),
        ({"recovery": False}, ("recovery", WARN)),
        ({"table_key": "arn:aws:kms:x"}, ("table key", WARN)),
        ({"readers": ("a", "b")}, ("readers", BAD)),
        ({"concurrency": 3}, ("concurrency", BAD)),
        ({"key_enabled": False}, ("key", BAD)),
    ],
)
def test_before_each_thing_that_is_wrong_is_found_with_its_fix(change: dict[str, Any], wanted: tuple[str, str]) -> None:
    checks = list(before(replace(READY, **change)))
    assert found(checks) == [wanted]
    assert all(check.fix for check in checks if check.level in (BAD, WARN))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
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
        ({"last_errors": {"ingest": 4.0}}, ("errors of ingest", BAD)),
    ],
)
def test_after_each_thing_that_is_wrong_is_found_with_its_fix(change: dict[str, Any], wanted: tuple[str, str]) -> None:
    checks = list(after(replace(DEPLOYED, **change)))
    assert found(checks) == [wanted]
    assert all(check.fix for check in checks if check.level in (BAD, WARN))


def test_the_verb_looks_at_a_real_table_before(
    lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lakebound("doctor", "--before", "--table", "flights", "--json") == 0
    checks = {one["name"]: one["level"] for one in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["stream"] == "good"
    assert checks["recovery"] == "warn"


def test_the_verb_names_a_disabled_mapping(
    lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    operated.answers["get_event_source_mapping"] = lambda UUID: {"State": "Disabled"}  # noqa: N803
    assert lakebound("doctor") == 1
    assert "✗ stream mapping       it is Disabled" in capsys.readouterr().out


# ── smoke ──


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
    timed = smoke(table, KEYS, Files(3), ManualClock(), every_s=2)
    assert (table.calls, table.items) == (["put", "put", "delete"], [])
    assert timed.to_file == 4.0


def test_a_smoke_test_whose_changes_do_not_all_arrive_says_so() -> None:
    assert smoke(Table(), KEYS, Files(2), ManualClock(), limit_s=60).to_file is None


def test_a_smoke_test_that_fails_half_way_still_removes_its_item() -> None:
    table = Table(fails_at=2)
    with pytest.raises(LakeboundError, match="throttled"):
        smoke(table, KEYS, Files(3), ManualClock())
    assert table.items == []


# ── init ──


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


def test_an_init_dry_run_writes_nothing(
    lakebound: Lakebound, operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lakebound("init", "--table", "new", "--partition-key", "id", "--dry-run") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_quote_in_a_parameter_stays_toml() -> None:
    assert tomllib.loads(samconfig("a", {"X": 'b"c'}))


# ── cost ──


def test_a_measured_month_is_the_hours_scaled_by_the_prices() -> None:
    did = Did(73, 1e6, 1e6, 600_000, 0, 0, 0, 0, 0, 1_000, 0)
    dollars = {line.part: line.dollars for line in measured(did).lines}
    assert dollars["Lambda requests"] == pytest.approx(10 * 1e6 * 0.20 / 1e6)
    assert dollars["Lambda compute"] == pytest.approx(10 * 600_000 * 0.0000166667)
    assert dollars["S3 puts"] == pytest.approx(10 * 0.005)


def test_an_estimate_grows_with_the_rate_and_costs_little_when_idle() -> None:
    idle, some, many = (estimated(Plan(rate, 1_000)).dollars for rate in (0, 10, 1_000))
    assert idle == pytest.approx(20 * 0.10)
    assert idle < some < many
    # A hundred times the writes fill deliveries and messages better: far less than a hundred times the price.
    assert many < 50 * some


def test_the_estimate_of_the_verb_names_its_prices(
    lakebound: Lakebound, operated: Operated, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lakebound("cost", "--writes", "100", "--table", "flights", "--json") == 0
    bill = json.loads(capsys.readouterr().out)
    assert bill["dollars"] == pytest.approx(sum(line["dollars"] for line in bill["lines"]))
    assert bill["prices_as_of"]
    assert lakebound("cost", "--json") == 0
    assert lakebound("cost", "--table", "flights") == 2
