"""The heartbeat's files are a table's files: the merge job brings them into a silver table of their own, whose newest
row tells how far silver is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.adapters.live_table import LiveTable
from lakebound.transport.object_keys import heartbeat_prefix
from tests.spark.silver import run_job, write_config
from tests.support.heartbeat_items import BEATS, a_heartbeat, flushed
from tests.support.stream_records import TABLE
from tests.support.use_case_world import World

FOLDER = f"{heartbeat_prefix(TABLE)}/"


@pytest.mark.soak
def test_the_newest_heartbeat_of_silver_is_the_newest_that_was_merged(spark: SparkSession, tmp_path: Path) -> None:
    del spark  # the job's session
    world, source, target = World(), tmp_path / "source", tmp_path / "silver"
    config = write_config(tmp_path, ["step: string"], BEATS)

    def merged_ms() -> int:
        for key, kept in world.bucket.objects.items():
            if key.startswith(FOLDER):
                path = source / key.removeprefix(FOLDER)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(kept.body)
        assert run_job(source, tmp_path / "checkpoint", target, config).status == 0
        _, rows = LiveTable(str(target)).query("SELECT count(*), max(_stream_time_ms) FROM live_rows")
        ((count, newest),) = rows
        assert count == 1, "one item, always the same"
        return int(newest)

    told = []
    for _ in range(2):
        a_heartbeat(world)
        assert flushed(world).heartbeats
        told.append((merged_ms(), world.clock.now_ms() // 1000 * 1000))
        world.clock.sleep(300)
    assert [merged for merged, _ in told] == [written for _, written in told]
    assert told[0] != told[1]
