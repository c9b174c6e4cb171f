"""Reading silver without Java holds a few row groups, whatever the table's size."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import WriterProperties, write_deltalake

ROOT = Path(__file__).resolve().parents[2]
MB = 1024 * 1024
FILES, ROWS, ROW_GROUP = 6, 600, 100
ITEM_BYTES = 100_000
ROW_GROUP_BYTES = ROW_GROUP * ITEM_BYTES
TABLE_BYTES = FILES * ROWS * ITEM_BYTES
BOUND = 200 * MB
"""Two files side by side, each with a row group as it is stored and as it is unpacked, and a batch as text."""

READ = """
import sys
from lakebound.adapters.silver_table import SilverTable
from tests.memory.scenarios import peak_bytes

silver, before, rows = SilverTable(sys.argv[1]), peak_bytes(), 0
for row in {rows}:
    rows += 1
print(rows, peak_bytes() - before)
"""
STREAMED = READ.format(rows="silver.rows()")
HELD = READ.format(rows="list(silver.rows())")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Silver with items that do not compress."""
    folder = tmp_path_factory.mktemp("large") / "silver"
    for file in range(FILES):
        keys = [f"id=S:k{file * ROWS + number}" for number in range(ROWS)]
        columns = {"_key": keys, "_item": [os.urandom(ITEM_BYTES // 2).hex() for _ in keys]}
        constant = {"_is_deleted": False, "_version": "1", "_stream_time_ms": 1, "_base": "", "_ttl_expired": False}
        rows = pa.table(columns | {name: [value] * ROWS for name, value in constant.items()})
        write_deltalake(folder, rows, mode="append", writer_properties=WriterProperties(max_row_group_size=ROW_GROUP))
    return folder


def peak(script: str, table: Path) -> tuple[int, int]:
    """The rows that a process of its own reads, and by how many bytes its peak grows meanwhile."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    rows, grown = subprocess.run(
        [sys.executable, "-c", script, str(table)], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return int(rows), int(grown)


def test_a_table_larger_than_the_bound_is_read_within_it(table: Path) -> None:
    assert TABLE_BYTES > 1.5 * BOUND
    rows, grown = peak(STREAMED, table)
    print(f"{TABLE_BYTES / MB:.0f} MB of items: {grown / MB:.0f} MB")
    assert (rows, grown < BOUND) == (FILES * ROWS, True), grown


def test_who_holds_the_rows_goes_beyond_the_bound(table: Path) -> None:
    """The red control."""
    rows, grown = peak(HELD, table)
    assert (rows, grown > BOUND) == (FILES * ROWS, True), grown
