"""The merge job's YAML file, read strictly: a setting nobody knows is an error, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound.record.entity_rules import EntityRules, parse_rules
from lakebound.yaml_file import load_yaml
from lakebound_spark.platform.tables import absolute_table
from lakebound_spark.silver.columns import DeclaredColumn, parse_columns
from lakebound_spark.silver.purge_horizon import Horizon, parse_horizon
from lakebound_spark.silver.table_options import TableOptions, parse_options

_SETTINGS = (
    *("source_table", "columns", "deletes", "purge_after_days", "assumed_days", "ttl_deletes", "history"),
    *("comment", "properties"),
)
_OF_A_TABLE: Final = tuple(name for name in _SETTINGS if name != "source_table")
_OF_ALL_TABLES: Final = ("source_table", "tables")
HISTORIES = ("none", "scd2")


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
    extent: tuple[str, ...] = ()
    """What decides which keys the table gets, where others take keys of the same source (`EntityRules.extent_of`)."""


@dataclass(frozen=True, slots=True)
class EntitiesConfig:
    """Several silver tables from one source table: the rules of who gets which key, and each table's configuration."""

    source_table: str
    rules: EntityRules
    tables: Mapping[str, MergeConfig]
    """By the table's path or name, in the order of the rules."""


def of_table(config: MergeConfig | EntitiesConfig, path: str, target: str) -> MergeConfig:
    """The configuration of ``target`` where that at ``path`` has several. Raises Misconfigured where it is none."""
    if isinstance(config, MergeConfig):
        return config
    if absolute_table(target) not in config.tables:
        raise Misconfigured(f"{path} has several tables: {', '.join(config.tables)}; name one of them as --target")
    return config.tables[absolute_table(target)]


def load_any_config(path: str) -> MergeConfig | EntitiesConfig:
    """Read and check the file at ``path``, which is about one table or several. Raises Misconfigured."""
    return load_yaml(path, parse_any_config, "the example in the README")


def parse_any_config(document: Any) -> MergeConfig | EntitiesConfig:
    """The checked configuration of an already parsed document. Raises Misconfigured."""
    if isinstance(document, dict) and "tables" in document:
        return _parse_entities(document)
    return parse_config(document)


def _parse_entities(document: Mapping[Any, Any]) -> EntitiesConfig:
    unknown = [str(name) for name in document if name not in _OF_ALL_TABLES]
    if unknown:
        advice = "; give it to each table that it is for" if set(unknown) <= set(_OF_A_TABLE) else ""
        raise Misconfigured(f"unknown setting {', '.join(unknown)} beside tables{advice}")
    tables = document["tables"]
    if not isinstance(tables, dict) or not tables:
        raise Misconfigured("tables must be a mapping of a table's name or path to its `where`, columns and the rest")
    wheres, configs = [], dict[str, MergeConfig]()
    for name, settings in tables.items():
        if not isinstance(name, str) or not isinstance(settings, dict):
            raise Misconfigured(f"tables: {name!r} must be a table's name or path with its settings, `where` first")
        if "source_table" in settings:
            raise Misconfigured(f"{name}: source_table stands above tables, once for all of them")
        own = {key: value for key, value in settings.items() if key != "where"}
        target = absolute_table(name)
        if target in configs:
            raise Misconfigured(f"tables: {name} is written twice")
        try:
            configs[target] = parse_config({"source_table": document.get("source_table"), **own})
        except Misconfigured as error:
            raise Misconfigured(f"{name}: {error}") from None
        wheres.append((target, settings.get("where")))
    rules = parse_rules(wheres)
    ordered = {
        rule.table: replace(configs[rule.table], extent=tuple(rules.extent_of(rule.table))) for rule in rules.rules
    }
    return EntitiesConfig(str(document["source_table"]), rules, ordered)


def parse_config(document: Any) -> MergeConfig:
    """The checked configuration of an already parsed document. Raises Misconfigured."""
    if not isinstance(document, dict):
        more = ", ".join(_SETTINGS[2:])
        raise Misconfigured(f"there are no settings; it needs source_table and columns, and may have {more}")
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
