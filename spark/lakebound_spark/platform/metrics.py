"""What each MERGE did: a JSON line, the run's totals, and `<target>_metrics` for dashboards of the lake's own."""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, fields
from typing import Any, Final, TypeVar

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, DataType, DoubleType, LongType, StringType, StructField, StructType
from pyspark.sql.utils import is_remote

from lakebound.counts import count_text
from lakebound_spark.platform.sql_text import literal
from lakebound_spark.platform.tables import (
    append_rows,
    columns_sql,
    companion_table,
    create_companion,
    read_table,
    retry_on_conflict,
    table_sql,
)

COLUMN_TYPE: Final = "column type"
"""In the metadata of a result's field: the type of its column, where it is neither a count nor a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a micro-batch did, or one step of it: counts and times, one column of `<target>_metrics` each."""

    batch: int


@dataclass(frozen=True, slots=True)
class MicroBatch(Result):
    """What one micro-batch did, printed as one JSON line. Counts and times only, never an item's values.

    ``files`` counts batch files, bad ones included (0 from bronze); ``records`` those merged or appended; ``keys`` the
    rows they came down to, and ``appended`` those of them that wait in `_changes` for a merge. The merge of what waited
    is a line of its own, without files and records. ``rewritten`` counts rows of the target that were written anew,
    changed or not. ``inexact`` attributes did not fit their column, ``rescued`` ones went to `_rescued`, ``stale``
    records came after their tombstones were purged. ``newest_ingest_ms`` is the greatest clock of the writer among the
    records, ``merged_at_ms`` this machine's clock after the commit, and ``lag_ms`` from the oldest record's writer to
    that. ``oldest_file_ms`` is when the oldest of the files was written, by the store's clock, and every file of the
    micro-batch that was written until ``files_until_ms`` is in the lake; both are None from bronze.
    """

    files: int
    bad_files: int
    records: int
    refused: int
    stale: int
    keys: int
    inserted: int
    updated: int
    rewritten: int
    inexact: int
    rescued: int
    oldest_ingest_ms: int | None
    newest_ingest_ms: int | None
    merged_at_ms: int
    lag_ms: int | None
    seconds: float
    appended: int = 0
    oldest_file_ms: int | None = None
    files_until_ms: int | None = None


@dataclass(slots=True)
class Totals:
    """Sums over the micro-batches of a run; `str()` is the line of them before the job's last."""

    results: int = 0
    merges: int = 0
    records: int = 0
    appended: int = 0
    keys: int = 0
    """Rows that the records came down to, MERGE by MERGE: a key of two counts twice."""
    inserted: int = 0
    updated: int = 0
    stale: int = 0
    rescued: int = 0
    inexact: int = 0
    refused: int = 0
    bad_files: int = 0
    stale_since: str = ""
    """Since when changes may be missing from silver, as the job last saw; no sum, and not in the last line."""
    merge_fails: bool = False
    """Whether what waits in `_changes` could not be merged when it was last tried; as little a sum."""

    def add(self, done: MicroBatch) -> None:
        self.results += 1
        self.merges += not done.appended
        add_counts(self, done)

    @property
    def all_refused(self) -> bool:
        """Whether something came in and nothing of it was this table's: the wrong table, or files that are all bad."""
        return bool(self.refused or self.bad_files) and not (self.records or self.stale)

    def sentence(self, target: str, seconds: float) -> str:
        """What the run did, for a person."""
        if not self.results:
            return f"nothing new for {target}"
        if self.appended:
            brought = (
                f"{count_text(self.results - self.merges, 'append')}, "
                f"{count_text(self.merges, 'merge')}, {seconds:.0f} s"
            )
        elif self.merges == 1:
            brought = f"{count_text(self.keys, 'key')}, {seconds:.0f} s"
        else:
            brought = f"{count_text(self.merges, 'merge')}, {seconds:.0f} s"
        changed = f"{count_text(self.inserted, 'row')} new, {self.updated:,} changed"
        left_out = losses(target, self.refused, self.bad_files)
        if self.inexact:
            left_out.append(f"{count_text(self.inexact, 'value')} did not fit the column")
        into = self.place(target)
        verb = "appended" if self.appended else "merged"
        merged = f"{verb} {count_text(self.records, 'record')} into {into}, {brought} ({changed})"
        return "; ".join([merged, *left_out])

    def place(self, target: str) -> str:
        """Where the records went, as the sentence says it."""
        return companion_table(target, "_changes") if self.appended else target

    def gaps(self, target: str) -> list[str]:
        """The lines that begin with `GAP:`, for standard error."""
        lines = []
        if self.stale:
            lines.append(
                f"GAP: {count_text(self.stale, 'record')} came after the tombstones of their time were "
                "purged and are not in "
                f"{target}, but in {companion_table(target, '_stale_records')}; heal with a full backfill and a sweep"
            )
        if self.stale_since:
            marked = f"GAP: {target} is marked stale since {self.stale_since}"
            lines.append(f"{marked}; `lakebound status` says what to run")
        return lines

    def __str__(self) -> str:
        return (
            f"stale={self.stale} rescued={self.rescued} "
            f"inexact={self.inexact} refused={self.refused} bad_files={self.bad_files}"
        )


def add_counts(totals: Any, done: Any) -> None:
    """Add each count of a micro-batch to the total of the same name; the two are dataclasses."""
    for one in fields(totals):
        if hasattr(done, one.name):
            setattr(totals, one.name, getattr(totals, one.name) + getattr(done, one.name))


