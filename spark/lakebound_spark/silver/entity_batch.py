"""A micro-batch for several tables: read, checked and reduced once, then each table takes its own keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import orjson
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.record.entity_rules import EntityRules
from lakebound_spark.platform.tables import hold
from lakebound_spark.reading.files import CheckedRecords
from lakebound_spark.reading.latest import latest_per_key, show_expired
from lakebound_spark.reading.one_pass import Use
from lakebound_spark.silver.entity_sql import entity_sql
from lakebound_spark.silver.micro_batch import Destination, Held, MergeResult, Read, bring_records, reduce_held

_ENTITY = "entity"
_RECORDS = "records"
_FROM_STREAM = "from_stream"


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where records go: the rules, the table of each in the same order, and ``staging``, a folder of this writer's."""

    source_table: str
    rules: EntityRules
    tables: tuple[Destination, ...]
    staging: str


@dataclass(frozen=True, slots=True)
class Brought:
    """What a micro-batch came to: for each table with a key in it its records and what was done; and the others."""

    tables: Mapping[str, tuple[CheckedRecords, MergeResult]] = field(default_factory=dict)
    unmatched_keys: int = 0
    unmatched_records: int = 0


def bring_entities(spark: SparkSession, read: Read[DataFrame], to: Destinations) -> tuple[CheckedRecords, Brought]:
    """Merge or append the records into their tables, one table after the other.

    Killed between two of them it leaves some tables ahead of the others, until the same records come again: in the
    former they change nothing, since both registers are maxima. Raises Misconfigured for a rule that looks at what is
    no key attribute.
    """
    checked, held = read(partial(_reduce, to))
    if held is None or checked.records is None or not checked.count:
        return checked, Brought()
    parts = held.groupBy(_ENTITY).agg(
        F.count("*").alias("keys"),
        F.sum(_RECORDS).alias(_RECORDS),
        F.sum(_FROM_STREAM).alias(_FROM_STREAM),
        F.min("keys").alias("example"),
    )
    found = {row[_ENTITY]: row.asDict() for row in parts.collect()}
    for part in found.values():
        to.rules.check_keys(_tags(part["example"]), to.source_table)
    brought = {}
    for number, table in enumerate(to.tables):
        if number in found:
            of_table = replace(
                checked,
                records=checked.records.where(_entity(to.rules) == number),
                count=found[number][_RECORDS],
                from_stream=found[number][_FROM_STREAM],
                refused=0,
                bad_files=(),
            )
            rows = held.where(F.col(_ENTITY) == number).drop(_ENTITY, _RECORDS, _FROM_STREAM)
            brought[table.target] = bring_records(spark, _reader(table, of_table, rows), table)
    none = found.get(None, {"keys": 0, _RECORDS: 0})
    return checked, Brought(brought, none["keys"], none[_RECORDS])


def _entity(rules: EntityRules) -> Column:
    return F.expr(entity_sql(rules, "keys"))


def _reduce(to: Destinations, records: DataFrame, registers: Collection[str]) -> DataFrame:
    """One row a key with the place of its table, held."""
    keeping = [number for number, table in enumerate(to.tables) if table.config.keep_expired]
    if keeping:
        records = show_expired(records, _entity(to.rules).isin(keeping))
    from_stream = F.count_if(F.col("origin") == "stream").alias(_FROM_STREAM)
    latest = latest_per_key(records, F.count("*").alias(_RECORDS), from_stream)
    return hold(latest.withColumn(_ENTITY, _entity(to.rules)), f"{to.staging}/latest")


def _reader(table: Destination, checked: CheckedRecords, rows: DataFrame) -> Read[Held]:
    def read(_: Use[Held]) -> tuple[CheckedRecords, Held]:
        return checked, reduce_held(table, rows, checked.registers)

    return read


def _tags(keys: str) -> dict[str, str]:
    """The key attributes with their types' tags, of their DynamoDB-JSON text."""
    parsed: dict[str, dict[str, Any]] = orjson.loads(keys)
    return {name: next(iter(tagged), "") for name, tagged in parsed.items()}
