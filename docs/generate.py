"""Writes the generated blocks of the pages and the bundle's template, or names what is stale.

    python docs/generate.py           write them
    python docs/generate.py --check   exit 1 and name the stale ones

A block stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import typer
import yaml

from docs import bundle_template, operator_rights, watch_cost
from lakebound.cli import spark_conf
from lakebound.cli.app import app
from lakebound.operate.parameter_values import choices_text, takes
from lakebound.record import envelope
from lakebound.record.stream_records import StreamDecoder
from lakebound.settings import SETTINGS
from lakebound.transport import batch_files, messages
from tests.simulation.failing_rules import RED_CONTROLS

ROOT: Final = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

JOBS: Final = ("run", "ingest_bronze", "merge_changes", "build_history", "maintain", "audit", "verify_run", "sweep")

_NOW_MS: Final = 1_795_000_005_000
_RECORD: Final = {
    "eventID": "4a1c6a2f0b7e4d1f9c3b5a7d8e6f0a12",
    "eventName": "MODIFY",
    "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000",
    "dynamodb": {
        "ApproximateCreationDateTime": 1_795_000_000,
        "Keys": {"vin": {"S": "WLB0000000000042"}},
        "NewImage": {"vin": {"S": "WLB0000000000042"}, "soc": {"N": "81.50"}, "doors": {"SS": ["left", "right"]}},
        "OldImage": {"vin": {"S": "WLB0000000000042"}, "soc": {"N": "82"}},
        "SequenceNumber": "820400000000000000000000042",
        "SizeBytes": 96,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    },
}


def _line() -> bytes:
    return envelope.encode_line(StreamDecoder("cars").decode(_RECORD, _NOW_MS), _NOW_MS)


def fields() -> str:
    """The record's fields."""
    rows = [f"| `{name}` | {kind} | {'yes' if nullable else 'no'} |" for name, kind, nullable in envelope.FIELDS]
    return "\n".join(["| field | type | may be null |", "|---|---|---|", *rows])


def record() -> str:
    """A whole record, as its line stands in a file."""
    return f"```json\n{_line().decode().rstrip()}\n```"


def key() -> str:
    """The key of the file that would hold just that record."""
    line = messages.Line(0, "dt=2026-11-18/HH=11", None, _line())
    (message,) = messages.Packer("cars", 262_144, _NOW_MS).pack([line])
    members = messages.decode("cars", message.body)
    assert isinstance(members, list)
    (file,) = batch_files.assemble("ddb/cars", "stream", members)
    return f"```\n{file.key}\n```"


def settings() -> str:
    """Every setting of the functions."""
    rows = [
        f"| `{one.name}` | {', '.join(one.functions)} | {_default(one.default)} | "
        f"{choices_text(one.choices, one.least, one.most)} | {one.meaning} |"
        for one in SETTINGS
    ]
    return "\n".join(["| name | functions | default | takes | meaning |", "|---|---|---|---|---|", *rows])


def _default(text: str | None) -> str:
    return "– (required)" if text is None else f"`{text}`" if text else "empty"


def commands() -> str:
    """Every verb of the command with its options, from the command's own help."""
    return "\n\n".join(_verbs(typer.main.get_command(app), "lakebound"))


def _verbs(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if children:
        for child, inner in children.items():
            yield from _verbs(inner, f"{name} {child}")
        return
    about = " ".join((command.help or "").split("\n\n")[0].split())
    more = [" ".join(part.split()) for part in (command.help or "").split("\n\n")[1:]]
    rows = [row for parameter in command.params if (row := _parameter(parameter))]
    table = ["| option | meaning |", "|---|---|", *rows] if rows else []
    _, *examples = command.epilog.split("\n\n")
    paragraphs = [about, *more, "\n".join(["```sh", *examples, "```"]), "\n".join(table)]
    yield "\n\n".join([f"### `{name}`", *paragraphs]).rstrip()


def _parameter(parameter: Any) -> str:
    if "--help" in parameter.opts:
        return ""
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name.upper()).strip("[].")
    else:
        name = " / ".join([*parameter.opts, *parameter.secondary_opts])
    default = parameter.default
    default_note = "" if default in (None, "", False, [], ()) or callable(default) else f" Default: `{default}`."
    required_note = " Required." if parameter.required else ""
    about = " ".join((getattr(parameter, "help", "") or "").split())
    about = about.replace("|", "\\|").replace("<", "&lt;")
    return f"| `{name}` | {about}{required_note}{default_note} |"


