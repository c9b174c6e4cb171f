"""The rules of `lakebound.record.entity_rules` as SQL over a record's `keys` or silver's `_key`."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from lakebound.record.entity_rules import Condition, EntityRules, Everything, Number, Text
from lakebound_spark.platform.sql_text import literal
from lakebound_spark.silver.casting import exact_decimal, floor_of
from lakebound_spark.silver.types import NUMBER, scale_of

_WHOLE_TOKEN: Final = rf"\A{NUMBER}\z"
_GREATEST: Final = "9" * 38
"""Stands for a number beyond 38 digits, which lies beyond every bound that a rule can have."""


def entity_sql(rules: EntityRules, keys: str) -> str:
    """SQL for the place, from 0, of the rule that takes the key attributes ``keys``; NULL where none does.

    | keys                                       | {sk: "PROFILE"}, {sk: "ORDER#*"} |
    |--------------------------------------------|----------------------------------|
    | {"pk":{"S":"USER#1"},"sk":{"S":"PROFILE"}} | 0                                |
    | {"pk":{"S":"USER#1"},"sk":{"S":"ORDER#7"}} | 1                                |
    | {"pk":{"S":"USER#1"},"sk":{"S":"CART"}}    | NULL                             |
    """
    place = {name: f"k{number}" for number, name in enumerate(rules.wanted_keys())}
    parsed = f"from_json({keys}, 'map<string,string>')"
    # Named once, or the text of the keys would be parsed once for each rule.
    members = [f"'{to}', from_json(m[{literal(name)}], 'struct<S:string,N:string>')" for name, to in place.items()]
    cases = []
    for number, rule in enumerate(rules.rules):
        conditions = [condition_sql(condition, f"k.{place[name]}") for name, condition in rule.conditions]
        cases.append(f"WHEN {' AND '.join(conditions) or 'true'} THEN {number}")
    which = f"CASE {' '.join(cases)} END"
    if not place:
        return which
    return f"transform(transform(array({parsed}), m -> named_struct({', '.join(members)})), k -> {which})[0]"


def condition_sql(condition: Condition, attribute: str) -> str:
    """SQL for whether a condition takes the attribute, a struct of `S` and `N`; NULL counts as no."""
    match condition:
        case Everything():
            return f"{attribute} IS NOT NULL"
        case Text(text, is_prefix):
            value = literal(text)
            return f"startswith({attribute}.S, {value})" if is_prefix else f"{attribute}.S = {value}"
        case Number():
            return _number(condition, f"{attribute}.N")


def _number(condition: Number, token: str) -> str:
    bounds = [bound for bound in (condition.least, condition.below) if bound is not None]
    places = max(map(scale_of, bounds))
    if condition.is_one:
        return f"{exact_decimal(token, 38, places)} = CAST('{bounds[0]:f}' AS DECIMAL(38,{places}))"
    # The greatest whole number of units of the last place that is not above it: enough to compare it with a bound.
    beyond = f"CAST(CASE WHEN {token} LIKE '-%' THEN '-{_GREATEST}' ELSE '{_GREATEST}' END AS DECIMAL(38,0))"
    units = f"coalesce({floor_of(token, places)}, {beyond})"
    compared = [f"{token} RLIKE {literal(_WHOLE_TOKEN)}"]
    if condition.least is not None:
        compared.append(f"{units} >= {_units(condition.least, places)}")
    if condition.below is not None:
        compared.append(f"{units} < {_units(condition.below, places)}")
    return " AND ".join(compared)


def _units(bound: Decimal, places: int) -> str:
    return f"CAST('{bound.scaleb(places):.0f}' AS DECIMAL(38,0))"
