"""`lakebound verify` on a table in the local stack's S3, by its address and by its name in a catalog, without Java."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from demo.local_stack import ROOT, LocalStack

pytestmark = pytest.mark.stack

COMMAND = "from lakebound.cli.app import main; main()"
KEYS = [f"k{number}" for number in range(300)]
MISSING, GHOST, DIFFERENT = "k7", "nobody's", "k8"

Verify = Callable[..., tuple[int, Any]]


def rows_of(items: Mapping[str, Mapping[str, Any] | None]) -> pa.Table:
    """Rows of silver, a tombstone for None."""
    texts = [None if item is None else json.dumps(item) for item in items.values()]
    constant = {"_version": "1", "_stream_time_ms": 1, "_base": "", "_ttl_expired": False}
    columns = {"_key": [f"id=S:{key}" for key in items], "_item": pa.array(texts, pa.string())}
    columns["_is_deleted"] = [text is None for text in texts]
    return pa.table(columns | {name: [value] * len(items) for name, value in constant.items()})


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as stack:
        items = {key: {"id": {"S": key}, "n": {"N": "1.50"}} for key in KEYS}
        dynamodb, s3 = stack.client("dynamodb"), stack.client("s3")
        dynamodb.create_table(
            TableName="cars",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for item in items.values():
            dynamodb.put_item(TableName="cars", Item=item)
        s3.create_bucket(Bucket="lake")
        environment = stack.env()
        options = {"AWS_ALLOW_HTTP": "true", "AWS_REGION": environment["AWS_DEFAULT_REGION"]}
        options |= {
            name: environment[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }
        write_deltalake("s3://lake/silver/cars", rows_of(items | {"gone": None}), storage_options=options)
        spoilt = items | {DIFFERENT: {"id": {"S": DIFFERENT}}, GHOST: {"id": {"S": GHOST}}}
        del spoilt[MISSING]
        write_deltalake("s3://lake/silver/spoilt", rows_of(spoilt), storage_options=options)
        yield stack


@pytest.fixture
def verify(stack: LocalStack) -> Verify:
    """Runs the command; its exit status, and its JSON or else its sentence."""

    def call(target: str, **variables: str) -> tuple[int, Any]:
        arguments = ["verify", "--table", "cars", "--target", target, "--no-wait", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments],
            env=os.environ | stack.env() | variables | {"JAVA_HOME": "/nowhere"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    return call


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_a_table_in_s3_is_equal(verify: Verify, scheme: str) -> None:
    status, report = verify(f"{scheme}://lake/silver/cars")
    assert (status, report["equal"], report["keys"]) == (0, True, 300), report


def test_a_table_in_s3_that_was_spoilt_is_told_by_name(verify: Verify) -> None:
    status, report = verify("s3a://lake/silver/spoilt")
    found = {name: report[name] for name in ("missing", "ghost", "stale", "different")}
    assert status == 1
    assert found == {
        "missing": [f"id=S:{MISSING}"],
        "ghost": [f"id=S:{GHOST}"],
        "stale": [],
        "different": [f"id=S:{DIFFERENT}"],
    }


@pytest.mark.soak
def test_a_verify_that_was_killed_goes_on_where_it_was(stack: LocalStack, tmp_path: Path) -> None:
    """Of 64 parts at most some are read when SIGKILL comes; the second run reads the others only."""
    work = tmp_path / "work"
    arguments = ["verify", "--table", "cars", "--target", "s3://lake/silver/spoilt", "--no-wait", "--json"]
    command = [sys.executable, "-c", COMMAND, *arguments, "--segments", "64", "--work", str(work)]
    environment = os.environ | stack.env() | {"JAVA_HOME": "/nowhere"}
    killed = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not list(work.glob("source-*.last.chunk")):
        pass  # looked at without a pause: a pause could be longer than what is left to read
    killed.kill()
    assert killed.wait(20) == -9
    kept = {path.name: path.stat().st_mtime_ns for path in work.glob("source-*.last.chunk")}
    assert 1 <= len(kept) < 64
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    told = re.search(r"goes on with what was read since \S+: (\d+) of 64 parts of the source", done.stderr)
    assert told is not None, done.stderr
    assert int(told[1]) == len(kept)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["missing"], report["ghost"]) == ([f"id=S:{MISSING}"], [f"id=S:{GHOST}"])
    assert (report["different"], report["keys"]) == ([f"id=S:{DIFFERENT}"], 301)
    assert [path.name for path in work.iterdir()] == [".lock"]


def test_what_is_not_there_is_a_sentence_and_a_usage_error(verify: Verify) -> None:
    status, sentence = verify("s3a://lake/silver/none")
    assert (status, sentence) == (
        2,
        "lakebound: There is no Delta table at s3a://lake/silver/none; run merge_changes first\n",
    )
    status, sentence = verify("s3a://nowhere/silver")
    assert (status, sentence[:42]) == (2, "lakebound: There is no bucket nowhere at h")


def test_a_table_of_unity_catalog_is_read_where_the_catalog_says(verify: Verify) -> None:
    """The catalog here is two answers of its API; the command, the table and S3 are real."""
    with unity_catalog("s3://lake/silver/cars") as address:
        status, report = verify("main.lake.cars", DATABRICKS_HOST=address, DATABRICKS_TOKEN="dapi-token")
    assert (status, report["equal"], report["keys"], report["target"]) == (0, True, 300, "main.lake.cars"), report


@contextmanager
def unity_catalog(location: str) -> Iterator[str]:
    """The address of a Unity Catalog that holds one table."""
    keys = {"access_key_id": "test", "secret_access_key": "test", "session_token": "token"}
    answers = {
        "/api/2.1/unity-catalog/tables/main.lake.cars": {"table_id": "7", "storage_location": location},
        "/api/2.1/unity-catalog/temporary-table-credentials": {"aws_temp_credentials": keys},
    }

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()