def parameters() -> str:
    """Every parameter of the template, in the template's order."""
    found = yaml.load((ROOT / "template.yaml").read_text("utf-8"), _Loose)["Parameters"]
    rows = []
    for name, one in found.items():
        default = "– (required)" if "Default" not in one else f"`{one['Default']}`" if str(one["Default"]) else "empty"
        about = " ".join(one["Description"].split()).replace("|", r"\|")
        rows.append(f"| `{name}` | {default} | {takes(one)} | {about} |")
    return "\n".join(["| parameter | default | takes | meaning |", "|---|---|---|---|", *rows])


def spark_settings() -> str:
    """The Spark settings of each platform, as `lakebound spark-conf` prints them."""
    return "\n\n".join(
        f"### `{name}`\n\n```\n{text.rstrip()}\n```" for name, text in spark_conf.settings_files().items()
    )


def job_arguments() -> str:
    """Every argument of every Spark job, as its own parser has them."""
    return "\n\n".join(_job(import_module(f"lakebound_spark.jobs.{name}")._parser()) for name in JOBS)


def _job(parser: argparse.ArgumentParser) -> str:
    rows = []
    for one in parser._actions:
        if "--help" in one.option_strings:
            continue
        name = ", ".join(one.option_strings) or one.dest.upper()
        values = f" One of {', '.join(f'`{choice}`' for choice in one.choices)}." if one.choices else ""
        text = " ".join(((one.help or "") % vars(one)).split()).replace("|", "\\|").replace("<", "&lt;")
        rows.append(f"| `{name}` | {text}{values}{' Required.' if one.required else ''} |")
    about = " ".join((parser.description or "").split())
    return "\n".join([f"### `{parser.prog}`", "", about, "", "| argument | meaning |", "|---|---|", *rows])


def failing_rules() -> str:
    """Every rule that fails, with the shortest history that the small-scope search finds for it."""
    rows = [f"| {one.name} | {one.source} | {one.search().wrong} |" for one in RED_CONTROLS]
    head = ["| rule or bound | known from | the shortest history that it gets wrong |", "|---|---|---|"]
    return "\n".join([*head, *rows])


class _Loose(yaml.SafeLoader):
    """Reads CloudFormation's short tags (`!Ref`) as null. No parameter has one."""


_Loose.add_multi_constructor("!", lambda loader, suffix, node: None)

BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "fields": fields,
    "record": record,
    "key": key,
    "settings": settings,
    "commands": commands,
    "parameters": parameters,
    "spark-settings": spark_settings,
    "job-arguments": job_arguments,
    "failing-rules": failing_rules,
    "operator-policy": operator_rights.policy,
    "operator-rights": operator_rights.table,
    "watch-cost": watch_cost.table,
}


def filled(text: str) -> str:
    """A page's text with its blocks as the code writes them. Raises KeyError for a block without a generator."""
    return _BLOCK.sub(lambda block: f"{block[1]}{BLOCKS[block['name']]()}\n{block[3]}", text)


def stale(folder: Path = ROOT) -> list[Path]:
    """The pages whose blocks differ from what the code would write."""
    documents = [*sorted((folder / "docs").rglob("*.md")), folder / "README.md"]
    return [path for path in documents if path.exists() and filled(path.read_text("utf-8")) != path.read_text("utf-8")]


def main(arguments: list[str]) -> int:
    """Write what is stale; with `--check` only name it, and return 1 if there is any."""
    pages, template = stale(), bundle_template.stale(ROOT)
    if "--check" in arguments:
        for path in (*pages, *template):
            print(f"{path.relative_to(ROOT)} is stale: run `.venv/bin/python docs/generate.py`", file=sys.stderr)
        return 1 if pages or template else 0
    for path in pages:
        path.write_text(filled(path.read_text("utf-8")), "utf-8")
    bundle_template.write(ROOT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
