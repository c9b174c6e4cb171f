"""Which of two engines reads the silver table: deltalake in this process, or Spark."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Final, Protocol

import typer

from lakebound.adapters.aws_calls import NotThere
from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.backfill.manifest import Manifest
from lakebound.cli.extras import missing_package
from lakebound.cli.files import open_source
from lakebound.errors import Misconfigured
from lakebound.operate.entity_sides import SeveralMerged
from lakebound.operate.run_merge import MergedTable, check_run_merge
from lakebound.operate.sides import LakeTable
from lakebound.operate.silver_lag import StaleMark, TableFacts
from lakebound.record.entity_rules import EntityRules
from lakebound.times import epoch_ms

if TYPE_CHECKING:
    from lakebound.adapters.delta_table import DeltaVersion
    from lakebound.adapters.live_table import LiveTable
    from lakebound.adapters.silver_table import SilverTable


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


Live = Annotated[
    bool,
    typer.Option(
        "--live/--merged",
        help="Count changes that wait in <target>_changes for a merge, as <target>_live does; or silver alone.",
    ),
]

_WITHOUT_TARGET: Final = "leave out --target"
"""What `status` and `report` can do without the table."""

_PART: Final = r"(`[^`]+`|[^`./]+)"
_UNITY_NAME: Final = re.compile(rf"{_PART}\.{_PART}\.{_PART}")


def open_silver(target: str, engine: Engine | None = None, *, live: bool = True) -> AbstractContextManager[LakeTable]:
    """The silver table for as long as it is read, with ``live`` as `_live` shows it.

    Both engines give the same rows, and the same errors for no table.

    Raises Misconfigured when there is no silver table, or it may not be read; LakeboundError when it cannot be read.
    """
    # Each engine takes its time to load, and few verbs need one.
    if (engine or _engine_of(target)) is Engine.SPARK:
        from lakebound.cli.spark_silver import open_silver as open_in_spark

        return open_in_spark(target.removeprefix("uc://"), live=live)
    return nullcontext(_open_in_deltalake(target, live=live))


class HealedTable(Protocol):
    """The silver table that a heal is merged into."""

    def check_merge(self, source: str, manifest: Manifest) -> RunMergeCheck:
        """How far the run is merged, with its files below the data prefix ``source``."""


@dataclass(frozen=True, slots=True)
class _InDeltalake:
    silver: MergedTable
    rules: EntityRules | None

    def check_merge(self, source: str, manifest: Manifest) -> RunMergeCheck:
        # The merge job's own spelling of an address is as good.
        files, prefix = open_source(re.sub(r"\As3[an]://", "s3://", source))
        return check_run_merge(files, prefix, self.silver, manifest, self.rules)


def open_healed(
    target: str, engine: Engine | None = None, rules: EntityRules | None = None
) -> AbstractContextManager[HealedTable]:
    """The table, or with ``rules`` the tables of which the target is the name for all, for as long as a heal is looked
    at. Raises as `open_silver` does."""
    tables = [rule.table for rule in rules.rules] if rules is not None else [target]
    if (engine or _engine_of(tables[0])) is Engine.SPARK:
        from lakebound.cli.spark_silver import open_healed as open_in_spark

        return open_in_spark(target.removeprefix("uc://"), rules)
    if rules is None:
        return nullcontext(_InDeltalake(_open_in_deltalake(target, live=False), None))
    from lakebound.adapters.silver_table import bad_files_of

    silver = SeveralMerged(
        [_open_in_deltalake(table, live=False) for table in tables], bad_files_of(_deltalake_address(target))
    )
    return nullcontext(_InDeltalake(silver, rules))


def open_live(target: str) -> LiveTable:
    """Silver and what waits in `_changes`, read by deltalake. Raises as `open_silver` does."""
    target = _deltalake_address(target, has_engine=False)
    from lakebound.adapters.live_table import LiveTable

    return LiveTable(target, instead="read it in Spark")


def table_facts(target: str) -> TableFacts:
    """Until when every batch file is taken, by `<target>_metrics`, and the stale mark of `<target>_status`.

    Where the target is the name for all of several tables, the mark is that of the table that is stale the longest.
    Raises Misconfigured where the metrics do not tell it, and as `open_silver` does.
    """
    from lakebound.adapters.delta_table import DeltaVersion

    base = _deltalake_address(target, has_engine=False).rstrip("/")
    try:
        metrics = DeltaVersion(f"{base}_metrics", instead=_WITHOUT_TARGET)
    except NotThere as missing:
        raise Misconfigured(
            missing.what,
            hint="Give --target as the merge job has it: of several tables from one source, the name for all",
        ) from None
    marks = [_stale_mark(f"{name}_status") for name in _marked_tables(metrics, base)]
    noted = [mark for mark in marks if mark is not None]
    stale = [mark for mark in noted if mark.since_ms is not None]
    return TableFacts(
        _taken_until_ms(f"{base}_metrics", metrics),
        min(stale or noted, key=lambda mark: (mark.since_ms or 0, mark.looked_ms), default=None),
    )


def _marked_tables(metrics: DeltaVersion, base: str) -> list[str]:
    """The addresses of the tables that the job merges: each of several once it got a key, else the target itself."""
    if "by_table" not in metrics.column_names:
        return [base]
    names = metrics.query("SELECT DISTINCT one['table'] FROM (SELECT unnest(by_table) AS one FROM delta) ORDER BY 1")
    return [_deltalake_address(name, has_engine=False).rstrip("/") for (name,) in names]


def _stale_mark(address: str) -> StaleMark | None:
    """None for a target whose merge job is older than the table, or has not looked yet."""
    from lakebound.adapters.delta_table import DeltaVersion

    try:
        noted = DeltaVersion(address, instead=_WITHOUT_TARGET)
    except NotThere:
        return None
    # The merge job replaces the one row.
    for since, causes, looked in noted.query("SELECT _stale_since, stale_because, looked_at FROM delta"):
        return StaleMark(None if since is None else epoch_ms(since), causes or "", epoch_ms(looked))
    return None


def _taken_until_ms(address: str, metrics: DeltaVersion) -> int:
    found = None
    if "files_until_ms" in metrics.column_names:
        ((found,),) = metrics.query("SELECT max(files_until_ms) FROM delta")
    if found is None:
        raise Misconfigured(
            f"{address} does not tell which files are taken: its merge job is of an older version, or reads bronze",
            hint="Leave out --target; or let a merge job of this version, which reads the files, take one",
        )
    return int(found)


def _open_in_deltalake(target: str, *, live: bool) -> SilverTable:
    target = _deltalake_address(target)
    from lakebound.adapters.silver_table import SilverTable

    return SilverTable(target, live=live)


def _deltalake_address(target: str, *, has_engine: bool = True) -> str:
    """What deltalake calls the table. Raises Misconfigured where it cannot know it, or is not installed.

    With ``has_engine`` the verb has the option --engine, which its errors then name.
    """
    otherwise = ", or give --engine spark" if has_engine else ""
    if find_spec("deltalake") is None and (missing := missing_package("deltalake", otherwise)):
        raise missing
    return target if "/" in target else _unity_address(target, has_engine=has_engine)


def _engine_of(target: str) -> Engine:
    """deltalake for a path, an address and a name in three parts; Spark for other names, and where it runs already."""
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or target.startswith("spark_catalog."):
        return Engine.SPARK
    return Engine.DELTALAKE if "/" in target or _UNITY_NAME.fullmatch(target) else Engine.SPARK


def _unity_address(name: str, *, has_engine: bool) -> str:
    unity = "catalog.schema.table of Unity Catalog"
    parts = _UNITY_NAME.fullmatch(name)
    if parts is None:
        raise Misconfigured(
            f"{name or 'an empty text'} is a name that only Spark's own catalog knows",
            hint="Give the table's folder (one of this folder as ./NAME), its address,"
            f" {f'{unity}, or --engine spark' if has_engine else f'or {unity}'}",
        )
    return "uc://" + ".".join(part.strip("`") for part in parts.groups())
