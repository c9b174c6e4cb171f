"""Run in a child process under a memory limit: `python scenarios.py NAME LIMIT_BYTES`; prints its peak in bytes.

The limit is RLIMIT_DATA, the private memory that a process may write to, so an allocation above it fails at once
instead of swapping.
"""

import json
import os
import random
import resource
import sys
import zlib
from pathlib import Path
from typing import Any

NOW = 1_795_000_005_000
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/cars/stream/2026-11-01T08:00:00.000"


class Accepting:
    """A queue that takes everything and keeps nothing."""

    def __init__(self) -> None:
        self.bodies = 0

    def send(self, bodies: Any) -> list[int]:
        self.bodies += len(bodies)
        return []

    def receive(self, wait_seconds: int) -> list[Any]:
        return []

    def delete(self, receipts: Any) -> list[int]:
        return []

    def hide(self, receipts: Any, seconds: int) -> None:
        return None


class Forgetting:
    """A store that takes everything and keeps its keys; `served` is what it can give."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.served: dict[str, bytes] = {}

    def put_if_absent(self, key: str, body: bytes, metadata: Any) -> bool:
        self.keys.append(key)
        return True

    def get(self, key: str, max_bytes: int) -> bytes:
        return self.served[key]

    def list(self, prefix: str) -> Any:
        return iter(())


class Still:
    def now_ms(self) -> int:
        return NOW

    def sleep(self, seconds: float) -> None:
        return None


def record(number: int, item: dict[str, Any]) -> dict[str, Any]:
    keys = {"vin": {"S": f"car {number}"}}
    return {
        "eventID": f"{number:032x}",
        "eventName": "MODIFY",
        "eventSourceARN": ARN,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_000_000,
            "Keys": keys,
            "NewImage": {**keys, **item},
            "OldImage": {**keys, **item},
            "SequenceNumber": f"8204000000000000000{number:08d}",
        },
    }


def worst_delivery(name: str) -> bytes:
    """A delivery's JSON, as the runtime is handed it: at most 6 MB."""
    small = {f"attribute {place}": {"N": str(place)} for place in range(28)}
    if name == "ingest 400 KB of NUL":
        records = [record(1, {"nul": {"S": "\0" * 400_000}}), *(record(number, small) for number in range(2, 500))]
    elif name == "ingest 200,000 NULLs":
        records = [record(1, {"list": {"L": [{"NULL": True}] * 200_000}})]
    elif name == "ingest 6 MB of small records":
        records = [record(number, small) for number in range(3_000)]
    else:
        deep: dict[str, Any] = {"NULL": True}
        for _ in range(400):
            deep = {"L": [deep]}
        records = [record(number, {"deep": deep, **small}) for number in range(600)]
    return json.dumps({"Records": records}, separators=(",", ":")).encode()


def ingest_worst(name: str) -> None:
    import simplejson

    from lakebound.live.ingest import IngestRules, ingest
    from lakebound.record.stream_records import StreamDecoder
    from lakebound.transport.object_keys import partitioner

    delivery = worst_delivery(name)
    assert 3_000_000 < len(delivery) < 6_291_456, len(delivery)
    for file_format in ("ndjson.gz", "avro"):
        event = simplejson.loads(delivery)
        rules = IngestRules("cars", partitioner("dt=%Y-%m-%d/HH=%H"), False, 262_144, file_format)
        result = ingest(
            event["Records"], rules, StreamDecoder("cars"), Accepting(), Forgetting(), Still(), lambda: 60.0
        )
        assert result.sent + result.quarantined.total() == len(event["Records"])
        assert result.unsent_from is None
        del event


def received(member: Any, number: int) -> Any:
    from lakebound.ports import ReceivedMessage

    body = f'{{"v":1,"table":"cars","members":[{member.encode()}]}}'
    return ReceivedMessage(str(number), str(number), body, 1)


