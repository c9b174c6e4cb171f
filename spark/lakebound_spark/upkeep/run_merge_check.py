"""Compares a run's manifest and files with silver, to tell whether the run is merged. Sweeps and gap closing ask."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound.backfill.gap_closing import RunMergeCheck
from lakebound.backfill.manifest import Manifest
from lakebound.record import base_records
from lakebound_spark.platform.tables import companion_table, exists, read_table
from lakebound_spark.reading.files import checked_records
from lakebound_spark.reading.latest import base_register
from lakebound_spark.reading.source import DataFile, literal_path, parse_data_file
from lakebound_spark.upkeep.silver_side import SilverSide


def check_run_merge(
    spark: SparkSession, source: str, target: str, manifest: Manifest, tables: SilverSide | None = None
) -> RunMergeCheck:
    """Compare the run with the newest version of silver, or of the ``tables`` for which the target is a name.

    Raises Misconfigured where there is no silver.
    """
    side = tables or SilverSide((target,))
    silver = side.rows(spark, read_table)
    files, missing = find_run_files(spark, source, manifest)
    left_out = recorded_bad_files(spark, target, manifest)
    checked = checked_records(spark, files, manifest.table)
    run_keys = side.of_tables(base_registers(spark, checked.records))
    late = count_unmerged_keys(silver, run_keys)
    damaged = tuple(sorted(bad.path.rpartition("/")[2] for bad in checked.bad_files))
    found: int | None = None
    if manifest.is_complete and not missing and not damaged and not late:
        found = ghosts(silver, run_keys, manifest.first_label_ms, manifest.run).count()
    return RunMergeCheck(tuple(missing), damaged, left_out, checked.count, late, found)


def recorded_bad_files(spark: SparkSession, target: str, manifest: Manifest) -> tuple[str, ...]:
    """The names of the run's files that the merge job recorded in `<target>_bad_files`."""
    place = companion_table(target, "_bad_files")
    if not exists(spark, place):
        return ()
    wanted = {file.key.rpartition("/")[2] for file in manifest.files}
    names = (str(row["path"]).rpartition("/")[2] for row in read_table(spark, place).select("path").collect())
    return tuple(sorted(wanted.intersection(names)))


def count_unmerged_keys(silver: DataFrame, run_keys: DataFrame) -> int:
    """The number of keys whose base register is below the run's record. They are not merged yet.

    | run key, base      | silver `_base`     | merged |
    |--------------------|--------------------|--------|
    | k1, `…100\\|r\\|1` | `…100\\|r\\|1`     | yes    |
    | k2, `…100\\|r\\|1` | `…200\\|s\\|1`     | yes: a newer snapshot is there |
    | k3, `…100\\|r\\|1` | `` or no row       | no     |
    """
    have = silver.select(F.col("_key").alias("key"), "_base")
    joined = run_keys.join(have, "key", "left")
    return joined.where(F.coalesce(F.col("_base"), F.lit("")) < F.col("base")).count()


def ghosts(silver: DataFrame, run_keys: DataFrame, label_ms: int, run: str) -> DataFrame:
    """Visible rows whose key is not in the run, and which no stream record has touched since the run's first label.

    A row whose base register is above the sweep's record would outlive the sweep, so it is not a ghost of this run.
    """
    own = base_records.base_register(label_ms, run, is_present=False)
    untouched = F.col("_stream_time_ms").isNull() | (F.col("_stream_time_ms") < label_ms)
    # With `ttl_deletes: keep` silver shows an expired row on purpose, so it is not a ghost.
    shown = ~F.col("_is_deleted") & ~F.coalesce(F.col("_ttl_expired"), F.lit(False))
    candidates = silver.where(shown & untouched & (F.coalesce(F.col("_base"), F.lit("")) < own))
    return candidates.select("_key").join(run_keys.select(F.col("key").alias("_key")), "_key", "left_anti")


def base_registers(spark: SparkSession, records: DataFrame | None) -> DataFrame:
    """Each key of a run's records, with the base register that the records give it."""
    if records is None:
        return spark.createDataFrame([], "key STRING, base STRING")
    return records.groupBy("key").agg(F.max(base_register()).alias("base"))


def find_run_files(spark: SparkSession, source: str, manifest: Manifest) -> tuple[list[DataFile], list[str]]:
    """(the run's files below the data prefix, the names of the missing ones)."""
    listing = (
        spark.read.format("binaryFile")
        .option("recursiveFileLookup", "true")
        .load(literal_path(source))
        .select("path", F.col("_metadata.file_path").alias("url"))
    )
    wanted = {file.key.rpartition("/")[2] for file in manifest.files}
    listed = ((str(row["path"]).rpartition("/")[2], row) for row in listing.toLocalIterator())
    parsed = ((name, parse_data_file(row["path"], row["url"])) for name, row in listed if name in wanted)
    found = {name: file for name, file in parsed if file is not None}
    return list(found.values()), sorted(wanted - found.keys())
