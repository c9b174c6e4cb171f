"""`files check` finds every file that is not what its name says, in a bucket and in a folder."""

import gzip
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from lakebound.adapters.clock import SystemClock
from lakebound.cli.app import app
from lakebound.formats import ndjson
from lakebound.operate.file_check import check
from lakebound.transport import batch_files
from lakebound.transport.object_keys import DataKey
from tests.support.batch_files import FORMATS, event, pack, write
from tests.support.local_ports import MemoryStore
from tests.support.operator_stack import Lakebound

RUN = CliRunner()


def rename(file: batch_files.BatchFile, **changes: object) -> str:
    key = DataKey.parse("ddb/cars", file.key)
    assert key is not None
    fields = {name: getattr(key, name) for name in key.__slots__}
    return DataKey(**{**fields, **changes}).format("ddb/cars")  # type: ignore[arg-type]


def digest_of(body: bytes) -> str:
    from hashlib import sha256

    return sha256(body).hexdigest()[:32]


def store_of(*files: tuple[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    for key, body in files:
        store.put_if_absent(key, body, {})
    return store


@pytest.mark.parametrize("file_format", FORMATS)
def test_whole_files_are_whole(file_format: str) -> None:
    file = write([event({}, number) for number in range(700)], file_format)
    report = check(store_of((file.key, file.body), ("ddb/cars/notes.txt", b"x")), "ddb/cars")
    assert (report.files, report.records, report.others, report.damaged) == (1, 700, 1, [])


@pytest.mark.parametrize("file_format", FORMATS)
def test_each_kind_of_damage_is_named(file_format: str) -> None:
    file = write([event({"s": {"S": str(number)}}, number) for number in range(700)], file_format)
    middle = len(file.body) // 2
    flipped = file.body[:middle] + bytes([file.body[middle] ^ 1]) + file.body[middle + 1 :]
    cut = file.body[: middle * 2 - 40]
    damaged = {
        file.key.replace("ddb/cars/", "ddb/cars/a/"): (flipped, "digest"),
        rename(file, partition="b", count=701): (file.body, "count"),
        rename(file, partition="c", time_ms=1): (file.body, "time"),
        rename(file, partition="d", origin="scan"): (file.body, "origin"),
        rename(file, partition="e", digest=digest_of(cut)): (cut, None),
        rename(file, partition="f", digest=digest_of(b"")): (b"", None),
    }
    report = check(store_of(*((key, body) for key, (body, _) in damaged.items())), "ddb/cars")
    assert report.files == len(damaged)
    assert [one.key for one in report.damaged] == sorted(damaged)
    for one in report.damaged:
        _, code = damaged[one.key]
        assert code is None or one.code == code


def test_a_member_left_out_is_found_though_every_other_is_whole() -> None:
    members = pack([event({}, number) for number in range(1000)], "ndjson.gz")
    (file,) = batch_files.assemble("ddb/cars", "stream", members)
    body = ndjson.join([member.data for member in members[:1]])
    report = check(store_of((rename(file, digest=digest_of(body)), body)), "ddb/cars")
    assert [(one.code, one.detail) for one in report.damaged] == [("count", "500 records, the name says 1000")]


def test_the_command_reads_a_folder_and_exits_1_with_the_list(tmp_path: Path) -> None:
    file = write([event({}, 1)], "avro")
    path = tmp_path / file.key
    path.parent.mkdir(parents=True)
    path.write_bytes(file.body)
    good = RUN.invoke(app, ["files", "check", str(tmp_path / "ddb/cars")])
    told = f"1 of 1 file whole, 1 record, {len(file.body):,} bytes; 0 other objects passed over\n"
    assert (good.exit_code, good.stdout) == (0, told)
    path.write_bytes(file.body[:-1])
    bad = RUN.invoke(app, ["files", "check", str(tmp_path / "ddb/cars"), "--json"])
    assert bad.exit_code == 1
    assert '"code": "digest"' in bad.stdout
    assert RUN.invoke(app, ["files", "check", str(tmp_path / "nowhere")]).exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        b'{"schema":1}',
        b'{"schema":1,"ingest_time_ms":"x","origin":"stream"}',
        b'{"schema":1,"ingest_time_ms":true,"origin":"stream"}',
    ],
    ids=["no fields", "time as text", "time as a truth value"],
)
def test_a_line_that_is_no_record_is_named_though_name_and_digest_fit(line: bytes) -> None:
    file = write([event({}, 1)], "ndjson.gz")
    body = gzip.compress(line + b"\n", mtime=0)
    forged = rename(file, partition="forged", digest=digest_of(body))
    report = check(store_of((file.key, file.body), (forged, body)), "ddb/cars")
    assert (report.files, report.records) == (2, 1)
    assert [(one.key, one.code) for one in report.damaged] == [(forged, "record_shape")]


