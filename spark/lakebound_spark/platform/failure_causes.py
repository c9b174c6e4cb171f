"""Why a job stopped: the innermost error, without any item's value, and advice.

Spark wraps an error three to six times, and only the innermost one helps. Its message is shown only where it cannot
quote a row. Errors of files, networks, class loading, Hadoop and the AWS SDK name paths, hosts and classes. Some of
Spark's conditions name tables and columns. Of every other error only the name is shown.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Final

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.spark_compat import condition_of, is_conflict, server_errors

MESSAGE_LENGTH: Final = 300
"""The greatest length of a message, in characters."""


class Retry(Enum):
    """What the same command would do if it were started again."""

    GOES_ON = "goes on"
    """The cause passes on its own."""
    STOPS_AGAIN = "stops again"
    """It would stop in the same way until somebody corrects the cause."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Cause:
    """The innermost error that may be shown. ``message`` is empty where it could quote an item's value."""

    name: str
    message: str
    advice: str
    next: Retry

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name

    @property
    def unsaid(self) -> str:
        """Why there is no message, where there is none."""
        return "" if self.message else " (its message could quote an item, so it is not repeated here)"


class MicroBatchError(Exception):
    """A failed micro-batch. Its text carries the cause from where the micro-batch ran to the process that prints it."""

    def __init__(self, document: str) -> None:
        super().__init__(_MARK + b64encode(document.encode()).decode())
        self.document: dict[str, str] = json.loads(document)


_MARK: Final = "lakebound-micro-batch-error:"


def portable_error(error: Exception) -> MicroBatchError:
    """The error as text that any process can read: its cause as this process knows it, without an item's value."""
    if isinstance(error, Misconfigured):
        return MicroBatchError(json.dumps({"misconfigured": str(error)}))
    cause = cause_of(error)
    return MicroBatchError(json.dumps(asdict(cause) | {"next": cause.next.value}))


def micro_batch_error(error: BaseException) -> Exception | None:
    """The `portable_error` that Spark wrapped into ``error``; None where something else failed."""
    found = re.search(_MARK + r"([A-Za-z0-9+/=]+)", str(error))
    if found is None:
        return None
    sent = MicroBatchError(b64decode(found[1]).decode())
    misconfigured = sent.document.get("misconfigured")
    return sent if misconfigured is None else Misconfigured(misconfigured)


_ROW_FREE_CLASSES: Final = (
    "java.io.",
    "java.nio.",
    "java.net.",
    "javax.net.ssl.",
    "java.util.concurrent.TimeoutException",
    "java.lang.ClassNotFoundException",
    "java.lang.NoClassDefFoundError",
    "java.lang.NoSuchMethodError",
    "java.lang.UnsupportedClassVersionError",
    "java.lang.OutOfMemoryError",
    "org.apache.hadoop.",
    "org.apache.http.",
    "software.amazon.awssdk.",
    "com.amazonaws.",
    "builtins.ModuleNotFoundError",
    "builtins.OSError",
    # Derby holds a Hive metastore here, which knows names of tables and columns, and no item.
    "org.apache.derby.",
)
_ROW_QUOTING_CLASSES: Final = (
    "java.io.NotSerializableException",
    "java.io.UncheckedIOException",
    "java.io.InvalidObjectException",
)
"""The first quotes the object itself, the others quote the error that they wrap."""

_SCHEMA_CONDITIONS: Final = re.compile(
    r"PATH_NOT_FOUND|PATH_ALREADY_EXISTS|TABLE_OR_VIEW_NOT_FOUND|SCHEMA_NOT_FOUND|CATALOG_NOT_FOUND|"
    r"INVALID_SCHEMA_OR_RELATION_NAME|AMBIGUOUS_REFERENCE|DATA_SOURCE_NOT_FOUND|UNRESOLVED_COLUMN(\..+)?|"
    r"UNSUPPORTED_FEATURE\.TABLE_OPERATION|DELTA_TABLE_NOT_FOUND|DELTA_PATH_DOES_NOT_EXIST|"
    r"DELTA_CANNOT_CREATE_LOG_PATH|DELTA_(MISSING|UNSUPPORTED)_.*|REQUIRES_SINGLE_PART_NAMESPACE|FAILED_READ_FILE\..+"
)
"""Conditions of Spark and Delta whose message holds only names of tables, columns, paths and features."""


