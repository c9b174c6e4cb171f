"""What the codec promises and a history would seldom meet."""

from __future__ import annotations

import random
from base64 import b64encode
from itertools import permutations

import pytest

from lakebound.errors import Poison
from lakebound.formats import ndjson
from lakebound.record.attributes import canonical_key
from lakebound.transport import batch_files, messages
from lakebound.transport.messages import Member


def member(text: bytes, count: int = 1) -> Member:
    return Member("dt=2026-11-24/HH=03", "ndjson.gz", count, None, None, 7, ndjson.compress(text))


def test_the_same_members_give_the_same_file() -> None:
    members = [member(b"1\n"), member(b"2\n"), member(b"3\n")]
    assert len({batch_files.assemble("p", "stream", order)[0].key for order in permutations(members)}) == 1


def test_a_member_with_a_flipped_bit_is_refused() -> None:
    original = member(b'{"schema":1}\n')
    rng = random.Random(1)
    for _ in range(50):
        data = bytearray(original.data)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        broken = with_data(original.encode(), original.data, bytes(data))
        with pytest.raises(Poison, match="member_crc"):
            messages.decode("t", f'{{"v":1,"table":"t","members":[{broken}]}}')


def with_data(text: str, old: bytes, new: bytes) -> str:
    return text.replace(b64encode(old).decode(), b64encode(new).decode())


def test_equal_numbers_are_one_key() -> None:
    assert len({canonical_key({"k": {"N": text}}) for text in ("1", "1.0", "1E0", "0.1E1", "+1", "10e-1")}) == 1
    assert canonical_key({"k": {"N": "-0"}}) == canonical_key({"k": {"N": "0"}})