def test_the_command_tells_the_path_of_what_is_gone_or_a_link_to_nowhere(tmp_path: Path) -> None:
    file = write([event({}, 1)], "avro")
    path = tmp_path / "dt=2026-11-18" / Path(file.key).name
    path.parent.mkdir()
    path.symlink_to(tmp_path / "nowhere")
    told = RUN.invoke(app, ["files", "check", str(tmp_path)])
    assert told.exit_code == 1
    assert told.stdout.splitlines()[0] == f"{path}: missing, listed, and gone when it was read"


def test_the_command_says_so_where_there_is_no_batch_file(tmp_path: Path) -> None:
    """With status 1: a cron job with a letter wrong in its prefix would call the lake whole, night after night."""
    (tmp_path / "notes.txt").write_text("x")
    for verb in (["check"], ["flatten"], ["flatten", "--dry-run"], ["flatten", str(tmp_path / "plain")]):
        told = RUN.invoke(app, ["files", verb[0], str(tmp_path), *verb[1:]])
        assert (told.exit_code, told.output.split(";")[0]) == (1, f"no batch file below {tmp_path}")
        assert "DataPrefix" in told.output
        assert RUN.invoke(app, ["files", verb[0], str(tmp_path), *verb[1:], "--json"]).exit_code == 1


FILE_VERBS = ("mirror", "mirror --dry-run", "check", "flatten", "flatten --dry-run")


@pytest.mark.parametrize("verb", FILE_VERBS)
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["text", "json"])
def test_a_letter_wrong_in_a_prefix_is_no_success(
    json: tuple[str, ...], verb: str, lakebound: Lakebound, aws: None, tmp_path: Path
) -> None:
    file = write([event({}, 1)], "ndjson.gz")
    boto3.resource("s3").create_bucket(Bucket="lake").put_object(Key=file.key, Body=file.body)
    name, *more = verb.split()
    more += [*([] if name == "check" else [str(tmp_path / "into")]), *json]
    for wrong in ("ddb/car", "ddb/carss", "dbd/cars", "ddb/Cars", "cars"):
        assert lakebound("files", name, f"s3://lake/{wrong}", *more) == 1
        assert json or f"no batch file below s3://lake/{wrong};" in lakebound.printed().out
    assert lakebound("files", name, "s3://lake/ddb/cars", *more) == 0
    assert lakebound("files", name, "s3://lake/ddb/cars", *more) == 0, "nothing new is no problem"
    assert "no batch file" not in lakebound.printed().out


def test_a_mirror_that_follows_says_that_it_waits_and_goes_on(
    lakebound: Lakebound, aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write([event({}, 1)], "ndjson.gz")
    bucket = boto3.resource("s3").create_bucket(Bucket="lake")
    naps: list[float] = []

    def nap(self: SystemClock, seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt
        if len(naps) == 2:
            bucket.put_object(Key=file.key, Body=file.body)

    monkeypatch.setattr(SystemClock, "sleep", nap)
    assert lakebound("files", "mirror", "s3://lake/ddb/cars", str(tmp_path), "--follow") == 130
    first, second = lakebound.printed().out.splitlines()
    assert first.startswith("no batch file below s3://lake/ddb/cars; ")
    assert second.startswith("copied 1 file, ")


def test_the_command_reads_a_bucket_and_exits_1_with_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "t",
        "AWS_SECRET_ACCESS_KEY": "t",
    }.items():
        monkeypatch.setenv(name, value)
    files = [write([event({"s": {"S": str(number)}}, number)], "ndjson.gz") for number in range(3)]
    with mock_aws():
        bucket = boto3.resource("s3").create_bucket(Bucket="lake")
        for file in files:
            bucket.put_object(Key=file.key, Body=file.body)
        good = RUN.invoke(app, ["files", "check", "s3://lake/ddb/cars"])
        assert good.exit_code == 0
        assert good.stdout.startswith("3 of 3 files whole, 3 records")
        bucket.put_object(Key=files[1].key, Body=files[1].body[:-1])
        bad = RUN.invoke(app, ["files", "check", "s3://lake/ddb/cars"])
        assert bad.exit_code == 1
        assert bad.stdout.splitlines()[0].startswith(f"{files[1].key}: digest, ")
        assert bad.stdout.splitlines()[1].startswith("2 of 3 files whole, 2 records")
        assert RUN.invoke(app, ["files", "check", "s3://nowhere/ddb/cars"]).exit_code != 0
