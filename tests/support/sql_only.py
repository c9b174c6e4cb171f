"""Whether the Spark jobs speak SQL and DataFrames only, which is all that Spark Connect and serverless compute take.

Part of `make check`: exit status 1 with a line for each use of the classic session's own parts.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

JOBS: Final = Path(__file__).parents[2] / "spark"
FORBIDDEN_MODULES: Final = ("py4j", "delta", "pyspark.rdd", "pyspark.context")
FORBIDDEN_NAMES: Final = frozenset(
    (
        *("_jvm", "_jsc", "_jdf", "_jsparkSession", "sparkContext", "_sc", "SparkContext", "RDD", "rdd", "DeltaTable"),
        *("persist", "unpersist", "cache", "checkpoint", "localCheckpoint", "cacheTable", "StorageLevel"),
    )
)
# A method of another object may have such a name, and an option or a field of our own be called `checkpoint`.
_METHODS_ONLY: Final = frozenset(("cache", "checkpoint"))


def uses(source: str, name: str) -> Iterator[str]:
    """Each forbidden use in a module's text, as `name:line: what`."""
    for node in ast.walk(ast.parse(source)):
        for found in _names(node):
            yield f"{name}:{getattr(node, 'lineno', 0)}: {found}"


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases if _is_forbidden_module(alias.name))
        case ast.ImportFrom(module=str(module), names=aliases):
            yield from [module] if _is_forbidden_module(module) else []
            yield from (alias.name for alias in aliases if alias.name in FORBIDDEN_NAMES - _METHODS_ONLY)
        case ast.Call(func=ast.Attribute(attr=name)) if name in _METHODS_ONLY:
            yield f".{name}()"
        case ast.Attribute(attr=name) if name in FORBIDDEN_NAMES - _METHODS_ONLY:
            yield f".{name}"
        # getattr(spark, "_jvm", None) is such a use too.
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            yield from [name] if name in FORBIDDEN_NAMES else []


def _is_forbidden_module(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN_MODULES)


def main() -> int:
    files = sorted(JOBS.rglob("*.py"))
    found = [use for file in files for use in uses(file.read_text(), str(file.relative_to(JOBS.parent)))]
    for use in found:
        print(f"{use}: neither Spark Connect nor serverless compute has it; say it in SQL or with DataFrames")
    if not found:
        print(f"SQL and DataFrames only: {len(files)} modules of the Spark jobs have no other use of Spark")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
