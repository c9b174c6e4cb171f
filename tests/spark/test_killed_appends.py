"""kill -9 of a job that appends first and merges beside that, at each kind of its side effects and at any path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound_spark.silver.changes_table import pending
from lakebound_spark.silver.live_rows import live_rows
from tests.spark.filtered import joins_told
from tests.spark.killed import CARELESS, FILTERED, Lake
from tests.spark.shown_rows import expected, shown
from tests.spark.silver import run_job

SEEDS = 8
EVERY_SECOND = ("--merge-every", "1s")
"""What a micro-batch has appended is merged while the next one comes, and the rest at the end."""
HOURLY = ("--merge-every", "1h")

pytestmark = [pytest.mark.soak, pytest.mark.classic("starts Spark in a process of its own")]


def start_again(lake: Lake, *more: str) -> None:
    """The job to its end, in this process and its session."""
    source, checkpoint, silver, config = (
        lake.folder / name for name in ("source", "checkpoint", "silver", "silver.yaml")
    )
    assert run_job(source, checkpoint, silver, config, "--max-files", "1", *more).status == 0


def require_all(spark: SparkSession, lake: Lake) -> None:
    """Both registers and the item of every key: in `_live` after a start that appends, in silver after one that merges.

    No append of the killed job is left behind then.
    """
    target = str(lake.folder / "silver")
    start_again(lake, *HOURLY)
    assert shown(live_rows(spark, target).collect()) == expected(lake.records)
    start_again(lake)
    assert pending(spark, target).rows == 0
    assert shown(spark.read.format("delta").load(target).collect()) == expected(lake.records)
    assert shown(live_rows(spark, target).collect()) == expected(lake.records)


@pytest.mark.parametrize(
    ("table", "operation", "count", "left"),
    [
        # Its second append is committed, and Spark has not noted the micro-batch.
        ("silver_changes", "WRITE", 2, lambda lake: lake.numbered("checkpoint/commits/", lake.paths()) < 2),
        # The merge is committed, and no property says so yet: there is but the one that names `_changes`.
        ("silver", "MERGE", 1, lambda lake: lake.commits("silver", "SET TBLPROPERTIES") == 1),
        # A second merge is noted, and what the first had taken is still there.
        ("silver", "SET TBLPROPERTIES", 3, lambda lake: lake.commits("silver_changes", "DELETE") == 0),
        ("silver_changes", "DELETE", 1, lambda lake: lake.commits("silver", "MERGE") == 2),
    ],
    ids=["appended", "merged", "noted", "dropped"],
)
def test_a_job_killed_after_a_commit_ends_right(
    spark: SparkSession, tmp_path: Path, table: str, operation: str, count: int, left: Callable[[Lake], bool]
) -> None:
    lake = Lake.of(tmp_path / "lake", 0)
    killed = lake.run(lambda paths: lake.commits(table, operation) >= count, *EVERY_SECOND)
    assert killed is not None, "the job ended before it was killed"
    assert left(lake), killed
    require_all(spark, lake)


@pytest.mark.parametrize(
    ("is_there", "merges"),
    [
        # What waits is held for the MERGE, which takes seconds.
        (lambda lake: (lake.folder / "checkpoint/lakebound_staging/pending/_SUCCESS").exists(), 2),
        # The MERGE is committed, and no property says so yet.
        (lambda lake: lake.commits("silver", "MERGE") == 3, 3),
    ],
    ids=["held", "merged"],
)
def test_a_job_killed_around_a_merge_with_the_bloom_filter_ends_right(
    spark: SparkSession, tmp_path: Path, is_there: Callable[[Lake], bool], merges: int
) -> None:
    """The next start merges the same rows again, and tells of its filter.

    Silver has two of the three files before: a MERGE into an empty table has no join and so no filter, and of three
    appends that follow each other fast only two MERGEs may come.
    """
    lake = Lake.of(tmp_path / "lake", 0, FILTERED)
    silver, last = str(lake.folder / "silver"), lake.folder / "source" / "dt=2013-01-01" / "HH=02"
    last.rename(lake.folder / "later")
    start_again(lake)
    (lake.folder / "later").rename(last)
    killed = lake.run(lambda paths: is_there(lake), *EVERY_SECOND)
    assert killed is not None, "the job ended before it was killed"
    assert lake.commits("silver", "MERGE") == merges, killed
    assert lake.commits("silver", "SET TBLPROPERTIES") == 1, "only the one that names `_changes`"
    is_whole = shown(spark.read.format("delta").load(silver).collect()) == expected(lake.records)
    assert is_whole == (merges == 3), "what the third file brings is in silver by the MERGE alone"
    assert joins_told(lake.folder / "log") == []
    assert lake.run(lambda paths: False, *EVERY_SECOND) is None
    assert joins_told(lake.folder / "log") == [(1, 1)]
    assert pending(spark, silver).rows == 0
    assert shown(spark.read.format("delta").load(silver).collect()) == expected(lake.records)


@pytest.fixture(scope="module")
def all_paths(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many paths a job makes that nobody kills."""
    whole = Lake.of(tmp_path_factory.mktemp("whole") / "0", 0)
    assert whole.run(lambda paths: False, *EVERY_SECOND) is None
    return len(whole.paths())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_job_killed_at_any_side_effect_ends_right(
    spark: SparkSession, all_paths: int, tmp_path: Path, seed: int
) -> None:
    lake = Lake.of(tmp_path / "lake", seed)
    killed = lake.run(lambda paths: len(paths) >= 1 + (2 * seed + 1) * all_paths // (2 * SEEDS), *EVERY_SECOND)
    assert killed is not None, "the job ended before it was killed"
    print(f"seed {seed}: {killed}")
    require_all(spark, lake)


def test_a_careless_job_is_caught(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lake.of(tmp_path / "killed", 1, CARELESS)
    assert lake.run(lambda paths: lake.numbered("checkpoint/commits/", paths) >= 1, *EVERY_SECOND) is not None
    start_again(lake)
    assert shown(live_rows(spark, str(lake.folder / "silver")).collect()) != expected(lake.records)
