"""The same records read back identically from all three formats, and damage is named, never read over."""

import gzip
import zlib
from io import BytesIO
from typing import Any

import duckdb
import fastavro
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import igzip

from lakebound.errors import Poison
from lakebound.formats import avro, ndjson, parquet
from lakebound.formats.registry import encoder_of, reader_of
from lakebound.record.envelope import FIELDS, record_of
from lakebound.transport import batch_files
from lakebound.transport.messages import Member
from tests.support.batch_files import FORMATS, HOUR, ITEMS, NOW, event, pack, write
from tests.support.stream_records import odd_images


def by_id(records: Any) -> list[dict[str, Any]]:
    return sorted(records, key=lambda record: record["event_id"])


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_reads_back_exactly_from_every_format(name: str) -> None:
    neighbours = [event({"s": {"S": f"neighbour {number}"}}, number) for number in range(3)]
    events = [neighbours[0], event(ITEMS[name], 7), neighbours[1], event(ITEMS[name], 8), neighbours[2]]
    expected = by_id(record_of(one, NOW) for one in events)
    for file_format in FORMATS:
        file = write(events, file_format)
        assert file.key.endswith(f".{file_format}")
        assert file.count == 5
        assert by_id(reader_of(file_format)(file.body)) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(odd_images(), max_size=4))
def test_generated_items_read_back_exactly_from_every_format(items: list[dict[str, Any]]) -> None:
    events = []
    for number, item in enumerate(items):
        try:
            events.append(event({name: value for name, value in item.items() if name != "vin"}, number))
            encoder_of("ndjson.gz").encode(events[-1], NOW)
        except Poison:
            continue
    if not events:
        return
    expected = by_id(record_of(one, NOW) for one in events)
    for file_format in FORMATS:
        assert by_id(reader_of(file_format)(write(events, file_format).body)) == expected


def test_base_records_and_removes_read_back_exactly_from_every_format() -> None:
    events = [
        event({}, 1, event_name="REMOVE", new_image=None, ttl_expired=True),
        event({}, 2, event_name="INSERT", old_image=None, size_bytes=None),
        event({}, 3, event_name="SNAPSHOT", origin="scan", sequence_number=None, version=None,
              snapshot_label_ms=NOW, snapshot_run="run", approx_creation_time_ms=None, size_bytes=None),
        event({}, 4, event_name="ABSENT", origin="sweep", new_image=None, old_image=None, version=None),
    ]  # fmt: skip
    expected = by_id(record_of(one, NOW) for one in events)
    for file_format in FORMATS:
        assert by_id(reader_of(file_format)(write(events, file_format).body)) == expected


@pytest.mark.parametrize("file_format", FORMATS)
def test_equal_members_in_any_order_give_the_same_file(file_format: str) -> None:
    members = pack([event({"s": {"S": str(number)}}, number) for number in range(1200)], file_format)
    assert len(members) == 3
    (one,) = batch_files.assemble("p", "stream", members, file_format)
    (other,) = batch_files.assemble("p", "stream", [*reversed(members), members[1]], file_format)
    assert one == other
    assert one.count == 1200


@pytest.mark.parametrize("file_format", ["ndjson.gz", "avro"])
def test_a_change_of_the_setting_leaves_members_in_flight_as_they_are(file_format: str) -> None:
    members = pack([event({}, 1)], "ndjson.gz") + pack([event({}, 2)], "avro")
    files = batch_files.assemble("p", "stream", members, file_format)
    assert sorted(file.key.rsplit(".", 1)[1] for file in files) == ["avro", "gz"]
    files = batch_files.assemble("p", "stream", members, "parquet")
    assert sorted(file.key.rsplit(".", 1)[1] for file in files) == ["gz", "parquet"]


def test_fastavro_reads_avro_files_on_its_own() -> None:
    events = [event(ITEMS["sets"], number) for number in range(1001)]
    body = write(events, "avro").body
    reader = fastavro.reader(BytesIO(body))
    rows = by_id(reader)
    assert len(rows) == 1001
    assert orjson.loads(rows[5]["new_image"]) == events[5].new_image
    assert [field["name"] for field in reader.writer_schema["fields"]] == [name for name, _, _ in FIELDS]
    assert fastavro.is_avro(BytesIO(body))


def test_duckdb_and_pyarrow_read_parquet_files_on_their_own(tmp_path: Any) -> None:
    events = [event(ITEMS["minus zero and zeros at the end"], number) for number in range(1001)]
    path = tmp_path / "file.parquet"
    path.write_bytes(write(events, "parquet").body)
    table = pq.read_table(path)
    assert (table.num_rows, table.schema.names) == (1001, [name for name, _, _ in FIELDS])
    (text, rows) = duckdb.sql(
        f"select any_value(new_image->'d'->>'N'), count(distinct key) from read_parquet('{path}') where not is_deleted"
    ).fetchall()[0]
    assert (text, rows) == ("81.50", 1001)


