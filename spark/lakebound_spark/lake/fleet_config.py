"""The YAML file of `run`: `tables`, each written out, and `lakes`, of which a table that is wrong stops no other.

A lake says once what its tables have in common; `{table}` in it stands for each table's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lakebound.errors import Misconfigured
from lakebound.yaml_file import load_yaml
from lakebound_spark.lake.lake_config import ENTRY, LakeTable, Places, read_table, read_tables
from lakebound_spark.lake.schedule import STEPS
from lakebound_spark.lake.section import Section

PLACEHOLDER: Final = "{table}"
_SHARED: Final = (*ENTRY, "aside", *STEPS)
"""What a lake may set for all of its tables."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A table that cannot run, and why."""

    table: str
    why: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """The tables of the file, and those that are left out."""

    tables: tuple[LakeTable, ...]
    left_out: tuple[LeftOut, ...] = ()
    has_lakes: bool = False
    """Whether a table that cannot run is left out, now or when its lease is asked for; else it stops the driver."""


def load_fleet(path: str) -> Fleet:
    """Read and check the file at ``path``. Raises Misconfigured for what concerns more than one table of `lakes`."""
    return load_yaml(path, parse_fleet, "the example in docs/SPARK.md")


def parse_fleet(document: Any) -> Fleet:
    """The fleet of an already parsed document: `tables`, of which each has to be right, and `lakes`.

    Raises Misconfigured for `tables`, for what a lake says of all its tables, and where no table is left.
    """
    section = Section.of("the file", document, ("tables", "lakes"))
    places, left_out = Places(), list[LeftOut]()
    lakes = section.values.get("lakes")
    tables = read_tables(section.values.get("tables"), places) if lakes is None or "tables" in section.values else []
    for number, lake in enumerate(_list("lakes", lakes) if lakes is not None else (), 1):
        place = f"lake {number}"
        shared = Section.of(place, lake, (*_SHARED, "tables")).values
        for name, entry in _entries(place, shared):
            try:
                tables.append(read_table(f"{place}, {name}", entry, places))
            except Misconfigured as error:
                left_out.append(LeftOut(name, str(error)))
    if not tables:
        raise Misconfigured(f"no table can run: {left_out[0].why}")
    return Fleet(tuple(tables), tuple(left_out), lakes is not None)


def _list(key: str, entries: Any) -> list[Any]:
    if not isinstance(entries, list) or not entries:
        raise Misconfigured(f"{key} is empty; give a list")
    return entries


def _entries(place: str, shared: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(name, entry) of each table of a lake, each entry as it would stand in `tables`."""
    common = {key: value for key, value in shared.items() if key != "tables"}
    found = []
    for number, own in enumerate(_list(f"{place}: tables", shared.get("tables")), 1):
        given = {"table": own} if isinstance(own, str) else own
        if not isinstance(given, dict):
            raise Misconfigured(f"{place}: table {number} is neither a name nor settings")
        name = str(given.get("table") or given.get("target") or f"table {number}")
        entry = _merged(common, {key: value for key, value in given.items() if key != "table"})
        # Without a name the placeholder stays, and is refused where a place with it is read.
        found.append((name, _named(entry, str(given["table"])) if given.get("table") else entry))
    return found


def _merged(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a table: its own ones before the lake's, those of a step one by one."""
    merged = {**common, **own}
    for step in STEPS:
        shared, given = common.get(step), own.get(step)
        if isinstance(shared, dict) and isinstance(given, dict):
            merged[step] = {**shared, **given}
    return merged


def _named(value: Any, table: str) -> Any:
    """The value with the table's name in place of the placeholder, also in lists and mappings."""
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, table)
    if isinstance(value, dict):
        return {key: _named(part, table) for key, part in value.items()}
    return [_named(part, table) for part in value] if isinstance(value, list) else value
