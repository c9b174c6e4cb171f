"""The two sides of `verify` where several silver tables hold what one source table holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lakebound.operate.run_merge import MergedTable, Registers
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, LakeTable, Page, SourceTable
from lakebound.record.attributes import Image, parse_key
from lakebound.record.entity_rules import EntityRules

ASTRAY = "astray"
"""Stands in place of the item of a row that is in another table than its rule names: no item, so it differs."""


@dataclass(frozen=True, slots=True)
class SeveralTables:
    """Port LakeTable over all tables together. A key in two of them is two rows, which `verify` takes for no item."""

    rules: EntityRules
    tables: Mapping[str, LakeTable]

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        """Every row selected of every table, each table of one version."""
        for name, table in self.tables.items():
            yield from self._checked(name, table.rows(selection))

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the tables' newest versions, wherever they are."""
        for name, table in self.tables.items():
            yield from self._checked(name, table.read(keys))

    def _checked(self, name: str, rows: Iterator[LakeRow]) -> Iterator[LakeRow]:
        for row in rows:
            rule = self.rules.rule_of(parse_key(row.key))
            yield row if rule is not None and rule.table == name else replace(row, item=ASTRAY)


@dataclass(frozen=True, slots=True)
class SeveralMerged:
    """Port MergedTable over all tables together; ``bad_files`` are those of the merge job, which reads for all."""

    tables: Sequence[MergedTable]
    bad_files: frozenset[str]

    def registers(self) -> Iterator[Registers]:
        """See MergedTable."""
        for table in self.tables:
            yield from table.registers()

    def left_out(self) -> frozenset[str]:
        """See MergedTable."""
        return self.bad_files


@dataclass(slots=True)
class MatchedSource:
    """Port SourceTable: the items whose key belongs to one of the tables. ``left_out`` counts the others."""

    source: SourceTable
    rules: EntityRules
    left_out: int = 0

    @property
    def key_names(self) -> Sequence[str]:
        return self.source.key_names

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        for page in self.source.pages(parts, of):
            items = [item for item in page.items if self._belongs(item)]
            self.left_out += len(page.items) - len(items)
            yield page._replace(items=items)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        return filter(self._belongs, self.source.read(keys))

    def _belongs(self, item: Image) -> bool:
        return self.rules.rule_of({name: item[name] for name in self.key_names}) is not None
