"""The silver table itself: how it is made, what it was made from, and how it gets a column more."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.errors import AnalysisException, IllegalArgumentException, UnsupportedOperationException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import DataType

from lakebound.errors import Misconfigured
from lakebound.record.column_names import folded, unusable
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.spark_compat import condition_of
from lakebound_spark.platform.sql_text import quoted, update_clause
from lakebound_spark.platform.tables import (
    column_sql,
    columns_sql,
    create_table,
    encode_property,
    exists,
    merge_into,
    properties,
    read_table,
    retry_on_conflict,
    set_properties,
    table_detail,
    table_sql,
)
from lakebound_spark.reading.schema import RESCUED, SILVER
from lakebound_spark.silver.auto_columns import NAME_MAPPING, add_columns, column_comment, is_attribute_column
from lakebound_spark.silver.columns import COLUMNS_PROPERTY, DeclaredColumn
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.key_sql import keys_sql
from lakebound_spark.silver.rows import typed_rows
from lakebound_spark.silver.table_options import apply_options

_SOURCE_TABLE = "lakebound.source_table"
_TTL_DELETES = "lakebound.ttl_deletes"
_EXTENT = "lakebound.entity_rules"
"""Property of silver: which keys of the source are in it, absent where all are."""

AUTO = "auto"


def prepare_target(spark: SparkSession, target: str, config: MergeConfig, refusals: Refusals | None = None) -> str:
    """Make the silver table unless it is there. Returns the Delta table's id.

    A column that the configuration has and the table lacks is added and filled for the rows that are there, from
    their items. Raises Misconfigured when the table was made otherwise: from another source table, or with a column
    that the configuration lacks or reads in another way.
    """
    if not exists(spark, target):
        _create_table(spark, target, config)
    made_from = require_own(spark, target, config)
    _require_equal(target, "rules of its keys", extent_of(made_from), list(config.extent))
    _require_equal(target, "ttl_deletes", made_from.get(_TTL_DELETES, "delete"), _ttl_deletes(config))
    there, wanted = json.loads(made_from[COLUMNS_PROPERTY]), _columns_description(config)
    if isinstance(there, dict) and isinstance(wanted, dict) and there != wanted and there.items() <= wanted.items():
        retry_on_conflict(
            lambda: _add_declared_columns(spark, target, config, [c for c in config.columns if c.name not in there])
        )
    else:
        _require_equal(target, "columns", there, wanted)
    _check_columns(spark, target, config)
    apply_options(spark, target, config.options, refusals or Refusals())
    return str(table_detail(spark, target)["id"])


def require_own(spark: SparkSession, target: str, config: MergeConfig) -> dict[str, str]:
    """The properties of the table. Raises Misconfigured where it is no silver of this source table."""
    made_from = properties(spark, target)
    if _SOURCE_TABLE not in made_from or COLUMNS_PROPERTY not in made_from:
        raise Misconfigured(f"{target} is a Delta table that this job did not make; name another target")
    _require_equal(target, "source_table", made_from[_SOURCE_TABLE], config.source_table)
    return made_from


def extent_of(made_from: Mapping[str, str]) -> list[str]:
    """Which keys of the source a table with these properties has (`EntityRules.extent_of`); nothing for all of them."""
    return list(json.loads(made_from.get(_EXTENT, "[]")))


def extent_property(extent: Sequence[str]) -> dict[str, str]:
    """The property from which `extent_of` reads. A table of all keys does without it."""
    return {_EXTENT: encode_property(json.dumps(list(extent)))}


def _require_equal(target: str, name: str, there: Any, wanted: Any) -> None:
    if there != wanted:
        raise Misconfigured(
            f"{target} was made with {name} {_description_text(there)}, the configuration says "
            f"{_description_text(wanted)}; merge into a new target with a new checkpoint"
        )


def _description_text(described: Any) -> str:
    return described if isinstance(described, str) else json.dumps(described, sort_keys=True)


def _columns_description(config: MergeConfig) -> Any:
    return AUTO if config.auto else {column.name: column.description for column in config.columns}


def _ttl_deletes(config: MergeConfig) -> str:
    return "keep" if config.keep_expired else "delete"


def _check_columns(spark: SparkSession, target: str, config: MergeConfig) -> None:
    wanted = {"_key", *SILVER.fieldNames(), *(c.name for c in config.columns), *([RESCUED] if config.auto else [])}
    there = read_table(spark, target).columns
    lost = wanted - set(there)
    if lost:
        raise Misconfigured(f"{target} has lost its columns {', '.join(sorted(lost))}; merge into a new target")
    # An older version of the job made them from attributes, or a person added one: then no MERGE would pass.
    for name in there:
        if reason := unusable(name):
            raise Misconfigured(
                f"{target} has a column {name!r}, which {reason}; drop it (ALTER TABLE {table_sql(target)} DROP COLUMN "
                f"{quoted(name)}; the whole item stays in _item), or merge into a new target"
            )


def _create_table(spark: SparkSession, target: str, config: MergeConfig) -> None:
    columns = [column_sql("_key", "STRING NOT NULL")]
    columns += [column_sql(column.name, column.sql_type, column_comment(column)) for column in config.columns]
    columns += columns_sql(SILVER)
    if config.auto:
        columns.append(column_sql(RESCUED, "STRING"))
    # Without deletion vectors a MERGE copies every row of a file in which a key matched, even when the guard
    # then changes none: a replay would rewrite the table. With them it makes no commit at all.
    features = {"delta.enableChangeDataFeed": "true", "delta.enableDeletionVectors": "true"}
    if config.auto or any(column.needs_mapping for column in config.columns):
        features |= NAME_MAPPING
    described = json.dumps(_columns_description(config), sort_keys=True)
    made_from = {_SOURCE_TABLE: config.source_table, COLUMNS_PROPERTY: described, _TTL_DELETES: _ttl_deletes(config)}
    made_from = {name: encode_property(value) for name, value in made_from.items()}
    if config.extent:
        made_from |= extent_property(config.extent)
    try:
        # OPTIMIZE then sorts rows by key, so that a MERGE of neighbouring keys reads few files.
        properties = features | dict(config.options.properties) | made_from
        create_table(spark, target, columns, "CLUSTER BY (_key)", properties)
    except (AnalysisException, IllegalArgumentException, UnsupportedOperationException) as error:
        raise Misconfigured(f"cannot create the target {target}: {condition_of(error)}") from None


def _add_declared_columns(
    spark: SparkSession, target: str, config: MergeConfig, columns: Sequence[DeclaredColumn]
) -> None:
    """Add the columns, fill them, and only then write into the properties that the table has them.

    A run that is killed between leaves columns that bear our comment and may be half filled: the next one fills them
    again. A column without the comment was added by a person, who is asked to choose.
    """
    fields = {folded(field.name): field for field in read_table(spark, target).schema.fields}
    for column in columns:
        there = fields.get(folded(column.name))
        if there is not None and not (is_attribute_column(there) and there.dataType == _type_of(spark, column)):
            raise Misconfigured(
                f"{target} has a column {there.name} already that this job did not make as {column.sql_type}; "
                f"give {column.name} another name with `name:`, or drop that column"
            )
    if absent := [column for column in columns if folded(column.name) not in fields]:
        add_columns(spark, target, absent)
    _fill_columns(spark, target, columns)
    described = json.dumps(_columns_description(config), sort_keys=True)
    set_properties(spark, target, {COLUMNS_PROPERTY: encode_property(described)})


def _type_of(spark: SparkSession, column: DeclaredColumn) -> DataType:
    return spark.sql(f"SELECT CAST(NULL AS {column.sql_type})").schema.fields[0].dataType


def _fill_columns(spark: SparkSession, target: str, columns: Sequence[DeclaredColumn]) -> None:
    """One MERGE of the table with itself: each row's new columns out of its item, a tombstone's out of its key.

    Rows in which all of them are NULL are left alone, so the change feed shows those that gained something.
    """
    typed = typed_rows(stored_rows(read_table(spark, target)), columns, ("stream",))
    gained = " OR ".join(f"stream_columns.c{number} IS NOT NULL" for number in range(len(columns)))
    values = {column.name: f"s.stream_columns.c{number}" for number, column in enumerate(columns)}
    source = typed.where(gained).select("key", "stream_columns")
    merge_into(target, source, "t._key = s.key", f"WHEN MATCHED THEN {update_clause(values)}")


def stored_rows(silver: DataFrame) -> DataFrame:
    """Silver's rows in the shape of `latest_per_key`, each with its visible item as the stream's image."""
    nothing = F.lit(None).cast("string")
    return silver.select(
        F.col("_key").alias("key"),
        F.when(F.col("_item").isNull(), F.expr(keys_sql("_key"))).alias("keys"),
        F.lit("stored").alias("version"),
        F.col("_item").alias("stream_image"),
        F.lit("").alias("base"),
        nothing.alias("base_image"),
    )
