"""Every name that people, stacks, tables and other programs rely on, as `public_names.json` keeps them.

    python -m tests.golden.public_names    write the file anew, after a deliberate change of a public name

The file was first written from the code as it was before its packages were made, so that moves and renames inside
cannot change what is outside.
"""

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import EnumType
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pyspark.sql.types import StructType

from lakebound.cli.app import app
from lakebound.live.flush import FlushRules, flush
from lakebound.live.ingest import IngestRules, ingest
from lakebound.record.base_records import SnapshotDecoder
from lakebound.record.column_names import RESERVED_COLUMNS
from lakebound.record.envelope import FIELDS, decode_line, encode_line
from lakebound.record.stream_records import StreamDecoder
from lakebound.settings import SETTINGS
from lakebound.transport import object_keys
from lakebound_spark.audits.chain_audit import COUNTS
from lakebound_spark.bronze import bronze_table
from lakebound_spark.bronze.bronze_table import BRONZE_COLUMNS, AppendResult
from lakebound_spark.history.history_table import HistoryResult
from lakebound_spark.history.stretches import HISTORY
from lakebound_spark.lake import done_steps
from lakebound_spark.platform import metrics
from lakebound_spark.platform.metrics import MicroBatch, Result
from lakebound_spark.reading.schema import BAD_FILES, RECORD, RESCUED, SILVER
from lakebound_spark.silver import changes_table
from lakebound_spark.silver.entity_job import EntityMicroBatch
from lakebound_spark.silver.status_table import STATUS
from tests.support.local_ports import ManualClock, MemoryQueue, MemoryStore
from tests.support.stream_records import NOW_MS, TABLE, stream_record
from tests.support.translated_template import translated

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_suffix(".json")
JOBS = ("run", "ingest_bronze", "merge_changes", "build_history", "maintain", "audit", "verify_run", "sweep")
PROPERTY = re.compile(r"(delta|lakebound)(\.[A-Za-z_]+)+")
METRIC = re.compile(r"([A-Z][a-z]+)+")
COUNTING = ("count", "add_metric", "single_metric", "put_metric", "put_metrics")
"""The functions that count or publish a metric."""
NAMED = ("src/lakebound/adapters/telemetry.py", "spark/lakebound_spark/silver/freshness.py")
"""Modules in which a metric's name also stands in a table or a constant, apart from the call."""
NO_METRIC = {"Bytes", "Count", "Lakebound", "Milliseconds", "Seconds"}
"""Units and the namespace."""
ALARM = (
    "ComparisonOperator", "Dimensions", "EvaluationPeriods", "MetricName", "Namespace", "Period", "Statistic",
    "Threshold", "TreatMissingData", "AlarmRule",
)  # fmt: skip
"""By which an alarm sounds."""


def public_names() -> dict[str, Any]:
    """All of them, by what they are names of."""
    return {
        "commands": command_names(typer.main.get_command(app)),
        "jobs": {job: job_names(import_module(f"lakebound_spark.jobs.{job}")._parser()) for job in JOBS},
        "settings": {
            one.name: {k: v for k, v in one._asdict().items() if k not in ("name", "meaning")} for one in SETTINGS
        },
        "template": template_names(translated()),
        "record": record_names(FIELDS),
        "tables": table_names(),
        "objects": object_names(),
        "metrics": sorted(_metrics("src/lakebound") | _metrics("spark/lakebound_spark")),
        "entry_points": sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]),
    }


def command_names(command: Any, path: str = "lakebound") -> dict[str, Any]:
    """Each verb's options and arguments, without their help."""
    if inner := getattr(command, "commands", None):
        return {
            name: found for word, one in inner.items() for name, found in command_names(one, f"{path} {word}").items()
        }
    return {path: {one.opts[0]: _parameter(one) for one in command.params}}