def losses(target: str, refused: int, bad_files: int) -> list[str]:
    """What a run left out, for a person: records of other tables, bad files."""
    left_out = [f"{count_text(refused, 'record')} of other tables refused"] if refused else []
    if bad_files:
        left_out.append(f"{count_text(bad_files, 'file')} left out (see {companion_table(target, '_bad_files')})")
    return left_out


R = TypeVar("R", bound=Result)


def prepare_metrics(spark: SparkSession, target: str, kind: type[Result]) -> None:
    """Make `<target>_metrics` unless it is there: a row for each result, also for one that changed nothing.

    A table of an older version gets the columns that it lacks.
    """
    place, columns = companion_table(target, "_metrics"), _columns(kind)
    create_companion(spark, place, columns)
    there = read_table(spark, place).columns
    if missing := StructType([field for field in columns.fields if field.name not in there]).fields:
        added = ", ".join(columns_sql(StructType(missing)))
        retry_on_conflict(lambda: spark.sql(f"ALTER TABLE {table_sql(place)} ADD COLUMNS ({added})"))


def begin_results(target: str, run: str) -> None:
    """Take note that a run of an id that is new begins in this process, so that its first row is there in no table."""
    for of_target, former in list(_RECORDED):
        if of_target == target:
            _RECORDED.pop((of_target, former), None)
            _RESULTS.pop((of_target, former), None)
    _RECORDED[target, run] = -1
    if not is_remote():
        _RESULTS[target, run] = {}


def record_result(spark: SparkSession, target: str, run: str, part: int, result: Result) -> None:
    """Append a result's row, once however often its micro-batch is tried within the run."""
    number = result.batch * _PARTS + part
    # Not kept where the append fails: whether the row is there after all, only the table knows.
    last = _RECORDED.pop((target, run), None)
    if last is None:
        last = _last_number(spark, target, run)
    if number > last:
        _append_result(spark, target, run, part, result)
    _RECORDED[target, run] = max(number, last)
    if (target, run) in _RESULTS:
        _RESULTS[target, run].setdefault(number, result)


def _append_result(spark: SparkSession, target: str, run: str, part: int, result: Result) -> None:
    columns = _columns(type(result))
    values = {**asdict(result), "run": run, "part": part}
    cells = [
        f"CAST({_value_sql(values[one.name], one.dataType)} AS {one.dataType.simpleString()}) AS {one.name}"
        for one in columns.fields
    ]
    rows = spark.sql(f"SELECT {', '.join(cells)}, current_timestamp() AS detected_at")
    append_rows(rows, companion_table(target, "_metrics"))


def _last_number(spark: SparkSession, target: str, run: str) -> int:
    """The number of the last row that the run has written, perhaps in another process; -1 before the first."""
    rows = read_table(spark, companion_table(target, "_metrics")).where(F.col("run") == run)
    last = rows.agg(F.max(F.col("batch") * _PARTS + F.col("part"))).head()
    assert last is not None
    return -1 if last[0] is None else int(last[0])


def _value_sql(value: Any, kind: DataType) -> str:
    match kind:
        case StructType():
            members = (f"{literal(one.name)}, {_value_sql(value[one.name], one.dataType)}" for one in kind.fields)
            return f"named_struct({', '.join(members)})"
        case ArrayType():
            return f"array({', '.join(_value_sql(one, kind.elementType) for one in value)})"
    if value is None:
        return "NULL"
    return literal(value) if isinstance(value, str) else repr(value)


def read_results(spark: SparkSession, target: str, run: str, kind: type[R], since: int) -> list[R]:
    """The results of a run's micro-batches from number ``since`` on, in their order; those before are asked no more."""
    if (target, run) in _RESULTS:
        held = _RESULTS[target, run]
        # Each step at once: a micro-batch may add its result from its own thread meanwhile.
        for number in list(held):
            if number < since * _PARTS:
                del held[number]
        return [result for _, result in sorted(held.copy().items()) if isinstance(result, kind)]
    names = [one.name for one in fields(kind)]
    rows = read_table(spark, companion_table(target, "_metrics")).where(
        (F.col("run") == run) & (F.col("batch") >= since)
    )
    found = rows.orderBy("batch", "part").select(*names).collect()
    return [kind(**row.asDict(recursive=True)) for row in found]


def _columns(kind: type[Result]) -> StructType:
    values = [StructField(one.name, _column_type(one)) for one in fields(kind)]
    return StructType([*values, StructField("run", StringType()), StructField("part", LongType())])


def _column_type(one: Field[Any]) -> DataType:
    given: DataType | None = one.metadata.get(COLUMN_TYPE)
    return given or (DoubleType() if one.name == "seconds" else LongType())


_PARTS: Final = 1_000_000
"""More results than one micro-batch can have."""

_RECORDED: Final[dict[tuple[str, str], int]] = {}
"""The number of the last row that a run has written from this process.

Delta would keep it too (`txnAppId`), but then reads the table's whole log before each append: 4 jobs of Spark instead
of one, and three times the processor time.
"""

_RESULTS: Final[dict[tuple[str, str], dict[int, Result]]] = {}
"""By their numbers, the results of each run that began in this process and whose micro-batches are called in it too.

`<target>_metrics` has them as well, in a file each until upkeep. Of 4,000 files, what half a day leaves, each look
would plan the read (1.4 s of processor time). Spark Connect calls the micro-batches elsewhere, so there it is asked.
"""
