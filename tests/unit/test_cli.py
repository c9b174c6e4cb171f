"""The command `lakebound`: exit status, sentences instead of tracebacks, and `files mirror` on moto's S3."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.operator_stack import Lakebound

PREFIX = "ddb/flights"
FILES = {
    f"{PREFIX}/dt=2026-11-24/HH=03/stream-20261124T030534123Z-2-{'a' * 32}.ndjson.gz": b"first",
    f"{PREFIX}/dt=2026-11-24/HH=04/stream-20261124T040534123Z-3-{'b' * 32}.ndjson.gz": b"second",
}
OTHERS = {
    f"{PREFIX}/dt=2026-11-24/HH=04/_SUCCESS": b"",
    f"{PREFIX}/../escape/stream-20261124T040534123Z-3-{'c' * 32}.ndjson.gz": b"forged",
    f"{PREFIX}2/dt=2026-11-24/HH=04/stream-20261124T040534123Z-3-{'d' * 32}.ndjson.gz": b"another prefix",
    "_lakebound/flights/quarantine/x.json": b"{}",
}


@pytest.fixture
def bucket(aws: None) -> Any:
    made = boto3.resource("s3").create_bucket(Bucket="lake")
    for key, body in (FILES | OTHERS).items():
        made.put_object(Key=key, Body=body)
    return made


def copied(folder: Path) -> dict[str, bytes]:
    return {
        f"{PREFIX}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "--table", "flights"],
        ["nothing"],
        ["files", "mirror", "lake/prefix", "x"],
        ["files", "mirror", "s3://lake", "x"],
        ["verify", "--table", "flights", "--target", "/silver", "--lag", "soon"],
        ["verify", "--table", "flights", "--target", "/silver", "--lag", "60", "--limit", "100"],
    ],
)
def test_a_usage_error_exits_with_2_and_no_traceback(lakebound: Lakebound, arguments: list[str]) -> None:
    assert lakebound(*arguments) == 2
    told = lakebound.printed()
    assert told.err
    assert told.out == ""
    assert "Traceback" not in told.err


def test_help_names_every_verb_and_exits_with_0(lakebound: Lakebound) -> None:
    told = lakebound.out("--help")
    assert "verify" in told
    assert "files" in told


def test_a_table_that_is_not_there_is_one_sentence_and_the_next_step(lakebound: Lakebound, aws: None) -> None:
    told = lakebound.err("verify", "--table", "flights", "--target", "/silver")
    assert told.startswith("lakebound: There is no table flights at ")
    assert told.endswith("Check its name, the region and AWS_ENDPOINT_URL\n")


def test_mirror_copies_batch_files_and_nothing_else(lakebound: Lakebound, bucket: Any, tmp_path: Path) -> None:
    assert lakebound("files", "mirror", f"s3://lake/{PREFIX}", str(tmp_path / "mirror")) == 0
    assert copied(tmp_path / "mirror") == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_mirror_copies_only_what_is_new(lakebound: Lakebound, bucket: Any, tmp_path: Path) -> None:
    lakebound("files", "mirror", f"s3://lake/{PREFIX}", str(tmp_path))
    new = f"{PREFIX}/dt=2026-11-24/HH=05/stream-20261124T050534123Z-1-{'e' * 32}.ndjson.gz"
    bucket.put_object(Key=new, Body=b"third")
    lakebound.printed()
    told = lakebound.document("files", "mirror", f"s3://lake/{PREFIX}", str(tmp_path))
    assert (told["copied"], told["bytes"], told["present"]) == (1, 5, 2)
    assert copied(tmp_path) == {**FILES, new: b"third"}


def test_mirror_dry_run_names_the_files_and_copies_none(lakebound: Lakebound, bucket: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    assert lakebound.out("files", "mirror", f"s3://lake/{PREFIX}", str(folder), "--dry-run").splitlines() == [
        *[f"would copy {key} ({len(body)} bytes)" for key, body in FILES.items()],
        f"would copy 2 files, 11 bytes, into {folder}; 0 were there",
    ]
    assert not folder.exists()


def test_mirror_says_one_file_of_one(lakebound: Lakebound, bucket: Any, tmp_path: Path) -> None:
    lakebound("files", "mirror", f"s3://lake/{PREFIX}", str(tmp_path))
    next(tmp_path.rglob("*.gz")).unlink()
    lakebound.printed()
    told = lakebound.out("files", "mirror", f"s3://lake/{PREFIX}", str(tmp_path), "--dry-run")
    assert "would copy 1 file, " in told
    assert told.endswith("; 1 was there\n")


def test_a_bucket_that_is_not_there_is_a_sentence(lakebound: Lakebound, aws: None, tmp_path: Path) -> None:
    assert lakebound("files", "mirror", "s3://nowhere/prefix", str(tmp_path)) == 2
    assert lakebound.err().startswith("lakebound: The bucket nowhere does not exist")


def test_the_command_starts_without_loading_what_reads_delta() -> None:
    readers = ("pyspark", "delta", "deltalake", "arro3")
    loaded = f"import sys, lakebound.cli.app; print([m for m in sys.modules if m.split('.')[0] in {readers}])"
    out = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
