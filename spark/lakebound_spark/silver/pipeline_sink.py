"""Silver as the sink of a declarative pipeline: what its function for a micro-batch calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame

from lakebound_spark.platform.metrics import prepare_metrics
from lakebound_spark.platform.refusals import Refusals
from lakebound_spark.platform.streams import staging_folder
from lakebound_spark.reading.source import BYTES_PER_MERGE, FILES_PER_MICRO_BATCH
from lakebound_spark.silver.config import EntitiesConfig, MergeConfig, load_any_config, parse_any_config
from lakebound_spark.silver.entity_job import EntityJob
from lakebound_spark.silver.merge_job import BRONZE, MergeJob
from lakebound_spark.silver.pending_merge import merge_pending


@dataclass(frozen=True)
class SilverSink:
    """Merges micro-batches of bronze's rows into silver, as `merge_changes --reader bronze` does.

    Where the configuration has several tables, ``target`` is the name for all of them, as it is for the job.

    A pipeline that begins anew ("full refresh") brings every record again, which changes nothing. Make one each time
    the pipeline's source is read: its rows of `<target>_metrics` bear the id of the update.
    """

    target: str
    config: str | Mapping[str, Any]
    """The YAML of `merge_changes`, as a path or as a mapping."""
    folder: str
    """A folder of this table's own, as in a volume: held rows, and the id of silver. It goes when silver is dropped."""
    run: str = field(default_factory=lambda: uuid4().hex)

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        """Merge one micro-batch. Raises Misconfigured for what a person has to set right.

        Every call looks whether the tables are there, since a pipeline gives no moment before its first micro-batch.
        """
        spark, job = batch.sparkSession, self._job()
        # What a job with `--merge-every` has appended before the pipeline took over.
        merge = partial(merge_pending, spark, source_table=job.config.source_table, staging=staging_folder(self.folder))
        job.prepare(spark, merge, Refusals(print))
        work = job.work(self.run)
        prepare_metrics(spark, self.target, work.kind)
        work(batch, batch_id)

    def _job(self) -> MergeJob | EntityJob:
        config = load_any_config(self.config) if isinstance(self.config, str) else parse_any_config(dict(self.config))
        whole = MergeJob(
            source="",
            checkpoint=self.folder,
            target=self.target,
            config=MergeConfig(config.source_table) if isinstance(config, EntitiesConfig) else config,
            trigger={},
            reader=BRONZE,
            files_per_micro_batch=FILES_PER_MICRO_BATCH,
            bytes_per_merge=BYTES_PER_MERGE,
        )
        if isinstance(config, EntitiesConfig):
            return EntityJob.of(whole, config, keeps_progress=False)
        return whole
