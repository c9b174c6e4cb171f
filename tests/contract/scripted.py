"""A boto3 client whose answers are written beforehand: what AWS does on a bad day and no emulator can be asked for."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from lakebound.adapters import clients


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(value: object) -> Answer:
        return Answer(200, json.dumps(value).encode())


def s3_error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


def sqs_error(status: int, code: str) -> Answer:
    return Answer(status, json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "no"}).encode())


def _headers(answer: Answer) -> HTTPHeaders:
    headers = HTTPHeaders()
    for name, value in answer.headers:
        headers[name] = value
    return headers


class _Raw(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()


@dataclass
class Scripted:
    """The script: what each request gets, in turn, and the requests that came. Signing and parsing are botocore's."""

    service: str
    answers: list[Answer | Exception]
    retries: bool = False
    requests: list[Any] = field(default_factory=list)

    def client(self) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-west-1"}
        if self.retries:
            client = clients.client(self.service, **keys)
        else:
            factory: Any = boto3.client
            client = factory(self.service, config=Config(retries={"mode": "standard", "total_max_attempts": 1}), **keys)
        client.meta.events.register(f"before-send.{self.service}.*", self._answer)
        return client

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return AWSResponse(request.url, answer.status, _headers(answer), _Raw(answer.body))
