"""The comment and the table properties of silver that a person asks for, beside those that the job needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.refusals import PROPERTIES, Refusals
from lakebound_spark.platform.spark_compat import condition_of, server_errors
from lakebound_spark.platform.sql_text import literal
from lakebound_spark.platform.tables import (
    REDACTED,
    properties,
    retry_on_conflict,
    set_properties,
    table_detail,
    table_sql,
)

_OURS: Final = "lakebound."
_SPARKS: Final = frozenset(("comment", "external", "is_managed_location", "location", "owner", "provider"))
"""Properties that Spark keeps to itself."""
_NEEDED: Final[Mapping[str, tuple[str, str]]] = {
    "delta.enablechangedatafeed": ("true", "readers of the change feed rely on it"),
    "delta.appendonly": ("false", "the job updates rows"),
    "delta.columnmapping.mode": ("name", "columns of any name need it, and none can be taken back"),
}
"""The one value that a property may have, by its name in lower case, and why."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What is asked for; a property that is taken out of the configuration stays on the table."""

    comment: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def parse_options(document: Mapping[str, Any]) -> TableOptions:
    """The settings `comment` and `properties`. Raises Misconfigured, also for a property that the job depends on."""
    comment, asked = document.get("comment", ""), document.get("properties", {})
    if not isinstance(comment, str):
        raise Misconfigured("comment must be a text")
    if not isinstance(asked, dict):
        raise Misconfigured("properties must be a mapping of names to values")
    return TableOptions(comment, {_name(name): _value(_name(name), value) for name, value in asked.items()})


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise Misconfigured(f"properties: {name!r} is no name; write it in quotes")
    if name.lower().startswith(_OURS):
        raise Misconfigured(f"properties: {name} is one of the job's own; take it out")
    if name.lower() in _SPARKS:
        advice = "; use the setting `comment`" if name.lower() == "comment" else "; take it out"
        raise Misconfigured(f"properties: {name} belongs to Spark{advice}")
    return name


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str | int):
        raise Misconfigured(f"properties: {name} needs a text, a whole number, true or false")
    needed, why = _NEEDED.get(name.lower(), (None, ""))
    if needed is not None and str(value).lower() != needed:
        raise Misconfigured(f"properties: {name} can only be {needed}: {why}")
    return str(value)


_UNREADABLE: Final = "java.lang.IllegalArgumentException"


def apply_options(spark: SparkSession, target: str, options: TableOptions, refusals: Refusals) -> None:
    """Give the table what it lacks of ``options``; nothing is written where it has all.

    Raises Misconfigured with Delta's condition for a property that Delta does not take.
    """
    there = properties(spark, target)
    # A value that Spark hides, since its name says `token`, cannot be compared. It is taken for the one asked for.
    missing = {name: value for name, value in options.properties.items() if there.get(name) not in (value, REDACTED)}
    if missing:
        instead = f"{', '.join(sorted(missing))} of the configuration are not set"
        refusals.attempt(PROPERTIES, target, instead, lambda: _set(spark, target, missing))
    if options.comment and table_detail(spark, target)["description"] != options.comment:
        statement = f"COMMENT ON TABLE {table_sql(target)} IS {literal(options.comment)}"
        instead = "its comment is not the configuration's"
        refusals.attempt(PROPERTIES, target, instead, lambda: retry_on_conflict(lambda: spark.sql(statement)))


def _set(spark: SparkSession, target: str, values: Mapping[str, str]) -> None:
    try:
        set_properties(spark, target, values)
    except Exception as error:
        # Delta 3.3 has no condition for a value that it cannot read.
        names = [condition_of(error) or "", *(name for name, _ in server_errors(error))]
        condition = next((name for name in names if name.startswith("DELTA_") or name == _UNREADABLE), None)
        if condition is None:
            raise
        raise Misconfigured(
            f"{target} does not take the properties {', '.join(sorted(values))} of the configuration: {condition}"
        ) from None
