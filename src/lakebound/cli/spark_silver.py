"""Silver through a local Spark session with Delta: for `--engine spark`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.backfill.manifest import Manifest
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.sample import Selection
from lakebound.operate.sides import EVERY_KEY, LakeRow
from lakebound.record.entity_rules import EntityRules
from lakebound_spark.platform.session import job_session
from lakebound_spark.platform.tables import absolute_table, in_spark_catalog
from lakebound_spark.silver.silver_reader import read_silver
from lakebound_spark.upkeep.run_merge_check import check_run_merge
from lakebound_spark.upkeep.silver_side import SilverSide


class SparkSilver:
    """Port LakeTable of `verify` over the silver table at a path or under a name."""

    def __init__(self, spark: SparkSession, target: str, *, live: bool) -> None:
        self._spark = spark
        self._target = target
        self._live = live

    def rows(self, selection: Selection = EVERY_KEY) -> Iterator[LakeRow]:
        """Every row selected, tombstones too, of the version that is the newest now."""
        for row in read_silver(self._spark, self._target, selection=selection, live=self._live):
            yield LakeRow(row.key, row.item, row.from_base)

    def read(self, keys: Sequence[str]) -> Iterator[LakeRow]:
        """The rows of these keys in the newest version."""
        for row in read_silver(self._spark, self._target, keys=keys, live=self._live):
            yield LakeRow(row.key, row.item, row.from_base)


@contextmanager
def open_silver(target: str, *, live: bool) -> Iterator[SparkSilver]:
    """The table for as long as it is read, in the session that runs already or in one of its own.

    Raises Misconfigured when Spark does not start or there is no silver table, LakeboundError when it cannot be read.
    """
    with _session("lakebound verify", target) as spark:
        yield SparkSilver(spark, absolute_table(target), live=live)


class HealedSilver:
    """Port HealedTable."""

    def __init__(self, spark: SparkSession, target: str, rules: EntityRules | None = None) -> None:
        self._spark = spark
        self._target = target
        self._rules = rules

    def check_merge(self, source: str, manifest: Manifest) -> RunMergeCheck:
        """How far the run is merged: its files below the data prefix, and the table. Raises as `open_silver` does."""
        silver = None
        if self._rules is not None:
            silver = SilverSide(tuple(absolute_table(rule.table) for rule in self._rules.rules), self._rules)
        return check_run_merge(self._spark, absolute_table(source), self._target, manifest, silver)


@contextmanager
def open_healed(target: str, rules: EntityRules | None = None) -> Iterator[HealedSilver]:
    """The table, or those of the rules, for as long as a heal is looked at. Raises as `open_silver` does."""
    with _session("lakebound backfill close", rules.rules[0].table if rules is not None else target) as spark:
        yield HealedSilver(spark, absolute_table(target), rules)


@contextmanager
def _session(app: str, target: str) -> Iterator[SparkSession]:
    spark = None
    ours = False
    try:
        spark, ours = job_session(app, catalog=in_spark_catalog(target))
        yield spark
    except Misconfigured as wrong:
        raise Misconfigured(_sentence(str(wrong))) from None
    except PySparkException as failure:
        raise LakeboundError(
            f"Spark could not read {target} ({failure.getCondition() or type(failure).__name__})",
            hint="Is it the merge job's target, and does the job run?",
        ) from None
    finally:
        if spark is not None and ours:
            spark.stop()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
