"""The keys of bronze that a history is about: all of them, or those of one of several silver tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.silver.config import EntitiesConfig
from lakebound_spark.silver.entity_sql import entity_sql


@dataclass(frozen=True, slots=True)
class KeySelection:
    """``condition`` is SQL over a record's `keys`; ``extent`` names it (`EntityRules.extent_of`), empty for all."""

    condition: str = "true"
    extent: tuple[str, ...] = ()

    @classmethod
    def of_table(cls, config: EntitiesConfig, target: str) -> KeySelection:
        """The keys that belong to one of the tables."""
        place = list(config.tables).index(target)
        return cls(f"{entity_sql(config.rules, 'keys')} <=> {place}", config.tables[target].extent)

    def of(self, records: DataFrame) -> DataFrame:
        """The records of these keys."""
        return records.where(F.expr(self.condition)) if self.extent else records


EVERY_KEY: Final = KeySelection()
