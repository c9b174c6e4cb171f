"""Views for exploring bronze: images as plain columns, and one row for each attribute that a record changed.

A plain value is text: an S itself, the digits of an N, a BOOL as true or false. A NULL is NULL. Sets, lists, maps and
binary are the JSON that DynamoDB gave. Nothing is cast, so nothing is lost; silver has types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.platform.sql_text import literal, quoted
from lakebound_spark.platform.tables import companion_table, is_path, read_table, table_sql

SAMPLE_RECORDS: Final = 10_000
"""The number of records in which names of attributes are searched."""
MAX_COLUMNS: Final = 500

_ENVELOPE: Final = (
    "key AS _key",
    "event_name AS _event_name",
    "origin AS _origin",
    "version AS _version",
    "is_deleted AS _is_deleted",
    "timestamp_millis(coalesce(approx_creation_time_ms, snapshot_label_ms)) AS _changed_at",
    "timestamp_millis(ingest_time_ms) AS _ingested_at",
)
_IMAGE = "from_json(coalesce(new_image, keys), 'MAP<STRING, STRING>')"


def flatten_images(records: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Each record with its new image as plain columns. A delete has its key attributes only.

    before (fields left out)                                      after, with `n` and `s`
    | key    | event_name | keys | new_image                 |    | _key | _event_name | n    | s    |
    |--------|------------|------|---------------------------|    |------|-------------|------|------|
    | s=S:a  | INSERT     | …    | {"s":{"S":"a"},"n":{"N":"1.50"}} | | s=S:a | INSERT | 1.50 | a    |
    | s=S:a  | REMOVE     | {"s":{"S":"a"}} |                |    | s=S:a | REMOVE     |      | a    |
    """
    return records.selectExpr("*", f"{_IMAGE} AS _image").selectExpr(*_ENVELOPE, *_columns(attributes))


def attribute_changes(records: DataFrame) -> DataFrame:
    """One row for each attribute that differs between a record's images, with both values plain.

    before (fields left out)                                         after
    | key | old_image                     | new_image           |    | _key | attribute | old  | new |
    |-----|-------------------------------|---------------------|    |------|-----------|------|-----|
    | k   | {"a":{"N":"1"},"b":{"S":"x"}} | {"a":{"N":"2"},"b":{"S":"x"}} | | k | a     | 1    | 2   |
    """
    return (
        records.selectExpr(*_CHANGES_INNER).selectExpr(*_CHANGES_MIDDLE).where(_IS_CHANGED).selectExpr(*_CHANGES_OUTER)
    )


_CHANGES_INNER: Final = (
    "*",
    "coalesce(from_json(old_image, 'MAP<STRING, STRING>'), map()) AS _old",
    "coalesce(from_json(new_image, 'MAP<STRING, STRING>'), map()) AS _new",
)
_CHANGES_MIDDLE: Final = ("*", "explode(array_union(map_keys(_old), map_keys(_new))) AS attribute")
_IS_CHANGED: Final = "NOT (_old[attribute] <=> _new[attribute])"
_ENVELOPE_OF_CHANGES: Final = tuple(one for one in _ENVELOPE if not one.endswith("_is_deleted"))


def _plain_value(tagged: str) -> str:
    """SQL for the plain value of one attribute's tagged JSON text."""
    scalar = f"from_json({tagged}, 'S STRING, N STRING, BOOL STRING, `NULL` STRING')"
    return (
        f"CASE WHEN {scalar}.`NULL` IS NOT NULL THEN NULL "
        f"ELSE coalesce({scalar}.S, {scalar}.N, {scalar}.BOOL, {tagged}) END"
    )


_CHANGES_OUTER: Final = (
    *_ENVELOPE_OF_CHANGES,
    "attribute",
    f"{_plain_value('_old[attribute]')} AS old",
    f"{_plain_value('_new[attribute]')} AS new",
)


def _columns(attributes: Sequence[str]) -> list[str]:
    taken = {one.rpartition(" ")[2].casefold() for one in _ENVELOPE}
    columns = []
    for attribute in attributes:
        # To DynamoDB `Name` and `name` are two names, to Spark they are one. The second becomes `name_2`.
        name, number = attribute, 2
        while name.casefold() in taken:
            name, number = f"{attribute}_{number}", number + 1
        taken.add(name.casefold())
        columns.append(f"{_plain_value(f'_image[{literal(attribute)}]')} AS {quoted(name)}")
    return columns


def attribute_names(records: DataFrame) -> list[str]:
    """The names of top-level attributes in a sample of the records: sorted, at most MAX_COLUMNS."""
    images = records.select(F.coalesce("new_image", "keys").alias("image")).limit(SAMPLE_RECORDS)
    names = images.selectExpr("explode(map_keys(from_json(image, 'MAP<STRING, STRING>'))) AS name").distinct()
    return [row["name"] for row in names.orderBy("name").limit(MAX_COLUMNS).collect()]


def make_views(spark: SparkSession, bronze: str, attributes: Iterable[str] = ()) -> tuple[str, str]:
    """Create or replace `<bronze>_flat` and `<bronze>_changes`. Returns the two statements that did it.

    ``attributes`` names the columns of the first view. Without it they are the attributes of the records that are there
    now, so call it again when new ones appear. For a path no catalog keeps a view: the views bear the name of its last
    folder and end with the session. Another session runs the same statements.
    """
    source = table_sql(bronze)
    columns = ", ".join([*_ENVELOPE, *_columns(list(attributes) or attribute_names(read_table(spark, bronze)))])
    images = f"SELECT *, {_IMAGE} AS _image FROM {source}"
    inner = f"SELECT {', '.join(_CHANGES_INNER)} FROM {source}"
    middle = f"SELECT {', '.join(_CHANGES_MIDDLE)} FROM ({inner})"
    statements = (
        f"{_create_view(bronze, '_flat')} AS SELECT {columns} FROM ({images})",
        f"{_create_view(bronze, '_changes')} AS SELECT {', '.join(_CHANGES_OUTER)} FROM ({middle}) WHERE {_IS_CHANGED}",
    )
    for statement in statements:
        spark.sql(statement)
    return statements


def _create_view(bronze: str, suffix: str) -> str:
    view = companion_table(bronze, suffix)
    if is_path(view):
        return f"CREATE OR REPLACE TEMPORARY VIEW {quoted(view.rpartition('/')[2])}"
    return f"CREATE OR REPLACE VIEW {table_sql(view)}"
