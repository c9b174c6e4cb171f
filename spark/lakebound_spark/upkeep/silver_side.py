"""The rows of silver that a backfill run is compared with: of one table, or of all that its source table feeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.record.entity_rules import EntityRules
from lakebound_spark.platform.tables import require_silver
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig
from lakebound_spark.silver.entity_sql import entity_sql
from lakebound_spark.silver.key_sql import keys_sql

_COLUMNS: Final = ("_key", "_item", "_is_deleted", "_ttl_expired", "_stream_time_ms", "_base")
"""Silver's own columns, which every table has."""


@dataclass(frozen=True, slots=True)
class SilverSide:
    """The tables, and the rules of the keys that belong to one of them; no rules where one table has every key."""

    tables: tuple[str, ...]
    rules: EntityRules = field(default_factory=lambda: EntityRules(()))

    @classmethod
    def of(cls, target: str, config: MergeConfig | EntitiesConfig | None) -> SilverSide:
        """The target, or the tables that the configuration has in its place."""
        if isinstance(config, EntitiesConfig):
            return cls(tuple(config.tables), config.rules)
        return cls((target,))

    def rows(self, spark: SparkSession, read: Callable[[SparkSession, str], DataFrame]) -> DataFrame:
        """All rows, each table as ``read`` gives it. Raises Misconfigured where a table is missing."""
        for table in self.tables:
            require_silver(spark, table)
        return reduce(DataFrame.unionByName, [read(spark, table).select(*_COLUMNS) for table in self.tables])

    def of_tables(self, records: DataFrame) -> DataFrame:
        """The records, or rows with a `key`, that belong to a table. Others are in no silver and cannot be missing."""
        if not self.rules.rules:
            return records
        return records.where(F.expr(f"{entity_sql(self.rules, keys_sql('key'))} IS NOT NULL"))