def test_duckdb_and_gzip_read_ndjson_files_on_their_own(tmp_path: Any) -> None:
    body = write([event(ITEMS["sets"], number) for number in range(1001)], "ndjson.gz").body
    assert len(gzip.decompress(body).splitlines()) == 1001
    path = tmp_path / "file.ndjson.gz"
    path.write_bytes(body)
    (rows,) = duckdb.sql(f"select count(distinct key) from read_json('{path}', format='newline_delimited')").fetchall()[
        0
    ]
    assert rows == 1001


LINE = encoder_of("ndjson.gz").encode(event({"s": {"S": "x"}}), NOW)


@pytest.mark.parametrize(
    "text",
    {
        "byte-order mark": b"\xef\xbb\xbf" + LINE,
        "a duplicate name": LINE.replace(b'{"schema":1,', b'{"schema":1,"schema":1,'),
        "two records on one line": LINE[:-1] + LINE,
        "no end of line": LINE[:-1],
        "an empty line": LINE + b"\n",
        "carriage return": LINE[:-1] + b"\r\n",
        "spaces": LINE.replace(b":1,", b": 1,", 1),
        "another schema": LINE.replace(b'"schema":1', b'"schema":2'),
        "no JSON": b"x\n",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_lines_that_are_not_as_they_were_written_are_refused(text: tuple[str, bytes]) -> None:
    with pytest.raises(Poison):
        list(ndjson.read(ndjson.compress(LINE) + ndjson.compress(text[1])))


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_cut_off_or_changed_anywhere_is_refused(file_format: str) -> None:
    events = [event({"s": {"S": str(number)}}, number) for number in range(600)]
    body = write(events, file_format).body
    read = reader_of(file_format)
    expected = by_id(read(body))
    for length in {0, 1, len(body) // 2, len(body) - 17, len(body) - 1}:
        # An empty gzip file is an empty file; that it has fewer records than its name says is the check's to find.
        if length or file_format != "ndjson.gz":
            with pytest.raises(Poison):
                list(read(body[:length]))
    with pytest.raises(Poison):
        list(read(body + b"trailing garbage"))
    for place in range(3, len(body), max(1, len(body) // 97)):
        damaged = body[:place] + bytes([body[place] ^ 0x10]) + body[place + 1 :]
        try:
            records = by_id(read(damaged))
        except Poison:
            continue
        # What no checksum covers (a gzip header's fields) may change as long as every record is read as it was. Deflate
        # in Avro has no checksum at all: there only the digest in the file's name tells, see test_file_check.
        assert records == expected or file_format == "avro"


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    line = igzip.compress(b"x" * 200_000_000, 1, mtime=0)
    with pytest.raises(Poison, match="line_too_long"):
        list(ndjson.read(line))
    compressor = zlib.compressobj(9, wbits=-15)
    deflated = compressor.compress(bytes(200_000_000)) + compressor.flush()
    block = avro.compress([b"x"], 1)[:1] + avro._long(len(deflated)) + deflated
    with pytest.raises(Poison, match="inflates to more"):
        avro.read_block(block)


def test_a_forged_block_is_refused_by_parquet_and_its_neighbours_are_not() -> None:
    good = pack([event({}, number) for number in range(3)], "avro")
    bad = Member(HOUR, "avro", 3, None, None, NOW, b"\x06\x02x")
    short = Member(HOUR, "avro", 4, None, None, NOW, pack([event({}, 9)], "avro")[0].data)
    for one, code in ((bad, "avro"), (short, "member_count")):
        with pytest.raises(batch_files.MemberRefused) as refused:
            batch_files.assemble("p", "stream", [*good, one], "parquet")
        assert (refused.value.digest, refused.value.code) == (one.digest(), code)
    (file,) = batch_files.assemble("p", "stream", good, "parquet")
    assert len(list(parquet.read(file.body))) == 3


def test_a_parquet_member_in_a_message_is_refused() -> None:
    member = orjson.loads(pack([event({}, 1)], "avro")[0].encode())
    with pytest.raises(Poison, match="member_shape"):
        Member.decode({**member, "format": "parquet"})


@pytest.mark.parametrize("file_format", ["ndjson.gz", "avro"])
@pytest.mark.parametrize("where", ["key", "event_id", "image", "name"])
def test_half_a_surrogate_pair_is_poison_in_every_format(file_format: str, where: str) -> None:
    half = "\ud83d"
    forged = {
        "key": lambda: event({}, 1, key=half),
        "event_id": lambda: event({}, 1, event_id=half),
        "image": lambda: event({"s": {"S": half}}),
        "name": lambda: event({half: {"S": "x"}}),
    }[where]()
    with pytest.raises(Poison, match="lone_surrogate"):
        encoder_of(file_format).encode(forged, NOW)