def flush_full_files(file_format: str) -> None:
    """A file of MAX_FILE_BYTES, of records that hardly compress."""
    from lakebound.formats.registry import encoder_of
    from lakebound.live.flush import FlushRules, flush
    from lakebound.record.stream_records import StreamDecoder
    from lakebound.transport.messages import Member

    chance = random.Random(1)
    encoder, decoder = encoder_of(file_format), StreamDecoder("cars")
    text = chance.randbytes(120_000).hex()
    lines = [
        encoder.encode(decoder.decode(record(n, {"x": {"S": text[n * 97 :][:120_000]}}), NOW), NOW) for n in range(5)
    ]
    queue, store = Accepting(), Forgetting()
    count = 67_108_864 // len(encoder.compress(lines[:4], 4)) + 5

    def messages() -> Any:
        for number in range(count):
            # Two members of equal bytes would be written once.
            last = encoder.encode(decoder.decode(record(number + 5, {}), NOW), NOW)
            data = encoder.compress([*lines[:4], last], 5)
            yield received(Member("dt=2026-11-18/HH=11", encoder.extension, 5, None, None, NOW - number, data), number)

    rules = FlushRules("cars", "ddb/cars", 0, 67_108_864, 0, file_format)
    result = flush(list(messages()), rules, queue, store, Still(), lambda: 60.0)
    assert not result.failed, result.refused
    assert result.records == 5 * count
    assert max(size for _, size in result.files) > 60_000_000 or file_format == "parquet"


def flush_bomb() -> None:
    """An Avro block of 200 KB that inflates to 200 MB, refused beside a good one."""
    from lakebound.formats import avro
    from lakebound.formats.registry import encoder_of
    from lakebound.live.flush import FlushRules, flush
    from lakebound.record.stream_records import StreamDecoder
    from lakebound.transport.messages import Member

    compressor = zlib.compressobj(9, wbits=-15)
    deflated = b"".join(compressor.compress(bytes(1_000_000)) for _ in range(200)) + compressor.flush()
    bomb = avro._long(1000) + avro._long(len(deflated)) + deflated
    good = encoder_of("avro").encode(StreamDecoder("cars").decode(record(1, {}), NOW), NOW)
    members = [(avro.compress([good], 1), 1), (bomb, 1000)]
    batch = [
        received(Member("dt=2026-11-18/HH=11", "avro", count, None, None, NOW, data), number)
        for number, (data, count) in enumerate(members)
    ]
    rules = FlushRules("cars", "ddb/cars", 0, 67_108_864, 0, "parquet")
    result = flush(batch, rules, Accepting(), Forgetting(), Still(), lambda: 60.0)
    assert (result.failed, result.refused, result.records) == (["1"], {"1": "avro"}, 1)


def read_bomb() -> None:
    """A gzip file of 200 KB that inflates to 200 MB on one line, and one of 200 MB of short lines."""
    from isal import igzip

    from lakebound.errors import Poison
    from lakebound.formats import ndjson

    for piece in (b"x", b"\n"):
        bomb = igzip.compress(piece * 1_000_000, 2, mtime=0) * 200
        try:
            list(ndjson.read(bomb))
        except Poison:
            continue
        raise AssertionError("the bomb was read")


def greedy() -> None:
    """The red control: more memory than any limit here."""
    bytes(1_000_000_000).strip(b"x")


def peak_bytes() -> int:
    """The process's greatest resident size. Not `ru_maxrss`: that survives exec, and would tell the test runner's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main() -> None:
    name, limit = sys.argv[1], int(sys.argv[2])
    # Imports are part of a function's memory; the limit holds for what comes after them as well.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if name == "greedy":
        greedy()
    elif name == "flush bomb to parquet":
        flush_bomb()
    elif name == "read gzip bombs":
        read_bomb()
    elif name.startswith("flush full"):
        flush_full_files(name.rsplit(" ", 1)[1])
    else:
        os.environ["AWS_REGION"] = "us-east-1"
        import lakebound.adapters.s3
        import lakebound.adapters.telemetry  # noqa: F401  # what the function holds beside its work

        ingest_worst(name)
    print(peak_bytes())


if __name__ == "__main__":
    main()
