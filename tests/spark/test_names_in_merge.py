"""Which names silver cannot bear, found by merging twice with every name in Delta's and Spark's class files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound.record.column_names import DELTA_COLUMNS, RESERVED_COLUMNS, folded, unusable
from lakebound_spark.silver.config import parse_config
from lakebound_spark.silver.silver_table import prepare_target
from tests.spark.jar_names import names_in_the_jars
from tests.spark.silver import Silver
from tests.spark.two_merges import fault_as_columns, fault_as_members, faulty
from tests.support.independent_writer import TABLE, item, stream, write_records

# Where it is looked at first: names that look like those that were at fault.
NEIGHBOURS = (
    *("file_path", "file_name", "file_size", "file_block_start", "file_block_length", "file_modification_time"),
    *("row_id", "row_commit_version", "base_row_id", "default_row_commit_version", "row_index", "_row_index"),
    *(
        "filePath",
        "fileName",
        "rowIndexCol",
        "deletionVector",
        "deletionVectorType",
        "metadata",
        "paths",
        "t",
        "s",
        "key",
    ),
    *("__delta_internal_row_index", "_row_id_", "_file_name_", "_change_type_", "is_cdc", "row_dropped", "image_url"),
)


@pytest.fixture(scope="module")
def candidates(spark: SparkSession) -> list[str]:
    """Every name that stands in the class files and that the configuration does not refuse."""
    refused = {folded(name) for name in (*RESERVED_COLUMNS, *DELTA_COLUMNS, "id")}
    return [name for name in names_in_the_jars(spark) if folded(name) not in refused]


def batches(names: list[str], size: int) -> Iterator[list[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


@pytest.mark.classic("the names are read out of the jars of its own Java process")
def test_the_class_files_tell_the_names_that_were_found(spark: SparkSession) -> None:
    """Red control of the search: what the experiment found, and what Spark's documentation names, is in it."""
    found = {folded(name) for name in names_in_the_jars(spark)}
    named = {"_change_type", "_commit_version", "file_path", "file_block_start", "row_commit_version", "rowIndexCol"}
    assert {folded(name) for name in (*DELTA_COLUMNS, *named)} <= found
    assert len(found) > 4_000


@pytest.mark.classic("the names are read out of the jars of its own Java process")
@pytest.mark.soak
def test_neighbours_and_a_sample_of_all_names_merge_twice(
    spark: SparkSession, tmp_path: Path, candidates: list[str]
) -> None:
    names = sorted({*NEIGHBOURS, *random.Random(17).sample(sorted(candidates), 100)})
    names = list({folded(name): name for name in names}.values())
    assert fault_as_columns(spark, tmp_path, names) is None


@pytest.mark.soak
def test_what_no_column_can_bear_a_member_of_a_struct_can(spark: SparkSession, tmp_path: Path) -> None:
    assert fault_as_members(spark, tmp_path, sorted({*DELTA_COLUMNS, *RESERVED_COLUMNS, *NEIGHBOURS})) is None


@pytest.mark.parametrize("name", ["PATH", "__is_cdc"])
def test_a_refused_name_does_fail(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """Red control of the experiment: one name with which Delta refuses, and one that loses its values."""
    assert folded(name) in {folded(one) for one in DELTA_COLUMNS}
    assert fault_as_columns(spark, tmp_path, [name]) is not None


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(DELTA_COLUMNS))
def test_every_refused_name_does_fail(spark: SparkSession, tmp_path: Path, name: str) -> None:
    """A name that a later Delta can bear is refused no longer: this test tells when."""
    assert fault_as_columns(spark, tmp_path, [name]) is not None


@pytest.mark.classic("the names are read out of the jars of its own Java process")
@pytest.mark.soak
def test_every_other_name_merges_twice(spark: SparkSession, tmp_path: Path, candidates: list[str]) -> None:
    found: list[tuple[str, str]] = []
    for names in batches(candidates, 400):
        found += faulty(names, lambda some: fault_as_columns(spark, tmp_path, some))
    assert found == []


@pytest.mark.classic("the names are read out of the jars of its own Java process")
@pytest.mark.soak
def test_every_name_is_a_member_of_a_struct(spark: SparkSession, tmp_path: Path) -> None:
    found: list[tuple[str, str]] = []
    for names in batches(names_in_the_jars(spark), 700):
        found += faulty(names, lambda some: fault_as_members(spark, tmp_path, some))
    assert found == []


@pytest.mark.parametrize("name", sorted(DELTA_COLUMNS))
def test_a_declared_one_is_refused_and_another_name_reads_it(name: str) -> None:
    for written in (name, name.upper()):
        with pytest.raises(Misconfigured, match="MERGE uses itself; give the column another with"):
            parse_config({"source_table": TABLE, "columns": {written: "string"}})
        config = parse_config({"source_table": TABLE, "columns": {written: {"type": "string", "name": "other"}}})
        assert [(column.name, column.path) for column in config.columns] == [("other", (written,))]


@pytest.mark.soak
def test_auto_rescues_such_attributes(spark: SparkSession, tmp_path: Path) -> None:
    silver = Silver.create(spark, tmp_path / "silver", "auto")
    image = item("a", **{name: {"S": name} for name in (*DELTA_COLUMNS, "PATH", "fine")})
    for hour in ("1", "2"):
        done = silver.merge(write_records(tmp_path, [stream("a", int(hour), image)], hour=hour))
        assert done.rescued == len(DELTA_COLUMNS) + 1
    row = silver.rows()["id=S:a"]
    assert row["fine"] == "fine"
    assert row["_rescued"].count('{"S":') == len(DELTA_COLUMNS) + 1
    assert not any(unusable(name) for name in row.asDict())


def test_a_table_that_has_one_is_refused_with_the_way_out(spark: SparkSession, tmp_path: Path) -> None:
    target = str(tmp_path / "silver")
    config = parse_config({"source_table": TABLE, "columns": "auto"})
    prepare_target(spark, target, config)
    spark.sql(f"ALTER TABLE delta.`{target}` ADD COLUMNS (Path STRING)")
    with pytest.raises(Misconfigured) as refused:
        prepare_target(spark, target, config)
    way_out = str(refused.value).split("drop it (")[1].split(";")[0]
    spark.sql(way_out)
    prepare_target(spark, target, config)


def test_the_page_lists_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "SILVER.md").read_text()
    told = page.split("columns that Delta's MERGE makes itself:")[1].split(". With most")[0]
    assert set(told.replace("`", "").replace(",", " ").split()) == DELTA_COLUMNS
