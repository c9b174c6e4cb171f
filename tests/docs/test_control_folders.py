"""FORMAT lists every folder beside the data that the code writes to or reads from, and no other."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "FORMAT.md"
SOURCES = sorted((ROOT / "src" / "lakebound").rglob("*.py"))
START = "_lakebound/{}/"


def shape(text: ast.JoinedStr) -> str:
    """An f-string's text, with `{}` for what is filled in."""
    return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in text.values)  # type: ignore[misc]


def folders_of(trees: list[ast.Module]) -> Iterator[str]:
    """The folders below `_lakebound/<table>/`: spelled out, or given by name to what puts that in front.

    That is the function which does so, and each class that hands a name of its own on to the function.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    makers = {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.JoinedStr) and shape(inner) == f"{START}{{}}/"
    }
    makers |= {
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef)
        for call in calls_of(ast.walk(node), makers)
        if isinstance(call.args[-1], ast.Attribute)
    }
    for node in nodes:
        if isinstance(node, ast.JoinedStr) and shape(node).startswith(START):
            yield from re.findall(r"^(\w+)", shape(node).removeprefix(START))
    for call in calls_of(nodes, makers):
        if not isinstance(call.args[-1], ast.Attribute):
            yield ast.literal_eval(call.args[-1])


def calls_of(nodes: Iterable[ast.AST], names: set[str]) -> Iterator[ast.Call]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def listed(page: str) -> set[str]:
    table = page.partition('<a id="control-folders"></a>')[2].partition("\n## ")[2].partition("\n## ")[0]
    return {name for name, *rest in re.findall(r"^\| `(\w+)/` " + r"\| ([^|]+) " * 4 + r"\|$", table, re.MULTILINE)}


def test_every_control_folder_is_listed_with_who_writes_it_who_reads_it_and_how_long_it_lives() -> None:
    found = set(folders_of([ast.parse(path.read_text("utf-8")) for path in SOURCES]))
    assert "gaps" in found
    assert listed(PAGE.read_text("utf-8")) == found


def test_a_folder_that_is_not_listed_would_be_seen() -> None:
    more = 'def place(table, name):\n    return f"_lakebound/{table}/{name}/"\n\nKEY = place("cars", "drafts") + "a"\n'
    assert {*folders_of([ast.parse(more)])} == {"drafts"}
    assert {*folders_of([ast.parse('key = f"_lakebound/{table}/notes/{name}.json"')])} == {"notes"}
    assert "gaps" not in listed(re.sub(r"(?m)^\| `gaps/`.*\n", "", PAGE.read_text("utf-8")))
