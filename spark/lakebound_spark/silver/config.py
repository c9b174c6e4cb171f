"""The merge job's YAML file, read strictly: a setting nobody knows is an error, never ignored."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lakebound.errors import Misconfigured
from lakebound_spark.silver.columns import DeclaredColumn, parse_columns
from lakebound_spark.silver.purge_horizon import Horizon, parse_horizon
from lakebound_spark.silver.table_options import TableOptions, parse_options

_SETTINGS = (
    *("source_table", "columns", "deletes", "purge_after_days", "assumed_days", "ttl_deletes", "history"),
    *("comment", "properties"),
)
HISTORIES = ("none", "scd2")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """What one silver table is made from.

    ``columns`` are the declared ones; with ``auto`` there are none, and top-level attributes become columns as they
    appear. ``horizon`` is set with `deletes: hard`. With ``keep_expired`` a row that TTL deleted stays visible.
    """

    source_table: str
    columns: tuple[DeclaredColumn, ...] = ()
    auto: bool = False
    horizon: Horizon | None = None
    keep_expired: bool = False
    history: str = "none"
    options: TableOptions = field(default_factory=TableOptions)


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
    return load_yaml(path, parse_config, "the example in the README")


def load_yaml(path: str, parse: Callable[[Any], T], example: str) -> T:
    """What ``parse`` makes of the document at ``path``. Raises Misconfigured, which names the file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise Misconfigured(f"cannot read the configuration {path}: {reason}") from None
    try:
        return parse(yaml.load(text, Loader=_StrictLoader))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" near line {where.line + 1}" if where is not None else ""
        raise Misconfigured(f"{path} is not YAML{line}; compare it with {example}") from None
    except Misconfigured as error:
        raise Misconfigured(f"{path}: {error}") from None


def parse_config(document: Any) -> MergeConfig:
    """The checked configuration of an already parsed document. Raises Misconfigured."""
    if not isinstance(document, dict):
        raise Misconfigured(f"the configuration needs the settings {', '.join(_SETTINGS)}")
    unknown = [str(name) for name in document if name not in _SETTINGS]
    if unknown:
        raise Misconfigured(f"unknown setting {', '.join(unknown)}; known are {', '.join(_SETTINGS)}")
    source_table = document.get("source_table")
    if not isinstance(source_table, str) or not source_table:
        raise Misconfigured("source_table is missing; set it to the DynamoDB table's name")
    history = document.get("history", "none")
    if history not in HISTORIES:
        raise Misconfigured(f"history: {history} is not known; use {' or '.join(HISTORIES)}")
    ttl_deletes = document.get("ttl_deletes", "delete")
    if ttl_deletes not in ("delete", "keep"):
        raise Misconfigured("ttl_deletes must be delete (a TTL delete is a delete) or keep (the row stays visible)")
    columns = document.get("columns")
    return MergeConfig(
        source_table=source_table,
        columns=() if columns == "auto" else parse_columns(columns),
        auto=columns == "auto",
        horizon=parse_horizon(document),
        keep_expired=ttl_deletes == "keep",
        history=history,
        options=parse_options(document),
    )
