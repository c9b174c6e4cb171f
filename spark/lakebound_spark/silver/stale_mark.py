"""Open gaps as the lake's readers see them: silver is marked while one is open, and only then.

The gap objects in `_lakebound/<table>/gaps/` are the truth: the stack's look and this job write them,
`lakebound backfill close` says that one is healed. Whoever looks here next marks the table or takes the mark away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from lakebound.errors import LakeboundError, Misconfigured
from lakebound.source.gaps import RECORDS_STALE, Gap
from lakebound.times import iso
from lakebound.transport.object_keys import GapKey, gaps_folder
from lakebound_spark.platform.objects import write_object
from lakebound_spark.platform.refusals import PROPERTIES, Refusals
from lakebound_spark.platform.spark_compat import condition_of
from lakebound_spark.platform.tables import companion_table, properties, retry_on_conflict, set_properties, table_sql
from lakebound_spark.reading.source import literal_path
from lakebound_spark.silver.status_table import write_status
from lakebound_spark.silver.views import STALE_PROPERTY, create_views

CAUSES_PROPERTY: Final = "lakebound.stale_because"

_BUCKET = re.compile(r"(s3[an]?://[^/]+)/").match


def default_control_folder(source: str, table: str) -> str:
    """The control folder of the bucket that holds ``source``; empty outside S3, where `--aside` has to name it."""
    bucket = _BUCKET(f"{source}/")
    return f"{bucket[1]}/_lakebound/{table}" if bucket else ""


def read_gaps(spark: SparkSession, folder: str, table: str) -> list[Gap]:
    """Every gap in the control folder, the earliest first. An unreadable one counts as open since its key's time.

    Raises Misconfigured where the folder cannot be read. A folder that is not there holds no gap: the stack's
    first look makes it.
    """
    gaps = []
    for name, body in sorted(_gap_objects(spark, f"{folder.rstrip('/')}/gaps")):
        key = gaps_folder(table) + name
        parsed = GapKey.parse(table, key)
        if parsed is None:
            continue
        try:
            gaps.append(Gap.decode(key, body))
        except LakeboundError:
            gaps.append(Gap(parsed.from_ms, None, parsed.cause))
    return gaps


def _gap_objects(spark: SparkSession, folder: str) -> list[tuple[str, bytes]]:
    if "://" not in folder:
        return [(path.name, path.read_bytes()) for path in Path(folder).glob("*.json")]
    try:
        # Not as text: a client of Spark Connect fails at bytes that are no UTF-8, and each object is judged by itself.
        bodies = spark.read.format("binaryFile").load(literal_path(folder)).select("_metadata.file_name", "content")
        return [(str(row[0]), bytes(row[1])) for row in bodies.collect()]
    except AnalysisException as error:
        if condition_of(error) == "PATH_NOT_FOUND":
            return []
        raise
    except Exception as error:
        raise Misconfigured(
            f"cannot read the gaps in {folder} ({condition_of(error)}); let the job's role list and read it, or name "
            "another folder with --aside"
        ) from None


def mark_stale(spark: SparkSession, target: str, gaps: Sequence[Gap], refusals: Refusals | None = None) -> str:
    """Mark the table (and its view) stale since the earliest open gap, or take the mark away; since when, or "".

    | gaps                                   | `lakebound.stale_since` | `lakebound.stale_because`          |
    |----------------------------------------|-------------------------|------------------------------------|
    | none, or each with its `healed_by`     | absent                  | absent                             |
    | from 02:00 mapping_behind, from 01:00 failures_lost healed | …T02:00:00Z | `mapping_behind`           |

    A commit is made only when something changes. A MERGE of another process that it overtakes is tried again there.
    `<target>_status` says the same, also where the catalog refuses properties or views, which ``refusals`` tells.
    """
    refusals = refusals or Refusals()
    still_open = [gap for gap in gaps if gap.healed_by is None]
    wanted = {}
    if still_open:
        since = iso(min(gap.from_ms for gap in still_open))
        wanted = {STALE_PROPERTY: since, CAUSES_PROPERTY: ", ".join(sorted({gap.cause for gap in still_open}))}
    status = companion_table(target, "_status")
    refusals.attempt(
        PROPERTIES,
        target,
        f"since when changes may be missing stands in {status} alone",
        lambda: _set_mark(spark, target, wanted),
    )
    create_views(spark, target, refusals)
    write_status(spark, target, still_open, str(refusals))
    return wanted.get(STALE_PROPERTY, "")


def _set_mark(spark: SparkSession, target: str, wanted: Mapping[str, str]) -> None:
    present = properties(spark, target)
    there = {name: present[name] for name in (STALE_PROPERTY, CAUSES_PROPERTY) if name in present}
    if wanted and there != wanted:
        set_properties(spark, target, wanted)
    elif there and not wanted:
        names = ", ".join(f"'{name}'" for name in there)
        retry_on_conflict(lambda: spark.sql(f"ALTER TABLE {table_sql(target)} UNSET TBLPROPERTIES ({names})"))


def record_stale_gap(spark: SparkSession, folder: str, table: str, from_ms: int, to_ms: int, now_ms: int) -> None:
    """Record that records of [from, to] were not merged, unless a gap of this cause covers them, healed or not.

    A healed one covers them too: its run read the whole table after them. Raises Misconfigured where the folder cannot
    be written.
    """
    known = [gap for gap in read_gaps(spark, folder, table) if gap.cause == RECORDS_STALE]
    if any(gap.from_ms <= from_ms and gap.to_ms is not None and to_ms <= gap.to_ms for gap in known):
        return
    # A key is a time and a cause: a gap of the same start that ends earlier has this one's place.
    while any(gap.from_ms == from_ms for gap in known):
        from_ms -= 1
    name = GapKey(table, from_ms, RECORDS_STALE).format().rpartition("/")[2]
    gap = Gap(from_ms, to_ms, RECORDS_STALE, detected_at_ms=now_ms)
    path = f"{folder.rstrip('/')}/gaps/{name}"
    try:
        write_object(spark, path, gap.encode())
    except Exception as error:
        raise Misconfigured(
            f"records came after the tombstones of their time were purged, and the gap {path} cannot be written "
            f"({condition_of(error)}); let the job's role write below {folder}/gaps, or give --aside '' and heal "
            "by hand"
        ) from None
