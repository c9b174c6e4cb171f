"""`lakebound query`: silver and `_live` in SQL, without Java."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Annotated, Any, Final

import typer

from lakebound.cli.output import echo, echo_table
from lakebound.cli.silver_table import open_live
from lakebound.cli.tables import Column

_NUMBERS: Final = (int, float, Decimal)


def command(
    sql: Annotated[
        str,
        typer.Argument(
            help="The query, in DataFusion's SQL, over the tables live, current, live_rows and silver_rows."
        ),
    ],
    target: Annotated[
        str,
        typer.Option(help="The silver table: a folder, an address such as s3a://lake/silver/cars, or a Unity name."),
    ],
    limit: Annotated[
        int, typer.Option(min=1, help="Print at most this many rows. With --json every row is printed.")
    ] = 1_000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Tell each row as a JSON object on a line of its own.")
    ] = False,
) -> None:
    """Print what a query of silver gives, without Spark and Java.

    `live` has the rows of <table>_live, with the changes that wait for a merge; `current` those of <table>_current.
    `live_rows` and `silver_rows` have tombstones too. With --json decimals and times are text, and binary values are in
    base64.
    """
    names, rows = open_live(target).query(sql)
    if as_json:
        for row in rows:
            echo(json.dumps(dict(zip(names, row, strict=True)), default=_plain, ensure_ascii=False))
        return
    shown = [*islice(rows, limit)]
    more = any(True for _ in rows)
    echo_table([*_columns(names, shown)], [[_text(value) for value in row] for row in shown])
    if more:
        echo(f"There are more rows; --limit prints more than {limit:,}, and --json every one.")


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Iterator[Column]:
    for place, name in enumerate(names):
        values = [row[place] for row in rows if row[place] is not None]
        is_number = bool(values) and all(isinstance(one, _NUMBERS) and not isinstance(one, bool) for one in values)
        yield Column(name, is_number=is_number)


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)
