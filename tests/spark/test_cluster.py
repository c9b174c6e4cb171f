"""The jobs on a Spark cluster of its own, which has this project only from the wheel that each run ships."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakebound_spark.platform.session import SETTINGS, SETTINGS_OF_S3A, settings_in
from tests.spark.every_job import Answer, every_job, require_equal_end, run_jobs, write_files
from tests.spark.quick_settings import QUICK
from tests.spark.spark_cluster import SPARK_HOME, bare_python, spark_cluster
from tests.support.wheel import ROOT, build_wheel

pytestmark = [pytest.mark.soak, pytest.mark.classic("starts Spark in a process of its own")]


class Cluster:
    """Runs jobs in one driver on the cluster at ``address``, with files and tables in ``folder``."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self._address = folder, address
        self._python = bare_python(folder)

    def run(
        self, commands: dict[str, tuple[str, ...]], settings: dict[str, str], *ships: str, path: str = ""
    ) -> dict[str, Answer]:
        """``ships`` are options of spark-submit that bring the project; ``path`` is where the driver alone finds it."""
        given = settings_in(SETTINGS) | QUICK | settings | {"spark.executor.memory": "768m"}
        given |= {"spark.master": self._address, "spark.sql.warehouse.dir": f"{self.folder}/warehouse"}
        start = [str(SPARK_HOME / "bin" / "spark-submit"), *ships]
        start += [f"--conf={name}={value}" for name, value in given.items()]
        environment = os.environ | {"SPARK_HOME": str(SPARK_HOME), "PYSPARK_PYTHON": str(self._python)}
        return run_jobs(start, commands, self.folder, environment | {"PYTHONPATH": path})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    write_files(folder, f"{folder}/flights")
    with spark_cluster(folder) as address:
        yield Cluster(folder, address)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The wheel under a name with which Spark puts it on the workers' path, which it does not do for `.whl`."""
    folder = tmp_path_factory.mktemp("wheel")
    return str(shutil.copy(build_wheel(folder), folder / "lakebound.zip"))


def test_every_job_ends_as_on_one_machine_and_one_of_them_in_s3(cluster: Cluster, archive: str) -> None:
    from demo.local_stack import LocalStack

    folder, silver = cluster.folder, f"{cluster.folder}/flights"
    with LocalStack() as stack:
        s3 = stack.client("s3")
        s3.create_bucket(Bucket="lake")
        for file in (folder / "source").rglob("*.ndjson.gz"):
            s3.put_object(
                Bucket="lake", Key=f"ddb/{file.relative_to(folder / 'source').as_posix()}", Body=file.read_bytes()
            )
        in_s3 = ("--source", "s3a://lake/ddb", "--checkpoint", "s3a://lake/checkpoint", "--target", "s3a://lake/silver")
        commands = every_job(folder, silver)
        commands["merge in S3"] = ("merge_changes", *in_s3, "--config", f"{folder}/silver.yaml")
        at = {"endpoint": stack.endpoint, "endpoint.region": "us-east-1", "path.style.access": "true"}
        at |= {"access.key": "test", "secret.key": "test"}
        settings = settings_in(SETTINGS_OF_S3A) | {f"spark.hadoop.fs.s3a.{name}": value for name, value in at.items()}
        answers = cluster.run(commands, settings, "--py-files", archive)
    require_equal_end(answers, silver)
    assert "merged 8 records into s3a://lake/silver" in answers["merge in S3"].out, answers["merge in S3"]
    assert len(list(folder.glob("work*/*/*/stderr"))) == 2, "an executor on each worker"


def test_red_control_without_the_wheel_the_history_has_no_function_on_the_workers(cluster: Cluster) -> None:
    silver = f"{cluster.folder}/red/silver"
    every = every_job(cluster.folder, silver)
    commands = {name: tuple(word.replace("/checkpoints/", "/red/") for word in every[name]) for name in every}
    commands = {name: commands[name] for name in ("bronze", "history")}
    answers = cluster.run(commands, {}, path=f"{ROOT}/src:{ROOT}/spark")
    assert (answers["bronze"].status, answers["history"].status) == (0, 2), answers
    assert "ModuleNotFoundError" in answers["history"].err
