"""Delta tables without Java: the newest version of one, queried in SQL through deltalake, in bounded memory.

Loading deltalake takes half a second, so only what reads a table imports this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

from arro3.core import Array, DataType, Table
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from deltalake.exceptions import TableNotFoundError
from deltalake.schema import StructType

from lakebound.adapters.aws_calls import FAILURES, NotThere, failed_call
from lakebound.adapters.clients import client, credentials
from lakebound.adapters.query_refusal import refusal_words
from lakebound.adapters.unity_catalog import find_table
from lakebound.errors import LakeboundError, Misconfigured

_BOUNDS: Final = {
    # A row holds an item of up to 400 KB: DataFusion's own 8,192 rows a batch would be 3 GB of the largest items.
    "datafusion.execution.batch_size": "256",
    # So many files are read side by side, each with one row group in memory.
    "datafusion.execution.target_partitions": "2",
}
# object_store's own ten retries let a person wait three minutes for an endpoint that is closed.
_PATIENCE: Final = {"max_retries": "4", "retry_timeout": "30s"}

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


BY_SPARK: Final = "read it with --engine spark"
"""For the verbs that have this option."""


class DeltaVersion:
    """The version of a Delta table that is the newest when this is made.

    ``target`` is a folder or an address: `s3://`, `s3a://`, `uc://catalog.schema.table`, or what else deltalake knows.
    Endpoint, region and credentials of S3 come from the environment as for the AWS CLI; Unity Catalog gives keys of
    its own to who has DATABRICKS_HOST and DATABRICKS_TOKEN. ``instead`` is what the calling verb can do about a table
    that deltalake cannot read; the errors advise it.

    Raises Misconfigured where no Delta table is, or where it may not be read or needs a feature that deltalake lacks;
    LakeboundError where it cannot be read for another reason, and botocore's error for a profile that is unknown.
    """

    def __init__(self, target: str, *, instead: str = BY_SPARK) -> None:
        self._target, self._instead = target, instead
        options = _PATIENCE
        if _ADDRESS.match(target):
            address, keys = target, None
            if target.startswith("uc://"):
                address, keys = find_table(target.removeprefix("uc://"), hint=_capitalized(instead))
            place = urlsplit(address)
            if place.scheme in ("s3", "s3a"):
                options = _PATIENCE | _s3_options(place.netloc, keys)
        else:
            address = str(Path(target.removeprefix("file:")).absolute())
            if "%" in address:
                raise Misconfigured(
                    f"deltalake cannot read the folder {address}, for its name holds a %",
                    hint=f"{_capitalized(instead)}, or rename the folder",
                )
            if Path(address).is_file():
                raise NotThere(f"There is no Delta table at {target}; run merge_changes first")
        with _translated(target, instead):
            self._table = DeltaTable(address, storage_options=options)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of its columns, in their order."""
        return tuple(field.name for field in self._table.schema().fields)

    def members(self, column: str) -> tuple[str, ...]:
        """The names of a struct column's members; none where the table has no such column."""
        types = {field.name: field.type for field in self._table.schema().fields}
        found = types.get(column)
        return tuple(field.name for field in found.fields) if isinstance(found, StructType) else ()

    @property
    def properties(self) -> dict[str, str]:
        """The table's properties that somebody has set."""
        return dict(self._table.metadata().configuration)

    def query(self, sql: str, **others: DeltaVersion) -> Iterator[tuple[Any, ...]]:
        """The rows of a query of this version, which the SQL calls `delta`, and of ``others`` by their names.

        Rows stream: this process holds two row groups of Parquet and 256 rows, whatever the table's size. Raises
        LakeboundError where the table's files cannot be read.
        """
        with _translated(self._target, self._instead):
            batches = self._execute(sql, others)
        yield from self._rows(batches)

    def named_query(
        self, before: str, sql: str, tables: Sequence[str], **others: DeltaVersion
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """As `query`, for ``sql`` that a person wrote, after ``before`` of ours, which defines ``tables``: the columns'
        names, and the rows.

        Raises Misconfigured, with the words of DataFusion, where it cannot plan the query. Its plan is made of names
        alone, so these words quote no value of the table.
        """
        try:
            batches = self._execute(f"{before}\n{sql}", others)
        except Exception as refused:
            words = refusal_words(str(refused), before.count("\n") + 1, tables)
            raise _missing_feature(self._target, self._instead, str(refused)) or Misconfigured(
                f"The query cannot be run: {words}"
            ) from None
        return tuple(batches.schema.names), self._rows(batches)

    def _execute(self, sql: str, others: Mapping[str, DeltaVersion]) -> Any:
        tables = QueryBuilder(_BOUNDS).register("delta", self._table)
        for name, other in others.items():
            tables = tables.register(name, other._table)
        return tables.execute(sql)

    def _rows(self, batches: Any) -> Iterator[tuple[Any, ...]]:
        with _translated(self._target, self._instead):
            for batch in batches:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


@contextmanager
def column_of_texts(texts: Sequence[str]) -> Iterator[DeltaVersion]:
    """A table of one column `text`, to join with in a query: deltalake's engine takes nothing but Delta tables."""
    with TemporaryDirectory(prefix="lakebound-") as folder:
        write_deltalake(folder, Table.from_pydict({"text": Array(texts, type=DataType.string())}))
        yield DeltaVersion(folder)


def _s3_options(bucket: str, keys: ReadOnlyCredentials | None) -> dict[str, str]:
    """What deltalake's own S3 client has to know, found as botocore finds it: profiles, SSO, roles, endpoints.

    ``keys`` stand for the environment's credentials where they are given. Either are those of now: S3 refuses a read
    that goes on after their session has ended.
    """
    given = {}
    if keys is not None:
        given = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
    s3 = client("s3", **given)
    region = _region_of(s3, bucket)
    if region and region != s3.meta.region_name:
        s3 = client("s3", region_name=region, **given)
    keys = keys or credentials()
    endpoint: str = s3.meta.endpoint_url
    # Always the endpoint that botocore asks, with the bucket in the path: one way for AWS and for a local stack.
    options = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower(),
        "AWS_REGION": s3.meta.region_name,
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
    }
    return options | ({"AWS_SESSION_TOKEN": keys.token} if keys.token else {})


