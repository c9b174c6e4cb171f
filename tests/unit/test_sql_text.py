"""Names of tables and strings in SQL, part by part."""

import pytest

from lakebound.errors import Misconfigured
from lakebound_spark.platform.sql_text import literal
from lakebound_spark.platform.tables import companion_table, table_sql


@pytest.mark.parametrize(
    ("target", "sql"),
    [
        ("flights", "`flights`"),
        ("spark_catalog.db.t", "`spark_catalog`.`db`.`t`"),
        ("main.my-db.url-shortener", "`main`.`my-db`.`url-shortener`"),
        ("main.lake.`url.shortener`", "`main`.`lake`.`url.shortener`"),
        ("`a``b`.c", "`a``b`.`c`"),
        ("/lake/a.b-c", "delta.`/lake/a.b-c`"),
        ("s3a://lake/`x`", "delta.`s3a://lake/``x```"),
    ],
)
def test_each_part_of_a_name_is_quoted(target: str, sql: str) -> None:
    assert table_sql(target) == sql


@pytest.mark.parametrize("target", ["", "a..b", "a.", ".a", "a.`b", "a`b.c"])
def test_what_is_no_name_is_refused(target: str) -> None:
    with pytest.raises(Misconfigured, match=r"is no table's name; give table, schema\.table"):
        table_sql(target)


def test_the_table_beside_a_quoted_name_is_quoted_too() -> None:
    assert table_sql(companion_table("main.my-db.`url.short`", "_current")) == "`main`.`my-db`.`url.short_current`"


def test_a_string_is_what_it_holds() -> None:
    assert literal("it's \\ `x`") == "'it\\'s \\\\ `x`'"
    assert "$" not in literal("${spark.app.name}"), "Spark would put its value there"
