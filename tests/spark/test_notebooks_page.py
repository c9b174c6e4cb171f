"""docs/FROM-NOTEBOOKS.md: its cells run as pasted, and its rows are what comes out of them.

The page is the only copy: cells, cases and results are read from its text. The source's last state is what the oracle
of silver makes of the same records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakebound_spark.bronze.bronze_table import BRONZE_COLUMNS
from lakebound_spark.jobs.ingest_bronze import main
from lakebound_spark.reading.schema import SILVER
from tests.spark.silver import write_config
from tests.support.independent_writer import Item, Record, base, stream, write_lines, write_records
from tests.support.registers import visible_items

PAGE = (Path(__file__).parents[2] / "docs" / "FROM-NOTEBOOKS.md").read_text()
HH = ("dt=2013-01-01/HH=05", "dt=2013-01-01/HH=06")
HOUR = ("ingest_dt=2013-01-01/hour=05", "ingest_dt=2013-01-01/hour=06")
MARGIN_MS = 60_000
NO_ROW = "no row"
EVENT = re.compile(r"(?:(\d+) )?([A-Z]+)(?: ([\d.]+))? (\d\d:\d\d:\d\d)")


class Case(NamedTuple):
    """A row of the page: what came in each file, and the prices afterwards (or NO_ROW)."""

    pk: str
    files: tuple[list[Record], list[Record]]
    cells: str
    source: str


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table(name: str) -> list[list[str]]:
    """The rows of the table between the page's comments `name` and `end of name`, without their backticks."""
    text = PAGE.split(f"<!-- {name} -->\n")[1].split("<!-- end of ")[0]
    return [[one.strip().strip("`") for one in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def records(pk: str, first: str, second: str) -> tuple[list[Record], list[Record]]:
    """What the page tells of one key, as records."""
    keys = {"pk": {"S": pk}}
    files = []
    for cell in (first, second):
        files.append([])
        for told in filter(None, cell.split(", ")):
            match = EVENT.fullmatch(told)
            assert match is not None, told
            sequence, event, price, time = match.groups()
            moment = datetime.fromisoformat(f"2013-01-01T{time}").replace(tzinfo=UTC)
            image: Item = {**keys, "price": {"N": price or "1.00"}, "updated_at": {"S": moment.isoformat()}}
            time_ms = int(moment.timestamp()) * 1000
            if event == "SNAPSHOT":
                files[-1].append(base(keys, time_ms - MARGIN_MS, image))
            elif event == "REMOVE":
                files[-1].append(stream(keys, sequence, None, time_ms=time_ms, old_image=image))
            else:
                files[-1].append(stream(keys, sequence, image, time_ms=time_ms, event_name=event))
    return files[0], files[1]


CASES = [Case(pk, records(pk, *files), cells, source) for pk, *files, cells, source in table("cases")]
FILES = tuple([record for case in CASES for record in case.files[number]] for number in (0, 1))


def paste(spark: SparkSession, title: str, **settings: object) -> None:
    """Run the section's cells. Auto Loader is on Databricks only: `json` is the one word that differs."""
    text = "\n".join(blocks(section(title), "python"))
    for name, value in [("cloudFiles", "json"), *settings.items()]:
        old, new = rf'^{name} = ".*"$', f'{name} = "{value}"'
        if name == "cloudFiles":
            old, new = r'format\("cloudFiles"\)', 'format("json")'
        text, changed = re.subn(old, new, text, flags=re.MULTILINE)
        assert changed == 1, name
    exec(compile(text, title, "exec"), {"spark": spark})


def prices(spark: SparkSession, table: str) -> dict[str, str]:
    """The price of each case as the table says it; NO_ROW for a key without a row."""
    found = {row["pk"]: str(row["price"]) for row in spark.table(table).collect()}
    return {case.pk: found.pop(case.pk, NO_ROW) for case in CASES} | found


@pytest.fixture
def inferred(spark: SparkSession) -> Iterator[None]:
    """Spark's JSON stream infers its schema only if told so; Auto Loader always does without one."""
    spark.conf.set("spark.sql.streaming.schemaInference", "true")
    yield
    spark.conf.unset("spark.sql.streaming.schemaInference")


def test_the_rows_of_the_source_are_those_of_the_oracle() -> None:
    items = {item["pk"]["S"]: item["price"]["N"] for item in visible_items([*FILES[0], *FILES[1]]).values()}
    assert {case.pk: case.source for case in CASES} == {case.pk: items.get(case.pk, NO_ROW) for case in CASES}
    assert {case.pk for case in CASES if case.cells == case.source} == {"nothing special"}
    assert len(CASES) == 8


@pytest.mark.parametrize("hours", [HH, pytest.param(HOUR, marks=pytest.mark.soak)], ids=["HH", "hour"])
def test_the_cells_as_they_are_go_wrong_as_the_page_shows(
    spark: SparkSession, tmp_path: Path, lakebound: Callable[..., int], inferred: None, hours: tuple[str, str]
) -> None:
    target = f"cells_{hours[0][:2]}"
    places = {"PLAIN": tmp_path / "plain", "CHECKPOINT": tmp_path / "checkpoint", "TARGET": target}
    for hour, content in zip(hours, FILES, strict=True):
        write_records(tmp_path / "files", content, hour=hour)
        assert lakebound("files", "flatten", str(tmp_path / "files"), str(tmp_path / "plain")) == 0
        paste(spark, "Your cells", **places)
    assert prices(spark, target) == {case.pk: case.cells for case in CASES}
    # Both layouts below one prefix: the page says with which error the first cell ends.
    write_records(tmp_path / "files", FILES[0], hour=HOUR[0] if hours is HH else HH[0])
    assert lakebound("files", "flatten", str(tmp_path / "files"), str(tmp_path / "plain")) == 0
    (quoted,) = re.findall(r'the first cell fails: "(.+?)"', PAGE)
    with pytest.raises((PySparkException, Py4JJavaError), match=quoted):
        paste(spark, "Your cells", **places | {"CHECKPOINT": tmp_path / "another"})


def rewritten(spark: SparkSession, folder: Path, target: str, deliveries: list[list[Record]]) -> None:
    """The rewritten cells after each delivery, the layouts taking turns below one prefix."""
    places = {"SOURCE": folder / "files", "CHECKPOINT": folder / "checkpoint", "TARGET": target}
    for number, content in enumerate(deliveries):
        write_records(folder / "files", content, hour=(HH[0], HOUR[1])[number % 2])
        paste(spark, "The cells, rewritten", **places)
    expected = {case.pk: case.source for case in CASES}
    assert prices(spark, f"{target}_current") == expected
    items = {row["key"]: json.loads(row["item"]) for row in spark.table(target).where("item IS NOT NULL").collect()}
    assert items == visible_items([record for content in deliveries for record in content])


def test_the_rewritten_cells_end_equal_to_the_oracle_over_both_layouts(spark: SparkSession, tmp_path: Path) -> None:
    rewritten(spark, tmp_path, "cells_rewritten", list(FILES))


@pytest.mark.soak
def test_the_rewritten_cells_do_not_depend_on_order_or_repetition(spark: SparkSession, tmp_path: Path) -> None:
    every = [*FILES[0], *FILES[1]]
    rewritten(spark, tmp_path / "backwards", "cells_backwards", [FILES[1], FILES[0], every])
    rewritten(spark, tmp_path / "one", "cells_by_one", [every[0::3], every[2::3], every[1::3], every[::-1]])


@pytest.mark.soak
def test_a_broken_line_stops_the_rewritten_cells(spark: SparkSession, tmp_path: Path) -> None:
    rewritten(spark, tmp_path, "cells_broken", list(FILES))
    whole = json.dumps(FILES[0][0], separators=(",", ":"))
    write_lines(tmp_path / "files", [whole[: whole.index('"new_image"')] + "\n"], hour="dt=2013-01-01/HH=09")
    with pytest.raises(PySparkException):
        paste(
            spark,
            "The cells, rewritten",
            SOURCE=tmp_path / "files",
            CHECKPOINT=tmp_path / "checkpoint",
            TARGET="cells_broken",
        )
    assert prices(spark, "cells_broken_current") == {case.pk: case.source for case in CASES}


@pytest.mark.classic("makes a second session")
def test_bronze_sql_answers_as_the_page_shows_and_views_of_a_path_can_be_pasted(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for hour, content in zip((HH[0], HOUR[1]), FILES, strict=True):
        write_records(tmp_path / "files", content, hour=hour)
    bronze = tmp_path / "cells_bronze"
    options = ("--checkpoint", tmp_path / "checkpoint", "--config", write_config(tmp_path), "--views")
    assert main([str(one) for one in ("--source", tmp_path / "files", "--target", bronze, *options)]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CREATE ")]
    assert len(printed) == 2
    elsewhere = spark.newSession()
    for statement in printed:
        elsewhere.sql(statement.removesuffix(";"))
    expected = [tuple(one or None for one in row) for row in table("bronze rows")]
    images, flat = blocks(section("Bronze in SQL"), "sql")
    for session in (spark, elsewhere):
        for statement, name, place in (
            (images, "main.lakebound.flights_bronze\n", f"delta.`{bronze}`\n"),
            (flat, "main.lakebound.flights_bronze_flat\n", "cells_bronze_flat\n"),
        ):
            assert statement.count(name) == 1
            rows = session.sql(statement.replace(name, place).strip().removesuffix(";")).collect()
            assert [tuple(None if one is None else str(one) for one in row) for row in rows] == expected
        changes = session.table("cells_bronze_changes").where("_key = 'pk=S:written again' AND attribute = 'price'")
        assert [(row["old"], row["new"]) for row in changes.orderBy("_version").collect()] == [
            (None, "1.00"),
            ("1.00", None),
            (None, "3.00"),
        ]


def test_each_of_the_old_names_leads_to_a_field_that_is_there() -> None:
    rows = table("names")
    assert [row[0].split("`")[0] for row in rows] == [
        "_eventName",
        "_approxStreamTs",
        "_ingestTs",
        "updated_at",
        "is_deleted",
    ]
    assert {row[1] for row in rows} <= set(BRONZE_COLUMNS)
    assert {row[2] for row in rows} - {""} <= set(SILVER.names)
    first = blocks(section("Your cells"), "python")[0]
    for old, ours, *_ in rows[:3]:
        assert re.search(rf"\b{ours}\)? AS {old}\b", first), old


def test_red_control_a_case_that_the_page_tells_wrongly_is_refused() -> None:
    with pytest.raises(AssertionError):
        records("k", "11 INSERT 1.00", "")
    with pytest.raises(AssertionError):
        records("k", "eleven INSERT 1.00 10:00:00", "")
