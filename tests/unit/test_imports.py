"""A test module is imported by no other: what several need stands in `tests/support` or in a module of their folder."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def imported_tests(source: str) -> set[str]:
    """The names of the test modules that this source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {part for name in names if name.startswith("tests.") for part in name.split(".") if part.startswith("test_")}


def test_no_module_imports_a_test_module() -> None:
    found = {path.relative_to(TESTS): imported_tests(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {str(path): names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_cli import FILES",
        "from tests.unit import test_cli",
        "import tests.unit.test_cli as cli",
        "def test_it():\n    from tests.unit.test_cli import FILES",
    ],
)
def test_red_control_an_import_of_a_test_module_is_found(source: str) -> None:
    assert imported_tests(source) == {"test_cli"}


def test_red_control_a_mark_away_from_its_folders_is_refused(request: pytest.FixtureRequest) -> None:
    """`make test` looks for what bears a mark in these folders alone."""
    request.node.add_marker("stack")
    collected = {"session": request.session, "config": request.config, "items": [request.node]}
    with pytest.raises(pytest.UsageError, match=r"is marked stack: add unit to HOMES of tests/run\.py"):
        request.config.hook.pytest_collection_modifyitems(**collected)
