"""No text that a person reads names a path of the clone: who installed the wheel has none of them.

Pages (`docs/…`) may be named, for they are read elsewhere too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lakebound.adapters.stack_files import _Loose
from tests.support.command_verbs import VERBS

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    path for folder in ("src/lakebound", "spark/lakebound_spark") for path in sorted((ROOT / folder).rglob("*.py"))
]
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)+")


def paths_of_the_clone(text: str) -> list[str]:
    found = (one.rstrip(".") for one in PATH.findall(text))
    return [one for one in found if not one.startswith("docs/") and (ROOT / one).exists()]


def texts(source: str) -> Iterator[str]:
    """The texts of a module without those that only its readers see: docstrings, and texts beside a definition."""
    tree = ast.parse(source)
    unseen = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for one in ast.walk(tree):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in unseen:
            yield one.value


def strings(document: object) -> Iterator[str]:
    """Every text in a YAML document."""
    if isinstance(document, str):
        yield document
    for inner in document.items() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from strings(list(inner) if isinstance(inner, tuple) else inner)


def test_no_message_of_a_program_names_a_path_of_the_clone() -> None:
    named = {str(path.relative_to(ROOT)): paths_of_the_clone("\n".join(texts(path.read_text()))) for path in MODULES}
    assert {module: paths for module, paths in named.items() if paths} == {}


def test_no_help_names_a_path_of_the_clone() -> None:
    helps = [text for one in VERBS.values() for text in (one.help, *(option.help for option in one.params))]
    assert len(helps) > 100
    assert paths_of_the_clone("\n".join(text or "" for text in helps)) == []


def test_no_output_parameter_or_alarm_of_the_stack_names_a_path_of_the_clone() -> None:
    document = yaml.load((ROOT / "template.yaml").read_text("utf-8"), _Loose)
    shown = [document["Description"], *strings(document["Outputs"]), *strings(document["Parameters"])]
    alarms = (one.get("Properties", {}).get("AlarmDescription") for one in document["Resources"].values())
    shown += [text for one in alarms for text in strings(one)]
    assert len(shown) > 100
    assert paths_of_the_clone("\n".join(shown)) == []


@pytest.mark.parametrize(
    "source",
    ['say("start spark/jobs/run.py")', 'HINT = f"{x}: see functions/flusher/app.py."', 'print("in tests/unit now")'],
)
def test_red_control_such_a_text_is_found(source: str) -> None:
    assert paths_of_the_clone("\n".join(texts(source)))
    assert not paths_of_the_clone("\n".join(texts(f"'''{source}'''")))
