"""Each story of ORDERING.md and GUARANTEES.md as one key, all of them side by side in one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from lakebound_spark.platform.spark_compat import PRESERVES_JSON_TEXT
from tests.spark.silver import Silver
from tests.support.independent_writer import LABEL, Record, base, item, stream, version, write_lines, write_records

N38 = "12345678901234567890123456789012345678"
MICRO_BATCHES = 3
T = 1_357_000_000_000
GONE = None

COLUMNS = {
    "id": "string",
    "v": "int",
    "big": "decimal(38,0)",
    "name": "string",
    r"a\.b c": "string",
    "m.deep": "bigint",
}

Story = list[list[Record]]


def v(key: str, number: int) -> dict[str, Any]:
    return item(key, v={"N": str(number)})


def stories() -> Iterator[tuple[str, Story, int | None]]:
    """Name (and key), what each micro-batch delivers, and the `v` that silver must show at the end (None: gone)."""
    k = "insert-modify-remove"
    yield k, [[stream(k, 1, v(k, 1))], [stream(k, 2, v(k, 2))], [stream(k, 3, GONE)]], None
    k = "reordered-across-micro-batches"
    yield k, [[stream(k, 3, v(k, 3))], [stream(k, 1, v(k, 1))], [stream(k, 2, GONE)]], 3
    k = "same-second-newest-first"
    yield k, [[stream(k, 2, v(k, 2), time_ms=T)], [stream(k, 1, v(k, 1), time_ms=T)]], 2
    k = "stamped-backwards"
    yield k, [[stream(k, 1, v(k, 1), time_ms=T + 1000)], [stream(k, 2, GONE, time_ms=T)]], None
    k = "remove-then-insert-in-one-micro-batch"
    yield k, [[stream(k, 1, v(k, 1))], [stream(k, 3, v(k, 3)), stream(k, 2, GONE)]], 3
    k = "insert-then-remove-in-one-micro-batch"
    yield k, [[stream(k, 2, GONE), stream(k, 1, v(k, 1))]], None
    k = "late-upsert-after-delete"
    yield k, [[stream(k, 1, v(k, 1))], [stream(k, 3, GONE)], [stream(k, 2, v(k, 2))]], None
    k = "ten-versions-in-one-micro-batch"
    yield k, [[stream(k, n, v(k, n)) for n in (4, 9, 1, 7, 3, 10, 2, 8, 6, 5)]], 10
    k = "only-a-delete-of-an-unknown-key"
    yield k, [[stream(k, 1, GONE)]], None
    k = "sequence-numbers-of-other-lengths"
    yield k, [[stream(k, "9" * 21, v(k, 1))], [stream(k, "1" + "0" * 39, v(k, 2))], [stream(k, "9" * 22, v(k, 3))]], 2
    k = "stream-re-created-with-lower-numbers"
    yield k, [[stream(k, 900, v(k, 1))], [stream(k, 5, v(k, 2), version=version(5, "2013-06-01T00:00:00.000"))]], 2
    k = "scan-before-any-stream-record"
    yield k, [[base(k, T, v(k, 1))]], 1
    k = "scan-repairs-a-lost-change"
    yield k, [[stream(k, 1, v(k, 1), time_ms=T)], [base(k, T + 120_000, v(k, 2))]], 2
    k = "late-change-after-a-repair-that-contains-it"
    yield k, [[base(k, T + 120_000, v(k, 2))], [stream(k, 1, v(k, 1), time_ms=T)]], 2
    k = "change-within-the-margin-of-a-scan"
    yield k, [[base(k, T, v(k, 1))], [stream(k, 1, v(k, 2), time_ms=T + 59_000)]], 2
    k = "tie-goes-to-the-stream"
    yield k, [[base(k, T, v(k, 1)), stream(k, 1, v(k, 2), time_ms=T)]], 2
    k = "old-scan-after-newer-change"
    yield k, [[stream(k, 1, v(k, 2), time_ms=T + 61_000)], [base(k, T, v(k, 1))]], 2
    k = "sweep-removes-a-ghost"
    yield k, [[stream(k, 1, v(k, 1), time_ms=T)], [base(k, T + 120_000, GONE, origin="sweep")]], None
    k = "sweep-before-the-image-of-its-own-run"
    yield k, [[base(k, T, GONE, origin="sweep")], [base(k, T, v(k, 1))]], 1
    k = "insert-after-a-sweep"
    yield k, [[base(k, T, GONE, origin="sweep")], [stream(k, 1, v(k, 1), time_ms=T + 5000)]], 1
    k = "older-run-after-a-newer-one"
    yield k, [[base(k, T + 500, v(k, 2), run="b")], [base(k, T, v(k, 1), run="c")]], 2
    k = "both-registers-in-one-micro-batch-then-a-newer-label"
    yield (k, [[stream(k, 1, v(k, 1), time_ms=T), base(k, T - 5, v(k, 0))], [base(k, T + 99, v(k, 2))]], 2)
    k = "delivered-twice-and-again"
    yield k, [[stream(k, 1, v(k, 1)), stream(k, 1, v(k, 1))], [stream(k, 1, v(k, 1))], [stream(k, 1, v(k, 1))]], 1


EXPECTED = {f"id=S:{name}": shown for name, _, shown in stories()}

# Lines whose bytes matter: (key, line of NDJSON, the image text that silver must keep as it stands).
SPACES = '{ "id" : {"S": "spaces"},  "v":{"N":"1"} }'
ESCAPES = r'{"id":{"S":"escapes"},"t":{"S":"é\u00e9\u2028\ud83d\ude00\\\"\u0000"}}'
NUMBERS = '{"id":{"S":"numbers"},"big":{"N":"' + N38 + '"},"v":{"N":"1.50"},"e":{"N":"1E+30"},"bare":1.50}'
TYPES = (
    '{"id":{"S":"types"},"ss":{"SS":["b","a"]},"ns":{"NS":["1","1E+2","0.5"]},"bs":{"BS":["AA==","/w=="]},'
    '"b":{"B":"AP8="},"nul":{"NULL":true},"no":{"BOOL":false},"l":{"L":[{"L":[]},{"M":{}}]},"m":{"M":{"deep":{"N":"7"}}}}'
)
CASES = '{"id":{"S":"cases"},"Name":{"S":"upper"},"name":{"S":"lower"},"NAME":{"S":"shout"},"a.b c":{"S":"dotted"}}'
TEXTS = {"spaces": SPACES, "escapes": ESCAPES, "numbers": NUMBERS, "types": TYPES, "cases": CASES}

OTHER_KEYS = [
    {"n": {"N": "12345678901234567890123456789012345678"}},
    {"b": {"B": "AP8="}},
    {"pk": {"S": "p"}, "sk": {"N": "1"}},
    {"pk": {"S": "p"}, "sk": {"N": "2"}},
    {"pk": {"S": "P"}, "sk": {"N": "1"}},
    {"pk": {"S": "p "}, "sk": {"N": "1"}},
    {"pk": {"S": "e\u0301"}, "sk": {"N": "1"}},
    {"pk": {"S": "é"}, "sk": {"N": "1"}},
    {"pk": {"S": "a#b:c/d'; DROP TABLE"}, "sk": {"N": "1"}},
    {"pk": {"S": "x" * 2048}, "sk": {"N": "1"}},
]


@pytest.fixture(scope="module")
def silver(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Silver:
    folder = tmp_path_factory.mktemp("merge")
    silver = Silver.create(spark, folder / "silver", COLUMNS)
    for number in range(MICRO_BATCHES):
        records = [r for _, story, _ in stories() if number < len(story) for r in story[number]]
        files = [write_records(folder, records, hour=f"h={number}")]
        if number == 0:
            lines = []
            for key, text in TEXTS.items():
                record = stream(key, 1, item(key))
                plain = json.dumps(record["new_image"], separators=(",", ":"))
                line = json.dumps(record, separators=(",", ":")).replace(f'"new_image":{plain}', f'"new_image":{text}')
                assert text in line
                lines.append(line + "\n")
            files.append(write_lines(folder, lines, hour="texts"))
            images = [stream(keys, 1, {**keys, "v": {"N": "1"}}) for keys in OTHER_KEYS]
            files.append(write_records(folder, images, hour="keys"))
        silver.merge(*files)
    return silver


@pytest.fixture(scope="module")
def rows(silver: Silver) -> dict[str, Row]:
    return silver.rows()


@pytest.mark.parametrize("key", EXPECTED)
def test_the_story_ends_as_the_source_does(rows: dict[str, Row], key: str) -> None:
    row, shown = rows[key], EXPECTED[key]
    name = key.removeprefix("id=S:")
    assert (row["v"], row["_is_deleted"]) == (shown, shown is None)
    assert row["_item"] == (None if shown is None else json.dumps(v(name, shown), separators=(",", ":")))
    assert row["id"] == name, "the key attribute is filled on tombstones too"


def test_each_register_keeps_its_greatest(rows: dict[str, Row]) -> None:
    row = rows["id=S:both-registers-in-one-micro-batch-then-a-newer-label"]
    assert (row["_version"], row["_stream_time_ms"], row["_base"]) == (f"{LABEL}|{1:040d}", T, f"{T + 99:015d}|run-1|1")
    never_streamed = rows["id=S:scan-before-any-stream-record"]
    assert (never_streamed["_version"], never_streamed["_stream_time_ms"]) == ("", None)
    assert rows["id=S:stamped-backwards"]["_stream_time_ms"] == T + 1000
    assert rows["id=S:insert-modify-remove"]["_base"] == ""


@pytest.mark.parametrize("key", TEXTS)
def test_the_item_is_kept_to_the_byte(rows: dict[str, Row], key: str) -> None:
    kept = rows[f"id=S:{key}"]["_item"]
    assert kept == TEXTS[key] if PRESERVES_JSON_TEXT else json.loads(kept) == json.loads(TEXTS[key])


def test_declared_columns_of_awkward_items(rows: dict[str, Row]) -> None:
    numbers, types, cases = (rows[f"id=S:{key}"] for key in ("numbers", "types", "cases"))
    assert (numbers["big"], numbers["v"]) == (Decimal(N38), None)
    assert types["m.deep"] == 7
    assert (cases["name"], cases[r"a\.b c"]) == ("lower", "dotted")


def test_keys_of_every_kind_are_one_row_each(rows: dict[str, Row]) -> None:
    there = [key for key in rows if not key.startswith("id=S:")]
    assert len(there) == len(OTHER_KEYS)
    assert all(rows[key]["v"] == 1 for key in there)


@pytest.mark.soak
def test_a_ttl_delete_is_told_apart_and_a_persons_own_column_is_left_alone(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", {})
    removals = [
        stream("expired", 2, GONE, ttl_expired=True),
        stream("deleted", 2, GONE),
        stream("back", 1, GONE, ttl_expired=True),
    ]
    silver.merge(write_records(tmp_path, removals))
    spark.sql(f"ALTER TABLE delta.`{silver.path}` ADD COLUMN note STRING")
    spark.sql(f"UPDATE delta.`{silver.path}` SET note = concat('about ', _key)")
    silver.merge(write_records(tmp_path, [stream("back", 2, v("back", 2)), stream("new", 1, v("new", 1))], hour="2"))
    rows = silver.rows()
    assert {key: (row["_is_deleted"], row["_ttl_expired"], row["note"]) for key, row in rows.items()} == {
        "id=S:expired": (True, True, "about id=S:expired"),
        "id=S:deleted": (True, False, "about id=S:deleted"),
        "id=S:back": (False, False, "about id=S:back"),
        "id=S:new": (False, False, None),
    }
