"""Seconds from change to file and to silver, out of files, listing, checkpoint and the job's lines."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from demo.measurements import Seconds, measure, shown_by_file
from lakebound.ports import StoredObject


def put(folder: Path, path: str, records: list[dict[str, Any]], modified_ms: int) -> StoredObject:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(gzip.compress("".join(json.dumps(record) + "\n" for record in records).encode()))
    return StoredObject(path, place.stat().st_size, modified_ms)


def record(key: str, version: str | None, origin: str = "stream") -> dict[str, Any]:
    return {"key": key, "version": version, "origin": origin}


@pytest.mark.parametrize(
    ("durations", "p50", "p99"),
    [([1000], 1.0, 1.0), ([1000, 3000], 1.0, 3.0), (list(range(1000, 101_000, 1000)), 50.0, 99.0)],
)
def test_percentiles_are_of_the_nearest_rank(durations: list[int], p50: float, p99: float) -> None:
    assert Seconds.of(reversed(durations)) == Seconds(p50, p99)


def test_the_nth_version_of_a_key_is_its_nth_write(tmp_path: Path) -> None:
    # The later version of `a` is in the earlier file: a shuffled queue.
    files = {
        "one.gz": put(tmp_path, "one.gz", [record("a", "v2"), record("b", "v1")], 10_000),
        "two.gz": put(tmp_path, "two.gz", [record("a", "v1")], 20_000),
    }
    measured = measure(tmp_path, files, {"a": [1_000, 9_000], "b": [9_000]}, {"one.gz": 30_000, "two.gz": 40_000})
    assert (measured.records, measured.duplicates, measured.unmatched) == (3, 0, 0)
    assert (measured.to_file, measured.to_live) == (Seconds(1.0, 19.0), Seconds(21.0, 39.0))


def test_a_record_that_came_twice_is_timed_by_its_first_arrival(tmp_path: Path) -> None:
    files = {
        name: put(tmp_path, name, [record("a", "v1")], modified) for name, modified in (("x", 9_000), ("y", 5_000))
    }
    measured = measure(tmp_path, files, {"a": [1_000]}, {"x": 9_000, "y": 6_000})
    assert (measured.records, measured.duplicates) == (2, 1)
    assert (measured.to_file.p99, measured.to_live.p99) == (4.0, 5.0)


def test_a_key_with_more_or_fewer_records_than_writes_is_counted_and_not_timed(tmp_path: Path) -> None:
    files = {"x": put(tmp_path, "x", [record("a", "v1"), record("b", "v1")], 5_000)}
    measured = measure(tmp_path, files, {"a": [1_000, 2_000], "b": [2_000]}, {"x": 7_000})
    assert (measured.unmatched, measured.to_file) == (1, Seconds(3.0, 3.0))


def test_files_are_found_in_the_checkpoint_compacted_or_not(tmp_path: Path) -> None:
    files, log = tmp_path / "my files", tmp_path / "checkpoint" / "sources" / "0"
    log.mkdir(parents=True)

    def entry(name: str, batch: int) -> str:
        return json.dumps({"path": f"file://{str(files).replace(' ', '%20')}/dt=1/{name}", "batchId": batch})

    (log / "9.compact").write_text("\n".join(["v1", entry("a", 0), entry("b", 9)]))
    (log / "10").write_text("\n".join(["v1", entry("c", 10)]))
    (log / ".10.crc").write_text("junk")
    ended = [{"batch": batch, "merged_at_ms": batch * 1000, "files": 1} for batch in (0, 9, 10)]
    ended.append({"batch": 10, "merged_at_ms": 99_000, "files": 0})  # the MERGE of what waited
    assert shown_by_file(tmp_path / "checkpoint", files, ended) == {"dt=1/a": 0, "dt=1/b": 9000, "dt=1/c": 10_000}


def test_a_backfills_records_are_counted_and_not_timed(tmp_path: Path) -> None:
    files = {
        "x": put(tmp_path, "x", [record("a", None, "scan"), record("c", None, "scan")], 3_000),
        "y": put(tmp_path, "y", [record("a", "v1")], 5_000),
    }
    measured = measure(tmp_path, files, {"a": [1_000]}, {"x": 4_000, "y": 7_000})
    assert (measured.records, measured.base, measured.duplicates, measured.unmatched) == (3, 2, 0, 0)
    assert measured.to_file == Seconds(4.0, 4.0)