def _region_of(s3: Any, bucket: str) -> str:
    """The bucket's region, "" where it is not told. S3 tells it with a refusal too; deltalake does not look for it."""
    try:
        answer = s3.head_bucket(Bucket=bucket)
    except ClientError as refused:
        answer = refused.response
        if answer["ResponseMetadata"]["HTTPStatusCode"] == 404:
            raise NotThere(
                f"There is no bucket {bucket} at {s3.meta.endpoint_url}",
                hint="Check its name, the region and AWS_ENDPOINT_URL",
            ) from None
    except FAILURES as failure:
        raise failed_call(failure, "read", f"bucket {bucket}", s3.meta.endpoint_url) from None
    return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", ""))


@contextmanager
def _translated(target: str, instead: str) -> Iterator[None]:
    """Turns deltalake's failures into ours, without its words: they may quote a value, or a request's address."""
    try:
        yield
    except TableNotFoundError:
        raise NotThere(f"There is no Delta table at {target}; run merge_changes first") from None
    # While it reads, deltalake raises bare Exceptions.
    except Exception as failure:
        raise _known_error(target, instead, str(failure)) or LakeboundError(
            f"deltalake could not read {target} ({type(failure).__name__})",
            hint=f"Is it the merge job's target? If so, {instead}",
        ) from None


def _known_error(target: str, instead: str, text: str) -> LakeboundError | None:
    """What stands behind deltalake's words; None where they are of no kind that is known."""
    # S3's own word, or else the status: a HEAD and a proxy give no more.
    for pattern in (r"<Code>(\w+)</Code>", r"non-2xx status code\s+\S+\s*([45]\d\d)\b"):
        if found := re.search(pattern, text):
            refused = ClientError({"Error": {"Code": found[1]}}, "read")
            return failed_call(refused, "read", f"table {target}", urlsplit(target).netloc)
    if missing := _missing_feature(target, instead, text):
        return missing
    if "Permission denied" in text:
        return Misconfigured(f"{target} may not be read", hint="Check your rights there, and on each of its files")
    if re.search(r"[Nn]ot found|No such file", text):
        return LakeboundError(
            f"A file of {target} is not there, though its newest version names it",
            hint="Repeat the command; if it fails again, a VACUUM or a person has removed what the table needs",
        )
    return None


def _missing_feature(target: str, instead: str, text: str) -> Misconfigured | None:
    if found := re.search(r"[Uu]nsupported.*features?.*\[([\w, ]+)\]", text):
        return Misconfigured(
            f"{target} needs a feature of Delta that deltalake cannot read ({found[1]})",
            hint=_capitalized(instead),
        )
    return None


def _capitalized(advice: str) -> str:
    return advice[:1].upper() + advice[1:]