def _parameter(one: Any) -> dict[str, Any]:
    kind, default = one.type_descriptor.annotation, one.default
    return {
        "kind": one.param_type_name,
        "words": [*one.opts, *one.secondary_opts],
        "type": [word.value for word in kind] if isinstance(kind, EnumType) else kind.__name__,
        "range": [one.min, one.max],
        "arity": one.nargs,
        "required": one.required,
        "multiple": one.multiple,
        "default": str(getattr(default, "value", default)),
        "environment": one.envvar,
    }


def job_names(parser: argparse.ArgumentParser) -> dict[str, Any]:
    return {
        one.dest: {
            "words": list(one.option_strings),
            "action": type(one).__name__.lstrip("_"),
            "arity": one.nargs,
            "required": one.required,
            "choices": list(one.choices or []),
            "default": repr(one.default),
        }
        for one in parser._actions
        if one.dest != "help"
    }


def template_names(template: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with what they accept, resources by logical id, outputs with their export, and alarms."""
    resources = template["Resources"]
    limits = ("Type", "Default", "AllowedValues", "AllowedPattern", "MinValue", "MaxValue", "NoEcho")
    return {
        "parameters": {
            name: {limit: one[limit] for limit in limits if limit in one}
            for name, one in template["Parameters"].items()
        },
        "resources": {name: one["Type"] for name, one in resources.items()},
        "outputs": {name: one.get("Condition") for name, one in template["Outputs"].items()},
        "alarms": {
            name: {part: one["Properties"][part] for part in ALARM if part in one["Properties"]}
            for name, one in resources.items()
            if one["Type"] in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        },
        "tags": {
            name: sorted(tag["Key"] for tag in one["Properties"]["Tags"])
            for name, one in resources.items()
            if one.get("Properties", {}).get("Tags")
        },
    }


def table_names() -> dict[str, list[str]]:
    """The columns of every table that the jobs make, and the properties that they set."""
    return {
        "silver": _columns(SILVER),
        "silver_rescued": RESCUED,
        "silver_reserved": sorted(RESERVED_COLUMNS),
        "bronze": list(BRONZE_COLUMNS),
        "bad_files": _columns(BAD_FILES),
        "status": _columns(STATUS),
        "history": _columns(HISTORY),
        "changes": [f"{name} {kind.lower()}" for name, kind in changes_table._OURS.items()],
        "metrics": _metrics_columns(MicroBatch),
        "metrics_of_several_tables": _metrics_columns(EntityMicroBatch),
        "bronze_metrics": _metrics_columns(AppendResult),
        "history_metrics": _metrics_columns(HistoryResult),
        "bad_lines": _columns(bronze_table._BAD_LINES),
        "stale_records": _columns(RECORD),
        "audits": _columns(COUNTS),
        "schedule": _columns(done_steps._COLUMNS),
        "properties": sorted({text for text in _strings("spark/lakebound_spark") if PROPERTY.fullmatch(text)}),
    }


def object_names() -> dict[str, Any]:
    """The key of every kind of object of a table `cars`, and the metadata of a batch file that a flush has written."""
    run, digest = object_keys.RunFolder("cars", "run-1"), "0" * 64
    batch = {
        f"{origin}.{ext}": object_keys.DataKey("dt=2026-11-18/HH=10", origin, NOW_MS, 2, digest[:32], ext)
        for origin in object_keys.ORIGINS
        for ext in object_keys.FORMATS
    }
    folders = (object_keys.CLAIMS, object_keys.QUARANTINE, object_keys.REDRIVEN, object_keys.DISCARDED)
    return {
        "batch_files": {name: key.format("ddb/cars") for name, key in batch.items()},
        "control": {
            **{folder.name: folder.key("cars", digest) for folder in folders},
            "heartbeat": object_keys.heartbeat_prefix("cars"),
            "plan": run.plan(),
            "work": run.work("export-0"),
            "segment": run.segment(3),
            "manifest": run.manifest(),
            "exports": run.exports(),
            "gap": object_keys.GapKey("cars", NOW_MS, "mapping_behind").format(),
            "seen": object_keys.StreamCheckKey("cars").format(),
            "failures": object_keys.failures_folder("MAPPING"),
        },
        "metadata": sorted(_flushed_metadata()),
    }


def record_names(fields: Any) -> dict[str, Any]:
    """The record's fields, and the JSON type of each in every kind of record, in the order of the line."""
    stream = StreamDecoder(TABLE)
    scan, export, sweep = (SnapshotDecoder(TABLE, "run-1", origin, ("id",)) for origin in ("scan", "export", "sweep"))
    item = {"id": {"S": "k0"}, "n": {"N": "1.50"}}
    events = {
        **{name: stream.decode(stream_record(name=name, old=item), NOW_MS) for name in ("INSERT", "MODIFY", "REMOVE")},
        "SNAPSHOT of a scan": scan.item(item, NOW_MS, "run-1|0"),
        "SNAPSHOT of an export": export.export_line({"Item": item}, NOW_MS, "run-1|0"),
        "ABSENT": sweep.absent({"id": {"S": "k0"}}, NOW_MS, "run-1|0"),
    }
    lines = {kind: decode_line(encode_line(event, NOW_MS)) for kind, event in events.items()}
    return {
        "fields": [list(field) for field in fields],
        "kinds": {kind: [[name, type(value).__name__] for name, value in one.items()] for kind, one in lines.items()},
    }


def _columns(schema: StructType) -> list[str]:
    return [f"{field.name} {field.dataType.simpleString()}" for field in schema.fields]


def _flushed_metadata() -> Mapping[str, str]:
    """The metadata of the batch file of one record, carried by both functions."""
    clock = ManualClock(NOW_MS)
    queue, store = MemoryQueue(clock), MemoryStore(clock)
    rules = IngestRules(TABLE, object_keys.partitioner("dt=%Y-%m-%d/HH=%H"), True, 262_144)
    ingest([stream_record()], rules, StreamDecoder(TABLE), queue, store, clock, lambda: 60.0)
    clock.sleep(20)
    flush(queue.receive(0), FlushRules(TABLE, "ddb/cars", 0, 67_108_864, 30), queue, store, clock, lambda: 120.0)
    (written,) = store.objects.values()
    return written.metadata


def _metrics_columns(kind: type[Result]) -> list[str]:
    return _columns(metrics._columns(kind))


def _trees(folder: str) -> Iterator[ast.AST]:
    return (ast.parse(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py")))


def _strings(folder: str) -> set[str]:
    """The string literals in the code of a folder, also those inside SQL in quotes."""
    return {part for tree in _trees(folder) for text in _texts(tree) for part in text.split("'")}


def _texts(tree: ast.AST) -> Iterator[str]:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return (value for value in constants if isinstance(value, str))


def _metrics(folder: str) -> set[str]:
    """The names that the calls of COUNTING are given, and those that stand in NAMED."""
    found = {
        text
        for path in map(ROOT.joinpath, NAMED)
        if path.is_relative_to(ROOT / folder)
        for text in _texts(ast.parse(path.read_text()))
    }
    for tree in _trees(folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in COUNTING:
                found |= set(_texts(node))
    return {name for name in found if METRIC.fullmatch(name)} - NO_METRIC


def differences(golden: Any, now: Any, path: str = "") -> list[str]:
    """What is gone, new or another than the golden file says: one line each, named by its place."""
    if not isinstance(golden, dict) or not isinstance(now, dict):
        return [] if golden == now else [f"{path}: {golden!r} is now {now!r}"]
    lines = [f"{path}/{name} is gone" for name in golden if name not in now]
    lines += [f"{path}/{name} is new" for name in now if name not in golden]
    return lines + [
        line for name in golden if name in now for line in differences(golden[name], now[name], f"{path}/{name}")
    ]


def text() -> str:
    return json.dumps(public_names(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(text())