_DERBY: Final = "Another instance of Derby"
_KINDS: Final = (
    # (pattern, advice). The pattern is searched in the chain, one line `class: message` for each error, and the first
    # match decides. An empty advice means that the cause passes on its own.
    (
        r"S3AFileSystem not found",
        "this Spark cannot read s3a://; add to --packages org.apache.hadoop:hadoop-aws:HADOOP (its Hadoop's version)",
    ),
    (
        r'No FileSystem for scheme "?s3"?$',
        "outside of EMR and Databricks write s3a:// in place of s3://",
    ),
    (r"No FileSystem for scheme", "write an address that this Spark has a file system for"),
    (
        _DERBY,
        "another job has Hive's metastore open, and Derby lets one in at a time; start this job when that one has "
        "ended, or give both spark.hadoop.hive.metastore.uris, the address of a metastore of your own",
    ),
    (
        r"ClassNotFoundException: org\.apache\.spark\.sql\.hive\.",
        "this Spark has no Hive; leave out spark.sql.catalogImplementation and give paths in place of names, or take a "
        "Spark with the jar spark-hive",
    ),
    (
        r"ClassNotFoundException|NoClassDefFoundError|NoSuchMethodError|UnsupportedClassVersionError|"
        r"DATA_SOURCE_NOT_FOUND|AVRO_NOT_LOADED|ModuleNotFoundError",
        "something that the job needs is missing from this Spark, or has another version; give it with --packages, or "
        "install it into the Python that runs the job",
    ),
    (
        r"NoSuchBucket|UnknownStoreException|bucket does not exist",
        "there is no such bucket; name one that is there",
    ),
    (
        r"Unable to load credentials|NoAuthWithAWSException|NoAwsCredentials|ExpiredToken|InvalidAccessKeyId|"
        r"SignatureDoesNotMatch|token included in the request is (invalid|expired)",
        "give the job the credentials of a role that may read and write there",
    ),
    (
        r"AccessDenied|AccessControlException|Status Code: 403|Forbidden|Permission denied",
        "let the job's role (on one machine: its user) read and write there",
    ),
    (r"SlowDown|Throttl|Status Code: 50[0-9]|ServiceUnavailable|InternalError", ""),
    (
        r"UnknownHostException",
        "no such host; make sure that the region and the endpoint are right and that this machine reaches them",
    ),
    (
        r"No space left on device",
        "make room on the disk, or point spark.local.dir to one that has it",
    ),
    (
        r"OutOfMemoryError|GC overhead limit",
        "give the driver more memory (spark.driver.memory), or take less at a time with --max-files",
    ),
    (
        r"java\.net\.|ConnectTimeout|SocketTimeout|HttpHostConnect|ConnectionClosed|Connection reset|SSLException|"
        r"SSLHandshake|TimeoutException|Premature end of",
        "",
    ),
    (
        r"FileNotFound|NoSuchFile|NotDirectory|NotADirectory|Mkdirs failed|FileAlreadyExists|Is a directory|"
        r"Not a directory|DELTA_CANNOT_CREATE_LOG_PATH|Read-only file system|PATH_NOT_FOUND|PATH_ALREADY_EXISTS|"
        r"Wrong FS|Relative path",
        "make sure that --source, --checkpoint and --target name the right places and that the job may write there",
    ),
    (
        r"(TABLE_OR_VIEW|SCHEMA|CATALOG)_NOT_FOUND|INVALID_SCHEMA_OR_RELATION_NAME|REQUIRES_SINGLE_PART_NAMESPACE|"
        r"DELTA_TABLE_NOT_FOUND|DELTA_PATH_DOES_NOT_EXIST",
        "make sure that the table's catalog and schema are there and that its name is right; a path has a /",
    ),
    (
        r"AMBIGUOUS_REFERENCE|UNRESOLVED_COLUMN",
        "give that column another name with `name:` in the configuration, and merge into a new target",
    ),
    (
        r"DELTA_UNSUPPORTED_|UNSUPPORTED_FEATURE",
        "this Spark and its Delta do not do what the table asks of them; docs/SPARK.md says which versions do",
    ),
    # The Java process is gone: killed for its memory, or its machine was taken away.
    (r"Py4JNetworkError|Answer from Java side is empty|Connection refused", ""),
)


