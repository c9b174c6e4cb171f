"""The merge job's YAML file, read strictly: a setting nobody knows is an error, never ignored."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lakebound_spark.columns import DeclaredColumn, parse_column
from lakebound_spark.errors import Misconfigured
from lakebound_spark.schema import RESERVED_COLUMNS

_SETTINGS = ("source_table", "columns", "deletes", "history")
HISTORIES = ("none", "scd2")


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """What one silver table is made from: the source table's name and the declared columns."""

    source_table: str
    columns: tuple[DeclaredColumn, ...] = ()
    history: str = "none"


class _StrictLoader(yaml.SafeLoader):
    """YAML without silent surprises: a key written twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # the parent refuses it as YAML
            if key in seen:
                raise Misconfigured(f"{key!r} is written twice; keep one of them")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_config(path: str) -> MergeConfig:
    """Read and check the file at ``path``. Raises Misconfigured with what to change."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise Misconfigured(f"cannot read the configuration {path}: {reason}") from None
    try:
        return parse_config(yaml.load(text, Loader=_StrictLoader))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where is not None else ""
        raise Misconfigured(f"{path} is not YAML{line}; compare it with the example in the README") from None
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from None


def parse_config(document: Any) -> MergeConfig:
    """The checked configuration of an already parsed document. Raises Misconfigured."""
    if not isinstance(document, dict):
        raise Misconfigured(f"the configuration needs the settings {', '.join(_SETTINGS)}")
    unknown = [str(name) for name in document if name not in _SETTINGS and name != "purge_after_days"]
    if unknown:
        raise Misconfigured(f"unknown setting {', '.join(unknown)}; known are {', '.join(_SETTINGS)}")
    source_table = document.get("source_table")
    if not isinstance(source_table, str) or not source_table:
        raise Misconfigured("source_table is missing; set it to the DynamoDB table's name")
    if document.get("deletes", "soft") != "soft" or "purge_after_days" in document:
        raise Misconfigured("only `deletes: soft` exists in this version; tombstones are kept, the view hides them")
    history = document.get("history", "none")
    if history not in HISTORIES:
        raise Misconfigured(f"history: {history} is not known; use {' or '.join(HISTORIES)}")
    return MergeConfig(source_table, _parse_columns(document.get("columns")), history)


def _parse_columns(declared: Any) -> tuple[DeclaredColumn, ...]:
    if declared is None:
        return ()
    if not isinstance(declared, dict):
        raise Misconfigured("columns must be lines of `attribute: type`")
    names: dict[str, str] = {name.casefold(): name for name in RESERVED_COLUMNS}
    columns = []
    for written, declared_type in declared.items():
        if not isinstance(written, str) or not isinstance(declared_type, str):
            # YAML reads an unquoted `on`, `no` or `12` as a boolean or a number.
            raise Misconfigured(f"columns: put quotes around {written!r} and its type, both must be text")
        other = names.setdefault(written.casefold(), written)
        if other is not written:
            raise Misconfigured(
                f"columns: {written!r} and {other!r} are one column name to Spark, which ignores case"
                if other not in RESERVED_COLUMNS
                else f"columns: {written!r} is a name that silver or Delta's change feed uses itself"
            )
        columns.append(parse_column(written, declared_type))
    return tuple(columns)
