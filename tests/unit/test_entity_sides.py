"""verify over several tables: together they are the source, and a key in the wrong table or in two of them differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lakebound.cli.entity_tables import load_rules
from lakebound.cli.trace import placement_text
from lakebound.errors import Misconfigured
from lakebound.operate.entity_sides import MatchedSource, SeveralTables
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow, Page
from lakebound.operate.verify import Patience, Report, verify
from lakebound.record.attributes import Image
from lakebound.record.entity_rules import EntityRules, parse_rules

RULES = parse_rules([("users", {"id": "U*"}), ("orders", {"id": "O*"})])
WITH_REST = parse_rules([("users", {"id": "U*"}), ("orders", {"id": "O*"}), ("others", "rest")])


class Clock:
    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms

    def sleep(self, seconds: float) -> None:
        self.ms += int(seconds * 1000)


@dataclass
class Source:
    names: Sequence[str]
    key_names: Sequence[str] = ("id",)

    def pages(self, parts: Sequence[int], of: int) -> Iterator[Page]:
        yield from (Page(part, [{"id": {"S": name}} for name in self.names[part::of]], True) for part in parts)

    def read(self, keys: Sequence[Image]) -> Iterator[Image]:
        yield from [dict(key) for key in keys if key["id"]["S"] in self.names]


@dataclass
class Lake:
    names: Sequence[str]
    gone: Sequence[str] = field(default_factory=tuple)

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        yield from (LakeRow(f"id=S:{name}", json.dumps({"id": {"S": name}})) for name in self.names)
        yield from (LakeRow(f"id=S:{name}", None) for name in self.gone)

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        yield from [row for row in self.rows() if row.key in keys]


def compared(source: Source | MatchedSource, rules: EntityRules = RULES, **tables: Lake) -> Report:
    return verify(source, SeveralTables(rules, tables), Clock(), patience=Patience(lag=10, limit=100))


def test_all_tables_together_are_the_source() -> None:
    report = compared(Source(["U1", "U2", "O1"]), users=Lake(["U1", "U2"], gone=["U3"]), orders=Lake(["O1"]))
    assert report.is_equal
    assert report.keys == 3


@pytest.mark.parametrize(
    ("users", "orders", "missing", "ghost", "different"),
    [
        (Lake(["U1"]), Lake([]), ["id=S:O1"], [], []),
        (Lake(["U1", "U9"]), Lake(["O1"]), [], ["id=S:U9"], []),
        (Lake([]), Lake(["O1", "U1"]), [], [], ["id=S:U1"]),
        (Lake(["U1"]), Lake(["O1", "U1"]), [], [], ["id=S:U1"]),
    ],
    ids=["missing", "ghost", "in another table", "in two tables"],
)
def test_what_is_wrong_with_a_table_is_named(
    users: Lake, orders: Lake, missing: list[str], ghost: list[str], different: list[str]
) -> None:
    report = compared(Source(["U1", "O1"]), users=users, orders=orders)
    assert (list(report.missing), list(report.ghost), list(report.different)) == (missing, ghost, different)


def test_items_of_no_table_are_left_out_and_counted() -> None:
    source = MatchedSource(Source(["U1", "X1", "X2"]), RULES)
    assert compared(source, users=Lake(["U1"]), orders=Lake([])).is_equal
    assert source.left_out == 2
    rest = MatchedSource(Source(["U1", "X1"]), WITH_REST)
    assert not compared(rest, WITH_REST, users=Lake(["U1"]), orders=Lake([]), others=Lake([])).is_equal
    assert rest.left_out == 0


@pytest.mark.parametrize(
    ("rules", "key", "said"),
    [
        (RULES, "id=S:U1", 'table: users, whose where {id: "U*"} takes the key'),
        (RULES, "id=S:O1", 'table: orders, whose where {id: "O*"} takes the key; the rule before it does not'),
        (WITH_REST, "id=S:X", "table: others, the rest, since no other `where` takes the key"),
        (RULES, "id=S:X", "table: none, since no `where` takes the key"),
    ],
)
def test_trace_tells_the_table_of_a_key_and_why(rules: EntityRules, key: str, said: str) -> None:
    assert placement_text(rules, key) == said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source_table: a", "has no `tables`"),
        ("tables: {a: 1}", "has no `tables`"),
        ("tables: {a: {where: 1}}", r"app\.yaml: a: where is missing"),
        ("{", "is not YAML"),
    ],
)
def test_a_file_without_rules_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "app.yaml"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=says):
        load_rules(path)
    with pytest.raises(Misconfigured, match="cannot read"):
        load_rules(tmp_path / "none.yaml")


def test_the_rules_of_a_file_are_its_tables_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "app.yaml"
    path.write_text("source_table: a\ntables: {r: {where: rest}, u: {where: {id: 'U*'}, columns: auto}}")
    assert [rule.table for rule in load_rules(path).rules] == ["u", "r"]
