"""Keys of the bucket: format and parse are inverse, and what is not ours is refused."""

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakebound.errors import Misconfigured
from lakebound.times import MAX_TIME_MS, format_time, parse_time
from lakebound.transport.object_keys import (
    CLAIMS,
    DISCARDED,
    FORMATS,
    ORIGINS,
    QUARANTINE,
    REDRIVEN,
    DataKey,
    GapKey,
    StreamCheckKey,
    is_partition,
    partitioner,
)

HEX = "0123456789abcdef"
PREFIX = "ddb/flights"
times = st.integers(0, MAX_TIME_MS)
LETTERS = "abcXYZ0189_"
words = st.text(LETTERS, min_size=1, max_size=8)
segments = st.one_of(
    st.builds("{}={}".format, words, st.text(LETTERS + "-", min_size=1, max_size=8)),
    words.filter(lambda word: not word.startswith("_")),
)
partitions = st.lists(segments, min_size=1, max_size=8).map("/".join)
data_keys = st.builds(
    DataKey,
    partition=partitions,
    origin=st.sampled_from(ORIGINS),
    time_ms=times,
    count=st.integers(1, 10**12 - 1),
    digest=st.text(HEX, min_size=32, max_size=32),
    ext=st.sampled_from(FORMATS),
)


@given(one=times, other=times)
def test_times_are_inverse_and_sort_as_numbers_do(one: int, other: int) -> None:
    assert parse_time(format_time(one)) == one
    assert (format_time(one) < format_time(other)) is (one < other)


@given(key=data_keys)
def test_a_data_key_is_parsed_back(key: DataKey) -> None:
    assert DataKey.parse(PREFIX, key.format(PREFIX)) == key


@given(key=data_keys, prefix=st.sampled_from(["ddb", "ddb/flight", "ddb/flights2", "other", PREFIX + "/x"]))
def test_a_data_key_of_another_prefix_is_not_taken_for_ours(key: DataKey, prefix: str) -> None:
    parsed = DataKey.parse(prefix, key.format(PREFIX))
    assert parsed is None or parsed.format(prefix) == key.format(PREFIX)


def test_a_data_key_by_example() -> None:
    key = DataKey("dt=2026-11-24/HH=03", "stream", 1_795_489_534_123, 497, "a" * 32, "ndjson.gz")
    assert key.format(PREFIX) == f"ddb/flights/dt=2026-11-24/HH=03/stream-20261124T030534123Z-497-{'a' * 32}.ndjson.gz"


GOOD = f"{PREFIX}/dt=2026-11-24/HH=03/stream-20261124T030534123Z-497-{'a' * 32}.ndjson.gz"


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("stream-", "Stream-"),
        ("stream-", "gossip-"),
        ("20261124T030534123Z", "20261324T030534123Z"),
        ("20261124T030534123Z", "20261124T036034123Z"),
        ("20261124T030534123Z", "2026-11-24T03:05Z"),
        ("-497-", "-0-"),
        ("-497-", "-0497-"),
        ("-497-", "--1-"),
        ("-497-", f"-{'9' * 13}-"),
        ("a" * 32, "a" * 31),
        ("a" * 32, "A" * 32),
        (".ndjson.gz", ".ndjson"),
        (".ndjson.gz", ".ndjson.gz.tmp"),
        (".ndjson.gz", ".ndjson.gz\n"),
        ("dt=2026-11-24/HH=03", ".."),
        ("dt=2026-11-24/HH=03", "dt=2026-11-24//HH=03"),
        ("dt=2026-11-24/HH=03/", ""),
        ("dt=2026-11-24/HH=03", "_delta_log"),
        (PREFIX, "ddb"),
        (PREFIX + "/", PREFIX),
    ],
)
def test_what_is_no_batch_file_is_none(was: str, becomes: str) -> None:
    assert DataKey.parse(PREFIX, GOOD) is not None
    assert DataKey.parse(PREFIX, GOOD.replace(was, becomes)) is None


@given(text=st.text(max_size=300))
def test_parse_never_raises(text: str) -> None:
    for key in (text, f"{PREFIX}/{text}", f"_lakebound/flights/claims/{text}", f"_lakebound/flights/quarantine/{text}"):
        DataKey.parse(PREFIX, key)
        CLAIMS.parse("flights", key)
        QUARANTINE.parse("flights", key)


@given(partition=partitions)
def test_a_plain_folder_path_is_a_partition(partition: str) -> None:
    assert is_partition(partition)


@pytest.mark.parametrize(
    "partition",
    ["", "/", "/dt=1", "dt=1/", "dt=1//HH=2", ".", "..", "dt=../HH=1", "../../_lakebound/x", "a.b", "dt=2026 11",
     "dt=é", "dt=1\n", "dt=1\0", "dt=%2e%2e", "=1", "dt=", "-a", "a=b=c", "_lakebound", "_delta_log/x",
     "dt=1/_temporary", "/".join(["a"] * 9), "a" * 257, "dt=1\\..", None, 1, ["dt=1"], {"dt": 1}],
    ids=repr,
)  # fmt: skip
def test_a_forged_partition_is_refused(partition: object) -> None:
    assert not is_partition(partition)


