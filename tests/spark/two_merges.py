"""The experiment: can a silver table with columns of these names be merged into twice, upkept and read?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession

from lakebound_spark.platform.sql_text import quoted
from lakebound_spark.platform.tables import table_sql
from lakebound_spark.silver.columns import DeclaredColumn
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.silver.types import Scalar, StructOf
from tests.spark.silver import Silver
from tests.support.independent_writer import TABLE, Record, stream, write_records

_NUMBERS: Final = count()


def fault_as_columns(spark: SparkSession, folder: Path, names: Sequence[str]) -> str | None:
    """What goes wrong when the names are silver's columns, None when nothing does."""
    columns = tuple(DeclaredColumn(name, (name,), Scalar("string")) for name in names)
    return _fault(spark, folder, columns, names)


def fault_as_members(spark: SparkSession, folder: Path, names: Sequence[str]) -> str | None:
    """The same for names of a struct's members."""
    kind = StructOf(tuple((name, Scalar("string")) for name in names))
    return _fault(spark, folder, (DeclaredColumn("s", ("s",), kind),), names, member=True)


def faulty(names: Sequence[str], fault: Callable[[Sequence[str]], str | None]) -> Iterator[tuple[str, str]]:
    """Those of the names that are at fault, found by halves, each with what goes wrong."""
    told = fault(names)
    if told is None:
        return
    if len(names) == 1:
        yield names[0], told
        return
    half = len(names) // 2
    yield from faulty(names[:half], fault)
    yield from faulty(names[half:], fault)


def _fault(
    spark: SparkSession,
    folder: Path,
    columns: tuple[DeclaredColumn, ...],
    names: Sequence[str],
    *,
    member: bool = False,
) -> str | None:
    folder = folder / str(next(_NUMBERS))

    def put(key: str, sequence: int) -> Record:
        attributes = {name: {"S": f"{name} {sequence}"} for name in names}
        image = {"id": {"S": key}, **({"s": {"M": attributes}} if member else attributes)}
        return stream(key, sequence, image)

    # The configuration is made past its parser, which refuses names that failed here before.
    config = MergeConfig(source_table=TABLE, columns=tuple(columns))
    try:
        prepare_target(spark, str(folder / "silver"), config)
        silver = Silver(spark, str(folder / "silver"), config)
        silver.merge(write_records(folder, [put("a", 1), put("b", 1), put("c", 1)]))
        silver.merge(write_records(folder, [put("a", 2), stream("b", 2, None), put("d", 2)], hour="2"))
        spark.sql(f"DELETE FROM {table_sql(silver.path)} WHERE _is_deleted")
        changes = silver.changes(0)
        rows = silver.rows()
        read = ", ".join(f"s.{quoted(name)}" if member else quoted(name) for name in names)
        named = spark.sql(f"SELECT {read} FROM delta.`{silver.path}` WHERE _key = 'id=S:a'").head()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    for key, sequence in {"a": 2, "c": 1, "d": 2}.items():
        row = rows[f"id=S:{key}"]
        row = row["s"] if member else row
        if any(row[name] != f"{name} {sequence}" for name in names):
            return "another value"
    if named is None or list(named) != [f"{name} 2" for name in names]:
        return "another value when read by its name"
    return None if len(changes) == 9 else f"{len(changes)} rows in the change feed"
