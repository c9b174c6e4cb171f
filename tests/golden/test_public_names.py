"""No public name changes by accident: command line, jobs, settings, template, record, objects, tables, metrics."""

import argparse
import copy
import json

import pytest
import typer

from lakebound.cli.app import app
from lakebound.record.envelope import FIELDS
from lakebound.transport import object_keys
from lakebound_spark.silver import changes_table
from tests.golden.public_names import (
    GOLDEN,
    command_names,
    differences,
    job_names,
    object_names,
    record_names,
    table_names,
    template_names,
    text,
)
from tests.support.translated_template import translated

KEPT = json.loads(GOLDEN.read_text())


def test_every_public_name_is_as_the_golden_file_says() -> None:
    found = differences(KEPT, json.loads(text()))
    assert not found, "\n".join([*found, "Where this is meant: .venv/bin/python -m tests.golden.public_names"])


def test_red_control_a_renamed_option_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    command = typer.main.get_command(app)
    (option,) = [one for one in command.commands["verify"].params if one.name == "lag"]  # type: ignore[attr-defined]
    # A verb is loaded once a process, and other tests run it.
    monkeypatch.setattr(option, "opts", ["--delay"])
    verify = differences(KEPT["commands"], command_names(command))
    assert verify == ["/lakebound verify/--lag is gone", "/lakebound verify/--delay is new"]


def test_red_control_an_option_of_a_job_with_another_default_is_found() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, default=7)
    kept = job_names(parser)
    parser.set_defaults(days=8)
    assert differences(kept, job_names(parser)) == ["/days/default: '7' is now '8'"]


@pytest.mark.parametrize(
    ("section", "name"), [("Outputs", "MergeSource"), ("Resources", "StatusGap"), ("Parameters", "MessageBytes")]
)
def test_red_control_a_part_of_the_template_that_is_dropped_is_found(section: str, name: str) -> None:
    template = copy.deepcopy(translated())
    del template[section][name]
    assert f"/{section.lower()}/{name} is gone" in differences(KEPT["template"], template_names(template))


def test_every_metric_of_an_alarm_is_among_the_metrics() -> None:
    alarms = KEPT["template"]["alarms"].values()
    named = {one["MetricName"] for one in alarms if one.get("Namespace") == "Lakebound"}
    assert len(named) > 5
    assert named - set(KEPT["metrics"]) == set()


def test_red_control_another_threshold_and_another_tag_are_found() -> None:
    template = copy.deepcopy(translated())
    template["Resources"]["StreamLagging"]["Properties"]["Threshold"] = 600_000
    template["Resources"]["StreamIngest"]["Properties"]["Tags"].pop()
    found = differences(KEPT["template"], json.loads(json.dumps(template_names(template))))
    assert [line.split(":")[0] for line in found] == ["/alarms/StreamLagging/Threshold", "/tags/StreamIngest"]


def test_red_control_another_key_of_an_object_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_keys, "format_time", str)
    monkeypatch.setattr(object_keys, "QUARANTINE", object_keys.DigestFolder("poison"))
    found = differences(KEPT["objects"], object_names())
    assert len(found) == 18 + 1 + 2, "the batch files, a gap; quarantine, that is gone, and poison"


def test_red_control_a_column_of_a_table_beside_silver_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(changes_table._OURS, "rescued")
    (found,) = differences(KEPT["tables"], table_names())
    assert found.startswith("/changes: ")


def test_red_control_a_renamed_field_is_found() -> None:
    renamed = [("size" if name == "size_bytes" else name, *more) for name, *more in FIELDS]
    (found,) = differences(KEPT["record"], json.loads(json.dumps(record_names(renamed))))
    assert found.startswith("/fields: ")
