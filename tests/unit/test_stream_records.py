"""Change events out of stream records."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakebound.errors import Misconfigured, Poison
from lakebound.record.stream_records import ChangeEvent, StreamDecoder, StreamSource, sequence_number_of, version_of
from tests.support.stream_records import ARN, LABEL, NOW_MS, TABLE, sequence, stream_record

TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def decode(record: object) -> ChangeEvent:
    return StreamDecoder(TABLE).decode(record, NOW_MS)


def test_an_event_says_what_the_record_said() -> None:
    record = stream_record(
        7, name="MODIFY", attributes={"a": {"N": "1.50"}}, old={"id": {"S": "k7"}}, created=1_795_000_000
    )
    assert decode(record) == ChangeEvent(
        event_name="MODIFY",
        event_id=f"{7:032x}",
        origin="stream",
        source_table=TABLE,
        key="id=S:k7",
        keys={"id": {"S": "k7"}},
        new_image={"id": {"S": "k7"}, "a": {"N": "1.50"}},
        old_image={"id": {"S": "k7"}},
        ttl_expired=False,
        sequence_number=sequence(7),
        version=f"{LABEL}|{sequence(7).zfill(40)}",
        snapshot_label_ms=None,
        snapshot_run=None,
        approx_creation_time_ms=1_795_000_000_000,
        size_bytes=64,
    )


@given(st.lists(st.integers(0, 10**40 - 1), min_size=2, max_size=2))
def test_versions_sort_as_sequence_numbers_do(numbers: list[int]) -> None:
    one, other = numbers
    assert (version_of(LABEL, str(one)) < version_of(LABEL, str(other))) is (one < other)


def test_versions_along_a_shard_lineage_grow_though_their_text_does_not() -> None:
    lineage = ["20500000000000000000017", "820400000000000000000042", "1683700000000000000000099"]
    assert sorted(lineage) != lineage, "the raw texts sort wrongly, which is why versions are padded"
    versions = [version_of(LABEL, number) for number in lineage]
    assert sorted(versions) == versions


def test_a_later_stream_has_greater_versions_though_its_numbers_start_low() -> None:
    before = version_of("2026-11-01T08:00:00.000", "9" * 40)
    assert version_of("2026-11-02T08:00:00.000", "1") > before


@pytest.mark.parametrize(
    ("name", "identity", "expired"),
    [
        ("REMOVE", TTL, True),
        ("REMOVE", {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}, True),
        ("REMOVE", None, False),
        ("REMOVE", {"type": "Service", "principalId": "someone.amazonaws.com"}, False),
        ("REMOVE", {"type": "User", "principalId": "dynamodb.amazonaws.com"}, False),
        ("REMOVE", "Service", False),
        ("REMOVE", {}, False),
        ("MODIFY", TTL, False),
    ],
)
def test_only_a_remove_by_the_ttl_service_is_an_expiry(name: str, identity: Any, expired: bool) -> None:
    assert decode(stream_record(name=name, userIdentity=identity)).ttl_expired is expired


@pytest.mark.parametrize("key_in_image", ["1.0", "1", "1E0"])
def test_keys_equal_as_values_are_the_same_key(key_in_image: str) -> None:
    assert decode(stream_record(keys={"id": {"N": "1"}}, new={"id": {"N": key_in_image}})).key == "id=N:1"


@pytest.mark.parametrize(
    ("size", "kept"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, None), (-1, None), ("1", None), (True, None)]
)
def test_a_size_that_no_reader_can_hold_is_left_out(size: object, kept: int | None) -> None:
    record = stream_record()
    record["dynamodb"]["SizeBytes"] = size
    assert decode(record).size_bytes == kept


def test_two_streams_of_one_table_are_told_apart() -> None:
    decoder = StreamDecoder(TABLE)
    later = ARN.replace(LABEL, "2026-11-02T08:00:00.000")
    versions = [decoder.decode(stream_record(eventSourceARN=arn), NOW_MS).version for arn in (ARN, later, ARN)]
    assert versions[0] == versions[2] != versions[1]


@pytest.mark.parametrize(
    "arn",
    [
        ARN,
        ARN.replace("aws:dynamodb", "aws-cn:dynamodb"),
        ARN.replace("eu-west-1:123456789012", "ddblocal:000000000000"),
        ARN.replace("flights", "a.b_c-D9"),
    ],
)
def test_a_stream_arn_is_read(arn: str) -> None:
    source = StreamSource.parse(arn)
    assert source is not None
    assert source.label == LABEL
    assert f"table/{source.table}/stream" in arn


@pytest.mark.parametrize(
    "arn", [None, "", 1, ARN + "/x", ARN + "\n", ARN.replace("/stream", ""), ARN.replace("T08", "|T08")]
)
def test_what_is_no_stream_arn_is_none(arn: object) -> None:
    assert StreamSource.parse(arn) is None


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "dynamodb",
                        "SequenceNumber",
                        "Keys",
                        "NewImage",
                        "eventName",
                        "eventID",
                        "eventSourceARN",
                        "S",
                        "L",
                    ]
                )
                | st.text(),
                inner,
            )
        ),
    )
)
def test_the_decoder_is_total(record: object) -> None:
    """Whatever a delivery holds, a record is an event or poison; nothing else is ever raised."""
    with pytest.raises(Poison):
        decode(record)
    sequence_number_of(record)


@given(
    record=st.fixed_dictionaries(
        {},
        optional={
            "eventSourceARN": st.just(ARN),
            "eventID": st.just("e"),
            "eventName": st.sampled_from(["INSERT", "REMOVE", "x", None]),
            "dynamodb": st.fixed_dictionaries(
                {},
                optional={
                    "SequenceNumber": st.just("1"),
                    "ApproximateCreationDateTime": st.sampled_from([1, None, "x"]),
                    "Keys": st.sampled_from([{"id": {"S": "a"}}, {"id": {"S": 1}}, [], "x", {"id": None}]),
                    "NewImage": st.sampled_from([{"id": {"S": "a"}}, {"id": [1]}, [], 5]),
                    "OldImage": st.sampled_from([{"id": {"S": "a"}}, {"id": {"L": 1}}, "x"]),
                    "StreamViewType": st.sampled_from(["NEW_AND_OLD_IMAGES", [], None]),
                    "SizeBytes": st.sampled_from([1, "x"]),
                },
            ),
        },
    )
)
def test_the_decoder_is_total_near_legal_records(record: object) -> None:
    with suppress(Poison):
        assert decode(record).origin == "stream"


def test_a_decoder_without_a_table_says_what_to_set() -> None:
    with pytest.raises(Misconfigured, match="TABLE_NAME"):
        StreamDecoder("")
