"""What has to be true before the first micro-batch: the tables are there, and nothing that was appended is missing."""

from __future__ import annotations

from collections.abc import Callable

from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import claimed_table
from lakebound_spark.platform.tables import exists, read_table
from lakebound_spark.silver.auto_columns import attribute_columns
from lakebound_spark.silver.changes_table import (
    changes_fault,
    changes_table,
    column_names,
    has_changes,
    keeps_changes,
    open_changes,
    refuse_leftover,
)
from lakebound_spark.silver.config import MergeConfig
from lakebound_spark.silver.pending_merge import clear_pending
from lakebound_spark.silver.silver_table import prepare_target
from lakebound_spark.silver.views import create_views


def prepare_silver(
    spark: SparkSession,
    target: str,
    config: MergeConfig,
    checkpoint: str,
    merge: Callable[[], object],
    refusals: Refusals,
    *,
    appends: bool,
) -> str:
    """Make silver, `_changes` where micro-batches append, and the views of a name. Returns the Delta table's id.

    The caller ties the checkpoint to that id (`claim_checkpoint`).

    ``merge`` brings pending changes into silver. It is called first where micro-batches merge themselves from now on,
    and where the configuration has other columns than those that pending changes were typed for.

    Raises Misconfigured as `prepare_target` does, and where changes are missing that were appended and perhaps not
    merged. Only a new checkpoint brings them again: it reads every file.
    """
    fault = ""
    if exists(spark, target) and (appends or keeps_changes(spark, target)):
        fault = changes_fault(spark, target)
        if fault and claimed_table(spark, checkpoint) is not None:
            raise Misconfigured(
                f"{changes_table(target)} {fault}, so changes that the checkpoint {checkpoint} has passed may be in "
                "neither table; give a new checkpoint, and every file is read again"
            )
        if not fault and has_changes(spark, target):
            clear_pending(spark, target, config.source_table)
        if not fault and has_changes(spark, target) and not (appends and _typed_alike(spark, target, config)):
            merge()
    if appends:
        refuse_leftover(spark, target)
    table_id = prepare_target(spark, target, config, refusals)
    if appends or fault or has_changes(spark, target):
        columns = attribute_columns(read_table(spark, target).schema) if config.auto else config.columns
        open_changes(spark, target, columns, start_afresh=bool(fault))
    create_views(spark, target, refusals)
    return table_id


def _typed_alike(spark: SparkSession, target: str, config: MergeConfig) -> bool:
    return config.auto or {column.name for column in config.columns} == set(column_names(spark, target))