@given(text=st.text("ab=/._-\\%~", max_size=12))
def test_a_partition_never_leaves_the_prefix_and_never_hides_from_spark(text: str) -> None:
    if is_partition(text):
        for segment in text.split("/"):
            assert segment
            assert "." not in segment
            assert not segment.startswith("_") or "=" in segment


@given(ms=times, is_delete=st.booleans())
def test_the_default_partition_is_the_utc_hour(ms: int, is_delete: bool) -> None:
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    expected = f"dt={moment:%Y-%m-%d}/HH={moment:%H}"
    assert partitioner("dt=%Y-%m-%d/HH=%H")(ms, is_delete) == expected


@given(one=times, other=times)
def test_times_of_one_hour_and_only_they_share_a_partition(one: int, other: int) -> None:
    of = partitioner("dt=%Y-%m-%d/HH=%H")
    assert (of(one, False) == of(other, False)) is (one // 3_600_000 == other // 3_600_000)


def test_deletes_can_have_a_folder_of_their_own() -> None:
    of = partitioner("ingest_dt=%Y-%m-%d/hour=%H/op={op}")
    assert of(0, False) == "ingest_dt=1970-01-01/hour=00/op=upserts"
    assert of(3_600_000, True) == "ingest_dt=1970-01-01/hour=01/op=deletes"


@pytest.mark.parametrize(
    "template",
    ["dt=%Y-%m-%d/HH=%H", "dt=%Y%m%d/HH=%H", "%Y/%m/%d/%H", "day=%Y-%m-%d", "ingest_dt=%Y-%m-%d/hour=%H", "{op}/%Y"],
)
def test_a_template_of_folders_is_accepted(template: str) -> None:
    assert is_partition(partitioner(template)(0, True))


@pytest.mark.parametrize(
    "template",
    ["dt=%Y-%m-%d/HH=%H%M", "%Y%M", "%H%S", "%Y%j", "%%Y", "%Y%", "%", "dt=%f", "%s", "%-d", "%x", "%Y\n%", "../%Y",
     "/dt=%Y", "dt=%Y/", "", "{key}", "dt={op", "_dt/%Y", "dt=%Y .", "dt=%Y/./x"],
)  # fmt: skip
def test_a_template_finer_than_an_hour_or_no_path_is_refused(template: str) -> None:
    with pytest.raises(Misconfigured, match="PARTITION_TEMPLATE"):
        partitioner(template)


@given(digest=st.text(HEX, min_size=64, max_size=64))
def test_keys_aside_are_parsed_back_for_their_own_table_only(digest: str) -> None:
    claim, poison = CLAIMS.key("flights", digest), QUARANTINE.key("flights", digest)
    assert claim == f"_lakebound/flights/claims/{digest}.json"
    assert poison == f"_lakebound/flights/quarantine/{digest}.json"
    assert poison.startswith(QUARANTINE.prefix("flights"))
    assert CLAIMS.parse("flights", claim) == digest
    assert QUARANTINE.parse("flights", poison) == digest
    for table in ("flight", "flights2", ""):
        assert CLAIMS.parse(table, claim) is None
        assert QUARANTINE.parse(table, poison) is None
    assert CLAIMS.parse("flights", poison) is None


@given(name=st.text(max_size=80))
def test_a_copy_of_what_was_discarded_and_its_note_lie_in_folders_of_their_own(name: str) -> None:
    copy, note = DISCARDED.key_about("flights", name), REDRIVEN.key_about("flights", name)
    digest = sha256(name.encode()).hexdigest()
    assert copy == f"_lakebound/flights/discarded/{digest}.json"
    assert DISCARDED.parse("flights", copy) == digest
    assert REDRIVEN.parse("flights", note) == digest
    # A copy taken for a note would end the waiting of an object that nobody has carried.
    assert REDRIVEN.parse("flights", copy) is None
    assert DISCARDED.parse("flights", note) is None
    for other in (DISCARDED.key_about("cars", name), copy + "x", copy.removesuffix(".json")):
        assert DISCARDED.parse("flights", other) is None


def test_what_was_seen_of_the_stream_lies_beside_the_gaps_and_is_none() -> None:
    key = StreamCheckKey("flights").format()
    assert key == "_lakebound/flights/gaps/seen.json"
    assert StreamCheckKey.parse("flights", key) == StreamCheckKey("flights")
    assert GapKey.parse("flights", key) is None
    for other in (GapKey("flights", 5, "mapping_behind").format(), key + "x", StreamCheckKey("cars").format()):
        assert StreamCheckKey.parse("flights", other) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x",
        "_lakebound/flights/claims/.json",
        f"_lakebound/flights/claims/../{'a' * 64}.json",
        f"_lakebound/flights/claims/{'a' * 63}.json",
        f"_lakebound/flights/claims/{'A' * 64}.json",
        f"_lakebound/flights/claims/{'a' * 64}.jso",
        f"_lakebound/flights/claims/{'a' * 64}.json\n",
    ],
)
def test_a_forged_claim_key_is_refused(key: str) -> None:
    assert CLAIMS.parse("flights", key) is None
