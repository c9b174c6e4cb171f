"""The Spark session of a job: the platform's session where there is one, else a local session with Delta."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.utils import is_remote

from lakebound.errors import Misconfigured
from lakebound_spark.platform.spark_compat import IS_SPARK_35, condition_of, server_errors, settle_casts

# Shipped to a cluster, the package is read out of an archive, in which there are no paths.
SETTINGS: Final = files("lakebound_spark") / "local.conf"
SETTINGS_OF_35: Final = files("lakebound_spark") / "spark35.conf"
SETTINGS_OF_S3A: Final = files("lakebound_spark") / "s3a.conf"
SETTINGS_OF_HIVE: Final = files("lakebound_spark") / "hive.conf"
DELTA_SETTINGS: Final = ("spark.sql.extensions", "spark.sql.catalog.spark_catalog")
"""The settings by which Spark knows Delta's tables. The jars come from `spark.jars.packages`."""


def local_settings() -> dict[str, str]:
    """The lines of `local.conf`, which plain Python and spark-submit share, and of `spark35.conf` on Spark 3.5."""
    return settings_in(SETTINGS) | (settings_in(SETTINGS_OF_35) if IS_SPARK_35 else {})


def settings_in(file: Traversable) -> dict[str, str]:
    """The lines of a file for `--properties-file`, by their names."""
    lines = (line.split(None, 1) for line in file.read_text("utf-8").splitlines() if line and line[0] != "#")
    return {name: value.strip() for name, value in lines}


def local_session(
    app: str, *, catalog: bool = False, log: Path | None = None, settings: Mapping[str, str] | None = None
) -> SparkSession:
    """A session on this machine with Delta, at most 2 cores and 2 GiB of heap.

    The first start fetches Delta's jars from Maven Central into the user's Ivy cache; later ones need no network.
    The Java process prints to ``log``, by default a file in the temporary folder. ``catalog`` keeps tables by name
    between runs, in `metastore_db` and `spark-warehouse` of the working directory. ``settings`` override those of
    `local.conf`. Raises Misconfigured when Java is missing or Spark does not start.
    """
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise Misconfigured("Java is missing; install Java 17 or later, on Debian: apt-get install default-jre")
    # Executors use the Python of this process, not whichever `python3` is first in PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    log = log or default_log()
    builder = SparkSession.builder.appName(app)
    for name, value in {**local_settings(), **(settings or {})}.items():
        builder = builder.config(name, value)
    if catalog:
        builder = builder.enableHiveSupport()
    elif "spark.sql.warehouse.dir" not in (settings or {}):
        # Spark would create this folder in the working directory at every start, even without need.
        builder = builder.config("spark.sql.warehouse.dir", tempfile.gettempdir() + "/lakebound-spark-warehouse")
    _quiet_context_loggers()
    try:
        with _java_output_to(log):
            return builder.getOrCreate()
    except (PySparkException, RuntimeError) as error:
        raise Misconfigured(f"Spark did not start: {type(error).__name__}; its own words are in {log}") from None


def _quiet_context_loggers() -> None:
    """Stop PySpark from printing a failed query again, with its stack and the values that its message quotes."""
    for name in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(name).disabled = True


def job_session(app: str, *, catalog: bool) -> tuple[SparkSession, bool]:
    """(the session to use, whether the job created it and has to stop it).

    A running session is used, and so is the session that Databricks, spark-submit or a Spark Connect server
    (SPARK_REMOTE) prepares. Only the casts of Spark 3.5 are changed in it. Plain `python` gets `local_session`.
    ``catalog`` says that a table stands in Spark's own catalog. Raises Misconfigured when spark-submit brings no Delta,
    or a catalog that forgets the table.
    """
    _quiet_context_loggers()
    spark, ours = _platform_session(app, catalog)
    settle_casts(spark)
    return spark, ours


def _platform_session(app: str, catalog: bool) -> tuple[SparkSession, bool]:
    active = SparkSession.getActiveSession()
    if active is not None:
        # A foreachBatch function works in a clone of the session. Once it has called createDataFrame, as for a bad
        # file, PySpark takes the clone for the active session, and a view made there is not in the caller's.
        return active if is_remote() else SparkSession.builder.getOrCreate(), False
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or "SPARK_REMOTE" in os.environ:
        return SparkSession.builder.appName(app).getOrCreate(), False
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return local_session(app, catalog=catalog), True
    spark = SparkSession.builder.appName(app).getOrCreate()
    _require_delta(spark)
    if catalog:
        _require_lasting_catalog(spark)
    return spark, True


def _require_delta(spark: SparkSession) -> None:
    """Raises Misconfigured without Delta's settings or jar. Spark starts without them, and fails at the first table."""
    ours, missing = local_settings(), list[str]()
    try:
        spark.read.format("delta").load("/no/such/table")
    except Exception as error:
        names = [condition_of(error), *(one.name for one in server_errors(error))]
        if any("DATA_SOURCE_NOT_FOUND" in name or "ClassNotFoundException" in name for name in names):
            missing.append(f"--packages {ours['spark.jars.packages']}")
    if ours["spark.sql.extensions"] not in str(spark.conf.get("spark.sql.extensions", "")):
        missing += [f"--conf {name}={ours[name]}" for name in DELTA_SETTINGS]
    if missing:
        raise Misconfigured(
            f"this Spark has no Delta; give spark-submit {' '.join(missing)}, or on one machine "
            f"--properties-file {SETTINGS}, which says the same"
        )


def _require_lasting_catalog(spark: SparkSession) -> None:
    """Raises Misconfigured where names end with the session: the next run would find a folder and no table."""
    is_own = spark.catalog.currentCatalog() == "spark_catalog"
    if is_own and spark.conf.get("spark.sql.catalogImplementation") != "hive":
        lines = settings_in(SETTINGS_OF_HIVE).items()
        words = (f"--conf {shlex.quote(f'{name}={value}')}" for name, value in lines)
        raise Misconfigured(
            "the catalog of this Spark forgets its tables when the job ends, and the next run would not find them; "
            f"give spark-submit {' '.join(words)} with folders of yours, as `lakebound spark-conf --platform hive` "
            "prints them. Where this Spark has no Hive (no jar spark-hive), give paths in place of names"
        )


def default_log() -> Path:
    """The default file for the output of this process's Java process."""
    return Path(tempfile.gettempdir()) / f"lakebound-spark-{os.getpid()}.log"


@contextmanager
def _java_output_to(log: Path) -> Iterator[None]:
    # Ivy prints fifty lines before Spark's log level applies, on Spark 3.5 some of them among a job's JSON lines. The
    # Java process inherits file descriptors 1 and 2 at its start, so they point to the log for that moment.
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for number in saved:
            os.dup2(file, number)
        yield
    finally:
        for number, kept in saved.items():
            os.dup2(kept, number)
            os.close(kept)
        os.close(file)