def cause_of(error: BaseException) -> Cause:
    """The cause of ``error``, an exception of Python, of py4j or of PySpark on either version."""
    if isinstance(error, MicroBatchError):
        return Cause(**error.document | {"next": Retry(error.document["next"])})  # type: ignore[arg-type]
    chain = list(_error_chain(error))
    innermost = next((link for link in chain if _is_quotable(*link)), None)
    name, message = innermost if innermost is not None else (chain[-1][0], "")
    if is_conflict(error):
        return Cause(_short_name(name), "", "", Retry.GOES_ON)
    shown = [(one, text) for one, text in chain if _is_quotable(one, text) or not text]
    everything = "\n".join(f"{one}: {_first_line(text)}" for one, text in shown)
    names = "\n".join(one for one, _ in chain)
    for pattern, advice in _KINDS:
        if re.search(pattern, everything, re.MULTILINE) or re.search(pattern, names):
            if pattern == _DERBY:  # the errors around it name a class of Hive's, and this one the folder
                name, message = next(one for one in shown if re.search(_DERBY, one[1]))
            retry = Retry.STOPS_AGAIN if advice else Retry.GOES_ON
            return Cause(
                _short_name(name),
                _single_line(message),
                advice.replace("HADOOP", _hadoop() if "HADOOP" in advice else ""),
                retry,
            )
    return Cause(_short_name(name), _single_line(message), "", Retry.UNKNOWN)


def _error_chain(error: BaseException) -> Iterator[tuple[str, str]]:
    """Each error of the chain, outermost first: its class or Spark's condition, and its message."""
    condition, chain = condition_of(error), server_errors(error)
    if condition != type(error).__name__ or not chain:
        named = condition if condition != type(error).__name__ else f"{_module(error)}.{condition}"
        # py4j's message is Java's whole stack trace.
        yield named, "" if named.startswith("py4j.") else str(error)
    yield from chain
    # On a cluster to which the wheel was not shipped: Python's error is the end of a worker's traceback in Java's text.
    missing = re.search(r"No module named '(lakebound[a-z_]*)", str(error))
    if missing is not None:
        yield "builtins.ModuleNotFoundError", f"{missing[1]} is not there for Spark's workers"


def _module(error: BaseException) -> str:
    # open() raises FileNotFoundError and its siblings, which are all treated as OSError.
    return "builtins.OSError" if isinstance(error, OSError) else type(error).__module__


def _is_quotable(name: str, message: str) -> bool:
    if not message or name.startswith(_ROW_QUOTING_CLASSES):
        return False
    return name.startswith(_ROW_FREE_CLASSES) or _SCHEMA_CONDITIONS.fullmatch(name) is not None


def _short_name(name: str) -> str:
    return name.removeprefix("builtins.OSError.").removeprefix("builtins.")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _single_line(message: str) -> str:
    """One line of at most MESSAGE_LENGTH characters, without the password of an address."""
    line = re.sub(r"\s+", " ", re.sub(r"//[^/\s@]+@", "//", _first_line(message)))
    # Spark repeats the condition in the message, and adds the SQL standard's number for it.
    line = re.sub(r"^\[[A-Z0-9_.]+\] | SQLSTATE: \w+$", "", line)
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def _hadoop() -> str:
    session = SparkSession.getActiveSession()
    try:
        found = session and session.sql("SELECT reflect('org.apache.hadoop.util.VersionInfo', 'getVersion')").head()
    except PySparkException:  # SQL may not call Java on every platform
        found = None
    return str(found[0]) if found else "VERSION"
