"""The worlds that the contract suites run in: the local twins, moto, ElasticMQ for the queue, and DynamoDB Local."""

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lakebound.adapters.s3 import S3Store
from lakebound.adapters.sqs import SqsQueue
from lakebound.ports import ObjectStore, Queue
from tests.contract.local_tables import KEY, STREAM, TEXT, Source, client_of
from tests.support.local_ports import FolderStore, ManualClock, MemoryQueue, MemoryStore

ROOT = Path(__file__).resolve().parents[2]
REGION = "eu-west-1"
BUCKET = "lake"
START_SECONDS = 60
_names = count(1)


@dataclass(frozen=True, slots=True)
class StoreWorld:
    """One implementation of ObjectStore, and how to look behind it."""

    name: str
    store: ObjectStore
    metadata: Callable[[str], dict[str, str]]


@dataclass(frozen=True, slots=True)
class QueueWorld:
    """One implementation of Queue: `make(visibility_seconds, max_receives)` gives a queue and its dead letters."""

    name: str
    make: Callable[[int, int], tuple[Queue, Queue]]
    largest_body: int


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in this process; listings turn a page after three keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield


@pytest.fixture(params=["memory", "folder", "s3"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StoreWorld:
    if request.param == "memory":
        memory = MemoryStore(ManualClock())
        return StoreWorld("memory", memory, lambda key: dict(memory.objects[key].metadata))
    if request.param == "folder":
        folder = FolderStore(tmp_path / "bucket")
        return StoreWorld("folder", folder, folder.metadata)
    request.getfixturevalue("aws")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return StoreWorld("s3", S3Store(BUCKET, s3), lambda key: s3.head_object(Bucket=BUCKET, Key=key)["Metadata"])


@pytest.fixture(params=["memory", "moto", "elasticmq"])
def queues(request: pytest.FixtureRequest) -> QueueWorld:
    if request.param == "memory":
        return QueueWorld("memory", _memory_queue, 1_048_576)
    if request.param == "moto":
        request.getfixturevalue("aws")
        return QueueWorld("moto", _sqs_maker(boto3.client("sqs")), 1_048_576)
    return QueueWorld("elasticmq", _sqs_maker(request.getfixturevalue("elasticmq")), 262_144)


def _memory_queue(visibility_seconds: int, max_receives: int) -> tuple[Queue, Queue]:
    clock = ManualClock()
    dead = MemoryQueue(clock)
    queue = MemoryQueue(clock, visibility_seconds=visibility_seconds, max_receives=max_receives, dead_letters=dead)
    return queue, dead


def _sqs_maker(client: Any) -> Callable[[int, int], tuple[Queue, Queue]]:
    def make(visibility_seconds: int, max_receives: int) -> tuple[Queue, Queue]:
        name = f"buffer-{next(_names)}"
        dead_url = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
        dead_arn = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"VisibilityTimeout": str(visibility_seconds)}
        if max_receives:
            attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": max_receives})
        url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return SqsQueue(url, client), SqsQueue(dead_url, client)

    return make


@pytest.fixture(scope="session")
def elasticmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a real ElasticMQ on a free loopback port."""
    folder = tmp_path_factory.mktemp("elasticmq")
    port = _free_port()
    (folder / "server.conf").write_text(
        f"""include classpath("application.conf")
        node-address {{ protocol = http, host = 127.0.0.1, port = {port}, context-path = "" }}
        rest-sqs {{ enabled = true, bind-port = {port}, bind-hostname = "127.0.0.1", sqs-limits = strict }}
        rest-stats {{ enabled = false }}
        """
    )
    with _serving(folder, port, _classpath("elasticmq"), "-Dconfig.file=server.conf", "org.elasticmq.server.Main"):
        yield client_of(f"http://127.0.0.1:{port}", "sqs")


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a DynamoDB Local, AWS's own code, on a free port; its tables are gone with it."""
    folder = tmp_path_factory.mktemp("dynamodb")
    port = _free_port()
    classpath = _classpath("dynamodb_local")
    # Its SQLite is a shared library that Maven stores in a folder of its own, one for each platform.
    libraries = {str(Path(jar).parent) for jar in classpath.split(os.pathsep) if Path(jar).suffix in (".so", ".dylib")}
    native = next(folder for folder in sorted(libraries) if _platform() in folder)
    words = (f"-Dsqlite4java.library.path={native}", "software.amazon.dynamodb.services.local.main.ServerRunner")
    with _serving(folder, port, classpath, *words, "-inMemory", "-disableTelemetry", "-port", str(port)):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _serving(folder: Path, port: int, classpath: str, *words: str) -> Iterator[None]:
    """A Java server of these words, from when it answers on its port until the block ends."""
    command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classpath, *words]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        _await_port(port, server, folder / "server.log")
        yield
    finally:
        server.terminate()
        server.wait(timeout=30)


def _platform() -> str:
    if sys.platform == "darwin":
        return "libsqlite4java-osx"
    return {"x86_64": "libsqlite4java-linux-amd64", "aarch64": "linux-aarch64"}[platform.machine()]


def _classpath(server: str) -> str:
    """What Maven resolved for a server's pom beside this file; asked again when the pom or the repository changed."""
    pom = Path(__file__).with_name(server) / "pom.xml"
    kept = ROOT / ".build" / server / f"{sha256(pom.read_bytes()).hexdigest()[:16]}.classpath"
    if not kept.exists() or not all(Path(jar).exists() for jar in kept.read_text().split(os.pathsep)):
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Two test processes may both be here: each has a file of its own until it is whole.
        own = kept.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:build-classpath", f"-Dmdep.outputFile={own}"], check=True
        )
        own.replace(kept)
    return kept.read_text().strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"The server did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def make(dynamodb_local: str) -> Iterator[Callable[..., Source]]:
    client = client_of(dynamodb_local)
    made: list[str] = []

    def create(keys: Any = KEY, attributes: Any = TEXT, name: str = "", stream: bool = True) -> Source:
        name = name or f"cars-{next(_names)}"
        client.create_table(
            TableName=name,
            KeySchema=keys,
            AttributeDefinitions=attributes,
            BillingMode="PAY_PER_REQUEST",
            **({"StreamSpecification": STREAM} if stream else {}),
        )
        made.append(name)
        return Source(name, dynamodb_local, client)

    yield create
    for name in set(made):
        client.delete_table(TableName=name)
