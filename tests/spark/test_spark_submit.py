"""A job by spark-submit whose table has a name: the next run finds it, or the first one says what to set."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lakebound.cli.spark_conf import with_jars
from lakebound_spark.platform.session import SETTINGS, SETTINGS_OF_HIVE, settings_in
from tests.spark.silver import write_config
from tests.spark.spark_submit import PYTHONPATH, ROOT, SPARK_HOME, submit
from tests.support.independent_writer import item, stream, write_records

pytestmark = [pytest.mark.soak, pytest.mark.classic("starts Spark in a process of its own")]


@pytest.fixture
def hive(tmp_path: Path) -> dict[str, str]:
    """The settings as they are printed, with folders of this test."""
    settings = settings_in(SETTINGS_OF_HIVE)
    assert sum("/data/" in value for value in settings.values()) == 2
    return {name: value.replace("/data/", f"{tmp_path}/") for name, value in settings.items()}


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    write_records(tmp_path / "source", [stream("k", 1, item("k"))])
    config = write_config(tmp_path, ["id: string"])
    places = ["--source", tmp_path / "source", "--checkpoint", tmp_path / "c", "--config", config]
    return ["merge_changes", *places, "--target", "default.flights"]


@contextmanager
def metastore_in_use(place: Path) -> Iterator[None]:
    """Derby's own shell has the folder open, as another job's Java process would."""
    jars = os.pathsep.join(map(str, SPARK_HOME.glob("jars/derby*.jar")))
    shell = subprocess.Popen(
        ["java", "-cp", jars, "org.apache.derby.tools.ij"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=place.parent,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    with shell:
        shell.stdin.write(f"connect 'jdbc:derby:{place};create=true';\nshow connections;\n")
        shell.stdin.flush()
        while "CONNECTION0" not in (line := shell.stdout.readline()):
            assert line, "Derby's shell has ended"
        yield
        shell.stdin.write("exit;\n")


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def test_the_next_run_finds_the_table_from_another_folder(
    arguments: list[str], hive: dict[str, str], tmp_path: Path
) -> None:
    first = submit(*arguments, cwd=folder(tmp_path, "one"), settings=hive)
    assert (first.returncode, "merged 1 record into default.flights" in first.stdout) == (0, True), first.stdout
    write_records(tmp_path / "source", [stream("k", 2, item("k", v={"N": "2"}))], hour="dt=2013-01-01/HH=06")
    second = submit(*arguments, cwd=folder(tmp_path, "two"), settings=hive)
    assert (second.returncode, "1 changed" in second.stdout) == (0, True), second.stdout


def test_a_second_job_is_told_that_derby_lets_one_in(
    arguments: list[str], hive: dict[str, str], tmp_path: Path
) -> None:
    with metastore_in_use(tmp_path / "metastore"):
        done = submit(*arguments, cwd=tmp_path, settings=hive)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stdout
    assert f"{tmp_path}/metastore" in done.stdout
    assert "spark.hadoop.hive.metastore.uris" in done.stdout


def test_a_name_that_hive_refuses_is_said_in_a_sentence(
    arguments: list[str], hive: dict[str, str], tmp_path: Path
) -> None:
    done = submit(*arguments[:-1], "default.flights-eu", cwd=tmp_path, settings=hive)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stdout
    assert "flights-eu" in done.stdout


def test_a_catalog_that_forgets_is_refused_before_anything_is_made(
    arguments: list[str], hive: dict[str, str], tmp_path: Path
) -> None:
    done = submit(*arguments, cwd=tmp_path, settings={"spark.sql.warehouse.dir": str(tmp_path / "warehouse")})
    assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stdout
    assert "forgets its tables" in done.stdout
    assert all(name in done.stdout for name in hive)
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob("warehouse/*"))


def test_a_spark_without_hive_says_what_to_do(arguments: list[str], hive: dict[str, str], tmp_path: Path) -> None:
    home = folder(tmp_path, "spark")
    for place in {*SPARK_HOME.iterdir()} - {SPARK_HOME / "jars"}:
        (home / place.name).symlink_to(place)
    jars = folder(home, "jars")
    for jar in {*SPARK_HOME.glob("jars/*.jar")} - {*SPARK_HOME.glob("jars/spark-hive_*.jar")}:
        (jars / jar.name).symlink_to(jar)
    done = submit(*arguments, cwd=tmp_path, settings=hive, spark_home=home)
    assert (done.returncode, done.stdout.count("\n")) == (2, 1), done.stdout
    assert "this Spark has no Hive" in done.stdout


def test_with_jars_of_a_folder_only_java_has_a_word_on_standard_error(
    spark: SparkSession, arguments: list[str], tmp_path: Path
) -> None:
    jars = folder(tmp_path, "jars")
    for jar in spark.conf.get("spark.jars", "").split(","):
        shutil.copy(jar.removeprefix("file://"), jars)
    assert any(jars.iterdir())
    quiet = tmp_path / "quiet.conf"
    quiet.write_text(with_jars(SETTINGS.read_text(), jars))
    script = ROOT / "spark" / "jobs" / "merge_changes.py"
    words = [*map(str, arguments[1:-1]), str(tmp_path / "silver")]
    lines = {}
    for name, settings in (("quiet", quiet), ("packages", SETTINGS)):
        command = [str(SPARK_HOME / "bin" / "spark-submit"), "--properties-file", str(settings), str(script), *words]
        environment = {"SPARK_HOME": str(SPARK_HOME), "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": PYTHONPATH}
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines[name] = done.stderr.splitlines()
    assert lines["quiet"] == ["WARNING: Using incubator modules: jdk.incubator.vector"]
    assert len(lines["packages"]) > 50, "red control: packages are told of"
