"""The output of a job: what it did, why it stopped, and whether the same command helps."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lakebound_spark.jobs.audit import main as audit_main
from lakebound_spark.jobs.build_history import main as history_main
from lakebound_spark.jobs.ingest_bronze import main as bronze_main
from lakebound_spark.jobs.maintain import main as maintain_main
from lakebound_spark.platform import job_main
from lakebound_spark.platform.failure_causes import Retry, cause_of
from lakebound_spark.platform.job_main import run_job as run_work
from lakebound_spark.platform.spark_compat import IS_SPARK_35
from lakebound_spark.platform.tables import absolute_path, create_table
from lakebound_spark.reading.source import stream_of_files
from tests.spark.jobs import run_main
from tests.spark.silver import run_job, write_config
from tests.support.independent_writer import item, stream, write_lines, write_records

CANARY = "canary-4711"
RECORDS = [stream(f"k{n % 4}", n + 1, item(f"k{n % 4}", v={"N": str(n)})) for n in range(10)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two files of records and a configuration, in which the commands are started."""
    write_records(tmp_path / "files", RECORDS[:6], hour="dt=2013-01-01/HH=05")
    write_records(tmp_path / "files", RECORDS[6:], hour="dt=2013-01-01/HH=06")
    config = write_config(tmp_path, ["id: string", "v: int"])
    config.write_text(config.read_text() + "\nhistory: scd2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ── what it did ──


@pytest.mark.soak
def test_relative_paths_work_and_every_job_ends_with_a_sentence(spark: SparkSession, here: Path) -> None:
    config = ("--config", "silver.yaml")
    bronze = ("--source", "files", "--checkpoint", "c/bronze", "--target", "lake/bronze", *config)
    done = run_main(bronze_main, *bronze)
    assert (done.status, done.last_line) == (0, "records=10 refused=0 bad_files=0 bad_lines=0")
    assert re.fullmatch(rf"appended 10 records to {here}/lake/bronze, 2 files, \d+ s", done.sentence)
    assert run_main(bronze_main, *bronze).sentence == f"nothing new for {here}/lake/bronze"

    silver = (Path("files"), Path("c/silver"), "lake/silver", Path("silver.yaml"))
    merged = run_job(*silver)
    assert (merged.status, merged.last_line) == (0, "stale=0 rescued=0 inexact=0 refused=0 bad_files=0")
    merged_sentence = rf"merged 10 records into {here}/lake/silver, 4 keys, \d+ s \(4 rows new, 0 changed\)"
    assert re.fullmatch(merged_sentence, merged.sentence), merged.sentence
    assert run_job(*silver).sentence == f"nothing new for {here}/lake/silver"

    from_bronze = ("--bronze", "./lake/bronze", "--target", "lake/silver", "--checkpoint", "c/history", *config)
    history = run_main(history_main, *from_bronze)
    assert re.fullmatch(rf"told 10 rows of {here}/lake/silver_history, \d+ s", history.sentence)
    assert run_main(history_main, *from_bronze).sentence == f"nothing new for {here}/lake/silver_history"
    audited = run_main(audit_main, "--bronze", "lake/bronze")
    assert re.fullmatch(rf"audited 10 records of 4 keys in {here}/lake/bronze, \d+ s: .*", audited.sentence)
    kept = run_main(maintain_main, "--target", "lake/silver", *config, "--dry-run")
    assert kept.sentence.startswith(f"would look at 4 tables of {here}/lake/silver: 0 tombstones to purge")


@pytest.mark.soak
def test_of_several_silver_tables_bronze_is_maintained_by_itself(
    spark: SparkSession, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bronze = ("--source", "files", "--checkpoint", "c/bronze", "--target", "lake/bronze", "--config", "silver.yaml")
    assert run_main(bronze_main, *bronze).status == 0
    Path("app.yaml").write_text("source_table: flights\ntables:\n  lake/silver: {where: rest}\n")
    dry = ("--config", "app.yaml", "--dry-run")

    kept = run_main(maintain_main, "--target", "lake/bronze", *dry)
    looked_at = {Path(line["table"]).name for line in kept.batches}
    assert (kept.status, "bronze" in looked_at, "silver" in looked_at) == (0, True, False)
    assert run_main(maintain_main, "--target", "lake/silvr", *dry).status == 2
    for name in ("silver_history", "silver_history_metrics"):
        spark.range(1).write.format("delta").save(str(here / "lake" / name))
    assert run_main(maintain_main, "--target", "lake/silver_history", *dry).status == 2
    assert f"{here}/lake/silvr is none of the tables of app.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "full"),
    [
        ("files", "/here/files"),
        ("./lake/silver", "/here/lake/silver"),
        ("/data/silver", "/data/silver"),
        ("s3a://bucket/silver", "s3a://bucket/silver"),
        ("dbfs:/silver", "dbfs:/silver"),
        ("abfss://box@account.dfs/silver", "abfss://box@account.dfs/silver"),
    ],
)
def test_an_address_stays_and_a_path_is_made_whole(place: str, full: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "absolute", lambda path: Path("/here") / path)
    assert absolute_path(place) == full


# ── everything refused ──


@pytest.mark.soak
def test_a_merge_that_refuses_everything_is_a_problem(
    spark: SparkSession, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = write_config(here, ["id: string"], source_table="weather")
    done = run_job(Path("files"), Path("c"), "lake/silver", wrong, "--max-files", "1")
    said = capsys.readouterr().err
    assert done.status == 1
    assert "nothing was merged" in said
    assert "all of 10 records refused, none is of the table weather" in said
    assert "set source_table or --source right" in said
    # A stream that goes on says so at its first MERGE, not only at its end.
    assert said.count("nothing was merged") == 2
    assert sum(batch["refused"] for batch in done.batches) == 10
    bronze = ("--source", "files", "--checkpoint", "b", "--target", "lake/bronze", "--config", "silver.yaml")
    assert run_main(bronze_main, *bronze).status == 1
    assert "nothing was appended" in capsys.readouterr().err


@pytest.mark.soak
def test_files_that_are_all_bad_are_a_problem_and_some_refused_are_counted(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, ["id: string"])
    write_lines(tmp_path / "bad", ['{"schema":1,"key":'], hour="dt=2013-01-01/HH=06")
    assert run_job(tmp_path / "bad", tmp_path / "c", tmp_path / "silver", config).status == 1
    assert "nothing could be read" in capsys.readouterr().err

    write_records(tmp_path / "mixed", [RECORDS[0], RECORDS[1] | {"source_table": "weather"}])
    done = run_job(tmp_path / "mixed", tmp_path / "d", tmp_path / "silver", config)
    assert done.status == 0
    assert done.sentence.startswith("merged 1 record into")
    assert done.sentence.endswith("; 1 record of other tables refused")


# ── why it stopped ──


def stop(spark: SparkSession, work: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status of a job whose work fails so, and its sentence."""

    def failing(session: SparkSession, event: threading.Event) -> int:
        work()
        return 0

    capsys.readouterr()
    status = run_work("merge_changes", failing, "/lake/silver")
    return status, capsys.readouterr().err


@pytest.mark.classic("a session of Connect looks for a table when it is read")
def test_a_cause_is_printed_with_its_class_its_message_and_what_to_do(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "silver")
    for work, status, says in (
        (
            lambda: stream_of_files(spark, "s3a://bucket/x", "files", 1),
            2,
            r"ClassNotFoundException: Class org\.apache\.hadoop\.fs\.s3a\.S3AFileSystem not found at /lake/silver"
            r": this Spark .*hadoop-aws:\d+\.\d+\.\d+ .*then the same command goes on",
        ),
        (
            lambda: stream_of_files(spark, "s3://bucket/x", "files", 1),
            2,
            r'No FileSystem for scheme "s3".*write s3a://',
        ),
        (
            lambda: create_table(spark, inside, ["a INT"]),
            2,
            r"(ParentNotDirectoryException|DELTA_CANNOT_CREATE_LOG_PATH): .*file.*make sure that --source",
        ),
        (lambda: spark.table("no.such.table"), 2, r"make sure that the table's catalog and schema are there"),
        (lambda: (tmp_path / "gone").read_text(), 2, r"FileNotFoundError: .*gone.*make sure that --source"),
    ):
        found, said = stop(spark, work, capsys)
        assert found == status, said
        assert re.search(says, said), said
        assert said.startswith("merge_changes: stopped by ")
        assert "Py4J" not in said
        assert "Traceback" not in said
        assert said.count("\n") == 1


RAISED = "RuntimeException" if IS_SPARK_35 else "USER_RAISED_EXCEPTION"


def test_a_message_that_could_quote_an_item_is_left_out_and_nothing_is_promised(
    spark: SparkSession, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = spark.createDataFrame([(CANARY,)], "v STRING")
    for work, name in (
        (lambda: spark.sql(f"SELECT raise_error('{CANARY}')").collect(), RAISED),
        (lambda: rows.select(F.udf(lambda text: int(text))("v")).collect(), "PythonException"),
        (lambda: int(CANARY), "ValueError"),
    ):
        with pytest.raises(Exception, match=CANARY):  # red control: the error itself quotes it
            work()
        status, said = stop(spark, work, capsys)
        assert status == 1
        assert name in said
        assert CANARY not in said
        assert "its message could quote an item" in said
        assert "should it stop here again, waiting will not help" in said


class JavaError:
    """A Java exception as py4j shows it."""

    def __init__(self, name: str, message: str, cause: JavaError | None = None) -> None:
        self._name, self._message, self._cause = name, message, cause

    def getClass(self) -> JavaError:  # noqa: N802
        return self

    def getName(self) -> str:  # noqa: N802
        return self._name

    def getMessage(self) -> str:  # noqa: N802
        return self._message

    def getCause(self) -> JavaError | None:  # noqa: N802
        return self._cause


def wrapped(*errors: tuple[str, str]) -> Exception:
    """As many wrappings as Spark has, around these errors, the innermost last."""
    cause = None
    for name, message in reversed(
        [
            ("org.apache.spark.SparkException", f"Job aborted due to stage failure: {CANARY}"),
            ("java.util.concurrent.ExecutionException", CANARY),
            *errors,
        ]
    ):
        cause = JavaError(name, message, cause)
    error = RuntimeError(CANARY)
    error.java_exception = cause  # type: ignore[attr-defined]
    return error


S3 = "software.amazon.awssdk.services.s3.model."
TOLD = [
    # What S3A made of what S3 answered, as its documentation on troubleshooting has it: the class is Java's own.
    ("java.nio.file.AccessDeniedException", "s3a://b/x: getFileStatus on s3a://b/x", "role", Retry.STOPS_AGAIN),
    (
        "org.apache.hadoop.fs.s3a.UnknownStoreException",
        "`s3a://b/x`: Bucket does not exist",
        "bucket",
        Retry.STOPS_AGAIN,
    ),
    (f"{S3}NoSuchBucketException", "The specified bucket does not exist", "bucket", Retry.STOPS_AGAIN),
    ("org.apache.hadoop.fs.s3a.auth.NoAuthWithAWSException", "No AWS Credentials", "credentials", Retry.STOPS_AGAIN),
    (f"{S3}S3Exception", "ExpiredToken: the provided token has expired", "credentials", Retry.STOPS_AGAIN),
    (f"{S3}S3Exception", "Access Denied (Service: S3, Status Code: 403)", "role", Retry.STOPS_AGAIN),
    (f"{S3}S3Exception", "SlowDown: reduce your request rate (Status Code: 503)", "", Retry.GOES_ON),
    ("java.net.UnknownHostException", "b.s3.nowhere.amazonaws.com", "endpoint", Retry.STOPS_AGAIN),
    ("java.net.SocketTimeoutException", "Read timed out", "", Retry.GOES_ON),
    ("java.net.ConnectException", "Connection refused", "", Retry.GOES_ON),
    ("java.io.IOException", "No space left on device", "room", Retry.STOPS_AGAIN),
    ("java.lang.OutOfMemoryError", "Java heap space", "memory", Retry.STOPS_AGAIN),
    ("java.lang.NoSuchMethodError", "scala.Predef", "another version", Retry.STOPS_AGAIN),
]


@pytest.mark.parametrize(("name", "message", "advice", "then"), TOLD, ids=lambda value: str(value)[-30:])
def test_each_kind_of_cause_is_found_below_its_wrappings(name: str, message: str, advice: str, then: Retry) -> None:
    cause = cause_of(wrapped((name, message)))
    assert (cause.name, cause.message, cause.next) == (name, message, then)
    assert advice in cause.advice
    assert CANARY not in f"{cause} {cause.advice}"
    log = Path("/tmp/x.log")
    sentence = job_main.failure_message(cause, "/lake/silver", "goes on from where it was", log)
    assert ("then the same command" in sentence) == (then is Retry.STOPS_AGAIN)
    assert f"Spark's own words: {log}" in sentence
    assert ".log" not in job_main.failure_message(cause, "/lake/silver", "goes on", None)


def test_a_message_is_one_short_line_without_a_password() -> None:
    cause = cause_of(wrapped(("java.io.IOException", f"cannot open s3a://KEY:SECRET@b/x {'x' * 500}\n at Here.java")))
    assert "s3a://b/x" in cause.message
    assert "SECRET" not in cause.message
    assert len(cause.message) == 300


@pytest.mark.classic("the log is that of the job's own Java process")
def test_a_log_is_named_only_where_it_is(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "java.log"
    monkeypatch.setattr(job_main, "default_log", lambda: log)

    class Ended:
        def stop(self) -> None:
            """The session's, which the other tests need."""

    for ours, text, named in ((True, "words", True), (True, "", False), (True, None, False), (False, "words", False)):
        log.unlink(missing_ok=True)
        if text is not None:
            log.write_text(text)
        monkeypatch.setattr(job_main, "job_session", lambda app, catalog, ours=ours: (Ended(), ours))
        _, said = stop(spark, lambda: spark.table("nothere"), capsys)
        assert (str(log) in said) == named, said
        assert log.exists() or not named
