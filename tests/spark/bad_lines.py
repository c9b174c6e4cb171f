"""Batch files with a right name whose lines are no records, each with the reason that the job gives."""

from __future__ import annotations

import json

from lakebound_spark.platform.spark_compat import IS_SPARK_35
from lakebound_spark.reading.files import COUNT, NOT_WHOLE
from tests.support.independent_writer import base, item, line, stream


def forged_delete() -> str:
    """A number of 1,500 digits stops the parser after key and version: the image behind it would be NULL."""
    record = stream("victim", 9, item("victim"))
    image = record.pop("new_image")
    record["is_deleted"] = True
    text = json.dumps({**record, "approx_creation_time_ms": 0, "new_image": image}, separators=(",", ":"))
    return text.replace('"approx_creation_time_ms":0', f'"approx_creation_time_ms":{"9" * 1500}') + "\n"


def one(name: str, **changed: object) -> str:
    return line(stream(name, 1, item(name)) | changed)


BAD_LINES: dict[str, tuple[list[str], int, str]] = {
    # lines, count in the name, reason
    "json broken off": ([one("j1"), '{"schema":1,"key":"id=S:j2","new_\n'], 2, NOT_WHOLE),
    "empty object": ([one("e1"), "{}\n"], 2, NOT_WHOLE),
    "two records on one line": ([one("t1").rstrip() + one("t2")], 2, COUNT),
    "fewer than named": ([one("f1")], 2, COUNT),
    "more than named": ([one("m1"), one("m2")], 1, COUNT),
    "forged delete": ([forged_delete()], 1, NOT_WHOLE),
    "version not padded": ([one("victim", version="2013|9")], 1, NOT_WHOLE),
    "no time": ([one("victim", approx_creation_time_ms=None)], 1, NOT_WHOLE),
    "another schema": ([one("victim", schema=2)], 1, NOT_WHOLE),
    "image is no object": ([one("victim", new_image="gone")], 1, NOT_WHOLE),
    "delete with an image": ([one("victim", is_deleted=True)], 1, NOT_WHOLE),
    "upsert without an image": ([one("victim", new_image=None)], 1, NOT_WHOLE),
    "no source table": ([one("victim", source_table=None)], 1, NOT_WHOLE),
    "base without a run": ([line(base("victim", 99_000, None, snapshot_run=None))], 1, NOT_WHOLE),
}


if not IS_SPARK_35:  # whose reader takes such a name like any other
    BAD_LINES["name over 50,000 characters"] = ([one("victim", **{"x" * 50_001: 1})], 1, NOT_WHOLE)
