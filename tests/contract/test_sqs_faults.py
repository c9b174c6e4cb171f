"""What SqsQueue makes of SQS's bad days: an entry counts as done only when the answer says so."""

from collections.abc import Callable
from itertools import product
from typing import Final

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from lakebound.adapters.sqs import SqsQueue
from lakebound.errors import QueueUnavailable
from tests.contract.scripted import Answer, Scripted, sqs_error

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/buffer"
USES: Final[dict[str, Callable[[SqsQueue], object]]] = {
    "send": lambda queue: queue.send(["a"]),
    "receive": lambda queue: queue.receive(0),
    "delete": lambda queue: queue.delete(["a"]),
    "hide": lambda queue: queue.hide(["a"], 30),
}


def queue(*answers: Answer | Exception, retries: bool = False) -> tuple[SqsQueue, Scripted]:
    script = Scripted("sqs", list(answers), retries)
    return SqsQueue(URL, script.client()), script


def sent(position: int) -> dict[str, str]:
    return {"Id": str(position), "MessageId": f"m{position}", "MD5OfMessageBody": "0" * 32}


def refused(position: int) -> dict[str, object]:
    return {"Id": str(position), "Code": "InternalError", "SenderFault": False}


@pytest.mark.parametrize("fates", list(product(("sent", "refused", "missing"), repeat=3)), ids="-".join)
def test_what_the_answer_does_not_name_as_sent_was_not_sent(fates: tuple[str, ...]) -> None:
    answer = {
        "Successful": [sent(position) for position, fate in enumerate(fates) if fate == "sent"],
        "Failed": [refused(position) for position, fate in enumerate(fates) if fate == "refused"],
    }
    subject, _ = queue(Answer.of(answer))
    assert subject.send(["a", "b", "c"]) == [position for position, fate in enumerate(fates) if fate != "sent"]


@pytest.mark.parametrize("answer", [{}, {"Successful": None}, {"Successful": [{}]}, {"Successful": [sent(7)]}], ids=str)
def test_an_answer_that_names_nothing_means_nothing_was_done(answer: object) -> None:
    subject, _ = queue(Answer.of(answer), Answer.of(answer))
    assert subject.send(["a", "b"]) == [0, 1]
    assert subject.delete(["r1", "r2"]) == [0, 1]


def test_an_answer_of_something_else_than_sqs_means_nothing_was_done() -> None:
    proxy = Answer(200, b"<html>a proxy speaks</html>")
    subject, _ = queue(proxy, proxy, proxy)
    assert subject.send(["a", "b"]) == [0, 1]
    assert subject.delete(["r1", "r2"]) == [0, 1]
    assert subject.receive(0) == []


def test_a_delete_that_was_refused_is_named() -> None:
    subject, _ = queue(Answer.of({"Successful": [{"Id": "0"}], "Failed": [refused(1)]}))
    assert subject.delete(["r0", "r1", "r2"]) == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        sqs_error(500, "InternalFailure"),
        sqs_error(400, "ThrottlingException"),
        sqs_error(400, "QueueDoesNotExist"),
        sqs_error(403, "AccessDeniedException"),
        sqs_error(400, "KmsAccessDenied"),
        Answer(503, b"busy"),
        EndpointConnectionError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
    ],
    ids=lambda answer: getattr(answer, "body", type(answer).__name__.encode()).decode()[:40],
)
def test_an_answer_that_is_none_leaves_everything_open(answer: Answer | Exception) -> None:
    for use in USES.values():
        subject, _ = queue(answer)
        with pytest.raises(QueueUnavailable, match=URL):
            use(subject)


def test_a_throttle_is_repeated_by_the_client_itself() -> None:
    subject, script = queue(sqs_error(400, "ThrottlingException"), Answer.of({"Successful": [sent(0)]}), retries=True)
    assert subject.send(["a"]) == []
    assert len(script.requests) == 2


def test_a_message_without_a_receive_count_is_new() -> None:
    subject, _ = queue(Answer.of({"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "b"}]}))
    (message,) = subject.receive(0)
    assert message.receives == 1
