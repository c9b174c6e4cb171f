"""The functions as Lambda runs them: imported with an environment, called with an event, on moto."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Final

import boto3
import pytest
from moto import mock_aws

from tests.support.function_stack import BUCKET, REGION, Stack
from tests.support.stream_records import TABLE
from tests.support.use_case_world import World

FUNCTIONS: Final = Path(__file__).resolve().parents[2] / "functions"
_names = count(1)


@pytest.fixture
def world() -> World:
    """A use case's world in memory, in which nothing goes wrong yet."""
    return World()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "TABLE_NAME": TABLE,
        "S3_BUCKET": BUCKET,
        "QUEUE_URL": f"https://sqs.{REGION}.amazonaws.com/123456789012/buffer",
        "MESSAGE_BYTES": "65536",
        "MAX_SECONDS": "0",
        "POWERTOOLS_METRICS_NAMESPACE": "Lakebound",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield values


@pytest.fixture
def load(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    def load_function(name: str) -> ModuleType:
        # Powertools keeps one logger per service for the life of the process; each test wants its own standard output.
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"{name}-{next(_names)}")
        spec = importlib.util.spec_from_file_location(f"functions_{name}", FUNCTIONS / name / "app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_function


@pytest.fixture
def stack(load: Callable[[str], ModuleType], environment: dict[str, str]) -> Stack:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    boto3.client("sqs").create_queue(QueueName="buffer", Attributes={"VisibilityTimeout": "660"})
    return Stack(load, environment["QUEUE_URL"])
