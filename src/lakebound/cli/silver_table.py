"""Which of two engines reads the silver table: deltalake in this process, or Spark."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Annotated, Final

import typer

from lakebound.errors import Misconfigured
from lakebound.operate.verify import LakeTable


class Engine(StrEnum):
    """What reads Delta."""

    DELTALAKE = "deltalake"
    SPARK = "spark"


EngineName = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="What reads --target: deltalake, which needs no Java, or spark. Without it deltalake reads folders, "
        "addresses and names of three parts; spark reads the names that only its own catalog knows.",
        show_default=False,
    ),
]


_PART: Final = r"(`[^`]+`|[^`./]+)"
_UNITY_NAME: Final = re.compile(rf"{_PART}\.{_PART}\.{_PART}")


def open_silver(target: str, engine: Engine | None = None) -> AbstractContextManager[LakeTable]:
    """The silver table for as long as it is read; both engines give the same rows, and the same errors for no table.

    Raises Misconfigured when there is no silver table, or it may not be read; LakeboundError when it cannot be read.
    """
    # Each engine takes its time to load, and few verbs need one.
    if (engine or _engine_of(target)) is Engine.SPARK:
        from lakebound.cli.spark_silver import open_silver as open_in_spark

        return open_in_spark(target.removeprefix("uc://"))
    if "/" not in target:
        target = _unity_address(target)
    try:
        from lakebound.adapters.silver_table import SilverTable
    except ModuleNotFoundError as missing:
        raise Misconfigured(
            f"The Python package {missing.name} is missing", hint="Install deltalake, or give --engine spark"
        ) from None
    return nullcontext(SilverTable(target))


def _engine_of(target: str) -> Engine:
    """deltalake for a path, an address and a name in three parts; Spark for other names, and where it runs already."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or target.startswith("spark_catalog."):
        return Engine.SPARK
    return Engine.DELTALAKE if "/" in target or _UNITY_NAME.fullmatch(target) else Engine.SPARK


def _unity_address(name: str) -> str:
    parts = _UNITY_NAME.fullmatch(name)
    if parts is None:
        raise Misconfigured(
            f"{name} is a name that only Spark's own catalog knows",
            hint="Give the table's folder, its address, catalog.schema.table of Unity Catalog, or --engine spark",
        )
    return "uc://" + ".".join(part.strip("`") for part in parts.groups())
