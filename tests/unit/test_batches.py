"""Batch files are made of their members and of nothing else."""

import gzip
import io
import random
import shutil
import subprocess
import zlib
from hashlib import sha256
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from isal import igzip

from lakebound.formats import ndjson
from lakebound.transport.batch_files import assemble
from lakebound.transport.messages import Member
from lakebound.transport.object_keys import DataKey
from tests.support.stream_records import NOW_MS

PREFIX = "ddb/flights"
HOURS = ["dt=2026-11-24/HH=03", "dt=2026-11-24/HH=04"]


def member(
    text: bytes, hour: str = HOURS[0], at: int = NOW_MS, versions: tuple[str | None, str | None] = (None, None)
) -> Member:
    lines = b"".join(line + b"\n" for line in text.split(b" "))
    return Member(hour, "ndjson.gz", len(text.split(b" ")), *versions, at, ndjson.compress(lines))


members = st.lists(
    st.builds(
        member,
        st.lists(st.binary(min_size=1, max_size=20).map(bytes.hex).map(str.encode), min_size=1, max_size=5).map(
            b" ".join
        ),
        st.sampled_from(HOURS),
        st.integers(0, 10**12),
    ),
    min_size=1,
    max_size=8,
)


@given(found=members, seed=st.integers(0, 1_000))
def test_the_same_members_in_any_order_give_the_same_files(found: list[Member], seed: int) -> None:
    shuffled = list(found)
    random.Random(seed).shuffle(shuffled)
    # A message delivered twice brings its members twice.
    assert assemble(PREFIX, "stream", [*shuffled, *found]) == assemble(PREFIX, "stream", found)


@given(found=members)
def test_a_file_holds_each_member_once_and_its_name_says_how_much(found: list[Member]) -> None:
    files = assemble(PREFIX, "stream", found)
    assert [file.hour_partition[0] for file in files] == sorted({one.partition for one in found})
    for file in files:
        mine = {one.data: one for one in found if one.partition == file.hour_partition[0]}
        key = DataKey.parse(PREFIX, file.key)
        assert key is not None
        lines = gzip.decompress(file.body).splitlines()
        assert len(lines) == key.count == file.count == int(file.metadata["records"])
        assert sorted(lines) == sorted(line for data in mine for line in gzip.decompress(data).splitlines())
        assert key.digest == sha256(file.body).hexdigest()[:32] == file.metadata["digest"]
        assert key.time_ms == max(one.max_ingest_ms for one in mine.values())


def test_metadata_says_the_least_and_the_greatest() -> None:
    versions = [f"2026-11-01T08:00:00.000|{number:040d}" for number in range(4)]
    (file,) = assemble(
        PREFIX,
        "stream",
        [
            member(b"a", at=5, versions=(versions[1], versions[2])),
            member(b"b", at=3, versions=(versions[0], versions[3])),
            member(b"c", at=4),
        ],
    )
    assert file.metadata == {
        "records": "3",
        "digest": file.metadata["digest"],
        "min-version": versions[0],
        "max-version": versions[3],
        "min-time-ms": "3",
        "max-time-ms": "5",
    }


def test_equal_counts_in_one_second_have_different_names() -> None:
    one, other = (assemble(PREFIX, "stream", [member(text)])[0].key for text in (b"a", b"b"))
    assert one != other
    assert one.rpartition("-")[0] == other.rpartition("-")[0], "all but the digest is equal"


def test_concatenated_members_are_gzip_for_every_reader(tmp_path: Path) -> None:
    (file,) = assemble(PREFIX, "stream", [member(f"m{number} x{number}".encode()) for number in range(30)])
    lines = sorted(line for number in range(30) for line in (f"m{number}".encode(), f"x{number}".encode()))
    assert sorted(gzip.decompress(file.body).splitlines()) == lines
    with gzip.open(io.BytesIO(file.body)) as reader:
        assert sorted(reader.read().splitlines()) == lines
    assert sorted(bytes(igzip.decompress(file.body)).splitlines()) == lines  # type: ignore[no-untyped-call]
    inflated, rest = b"", file.body
    while rest:
        inflater = zlib.decompressobj(wbits=31)
        inflated += inflater.decompress(rest)
        rest = inflater.unused_data
    assert sorted(inflated.splitlines()) == lines
    tool = shutil.which("gzip")
    assert tool is not None
    path = tmp_path / "file.gz"
    path.write_bytes(file.body)
    told = subprocess.run([tool, "-dc", str(path)], check=True, capture_output=True)
    assert sorted(told.stdout.splitlines()) == lines
