"""What S3Store makes of S3's bad days."""

from collections.abc import Callable
from typing import Final

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from lakebound.adapters.documents import S3Documents
from lakebound.adapters.s3 import S3Store
from lakebound.errors import LakeboundError, ObjectDenied, ObjectMissing, StoreUnavailable
from tests.contract.scripted import Answer, Scripted, s3_error

OK = Answer(200)
EXISTS = s3_error(412, "PreconditionFailed")
CONFLICT = s3_error(409, "ConditionalRequestConflict")
URL = "https://lake.s3.example"
USES: Final[dict[str, Callable[[S3Store], object]]] = {
    "put": lambda store: store.put_if_absent("some/key", b"", {}),
    "get": lambda store: store.get("some/key", max_bytes=100),
    "list": lambda store: list(store.list("some/key")),
}


def store(*answers: Answer | Exception, retries: bool = False) -> tuple[S3Store, Scripted]:
    script = Scripted("s3", list(answers), retries)
    return S3Store("lake", script.client()), script


def test_a_put_asks_never_to_replace_and_carries_a_checksum() -> None:
    subject, script = store(OK)
    assert subject.put_if_absent("a/b", b"body", {"records": "3"}) is True
    (request,) = script.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["if-none-match"] in ("*", b"*")
    assert headers["x-amz-meta-records"] in ("3", b"3")
    assert any(name.startswith("x-amz-checksum-") or name == "x-amz-trailer" for name in headers)


def test_a_key_that_exists_is_no_failure() -> None:
    subject, _ = store(EXISTS)
    assert subject.put_if_absent("a", b"", {}) is False


@pytest.mark.parametrize(("end", "written"), [(OK, True), (EXISTS, False)])
def test_a_conflict_is_tried_again(end: Answer, written: bool) -> None:
    subject, script = store(CONFLICT, end)
    assert subject.put_if_absent("a", b"", {}) is written
    assert len(script.requests) == 2


def test_a_conflict_that_lasts_is_no_success() -> None:
    subject, script = store(CONFLICT, CONFLICT, CONFLICT)
    with pytest.raises(StoreUnavailable, match="being written by others"):
        subject.put_if_absent("a", b"", {})
    assert script.answers == []


@pytest.mark.parametrize(
    "answer",
    [
        s3_error(500, "InternalError"),
        s3_error(503, "SlowDown"),
        s3_error(403, "AccessDenied"),
        s3_error(400, "BadDigest"),
        s3_error(400, "KMS.DisabledException"),
        Answer(503, b"<html>not S3</html>"),
        EndpointConnectionError(endpoint_url=URL),
        ConnectionClosedError(endpoint_url=URL),
        ReadTimeoutError(endpoint_url=URL),
    ],
    ids=lambda answer: getattr(answer, "status", type(answer).__name__),
)
def test_every_other_refusal_leaves_the_outcome_open(answer: Answer | Exception) -> None:
    for name, use in USES.items():
        subject, _ = store(answer)
        with pytest.raises(StoreUnavailable, match=f"Could not {name} s3://lake/some/key"):
            use(subject)


def test_a_put_whose_answer_was_lost_is_found_written() -> None:
    """The object is stored, the answer never arrives, botocore sends again: 412 means stored."""
    subject, script = store(ReadTimeoutError(endpoint_url=URL), EXISTS, retries=True)
    assert subject.put_if_absent("a", b"x", {}) is False
    assert len(script.requests) == 2


def test_a_passing_failure_is_repeated_by_the_client_itself() -> None:
    subject, script = store(s3_error(503, "SlowDown"), OK, retries=True)
    assert subject.put_if_absent("a", b"x", {}) is True
    assert len(script.requests) == 2


DENIED = r"it is missing, or it may not be read\. With s3:ListBucket on lake"


@pytest.mark.parametrize(
    ("answer", "use", "kind", "says"),
    [
        (s3_error(404, "NoSuchKey"), "get", ObjectMissing, "some/key"),
        # S3 does not say which to a role that may not list the bucket; a bare 403 is what a HEAD or a proxy gives.
        (s3_error(403, "AccessDenied"), "get", ObjectDenied, DENIED),
        (Answer(403, b""), "get", ObjectDenied, DENIED),
        (Answer(200, b"xx", (("Content-Length", "200000000"),)), "get", LakeboundError, "200,000,000 bytes"),
        (Answer(200, b"half", (("Content-Length", "8"),)), "get", StoreUnavailable, "IncompleteReadError"),
        (Answer(200, b"{not xml"), "list", StoreUnavailable, "some/key"),
    ],
    ids=["missing", "denied", "denied bare", "too large", "early end", "no XML"],
)
def test_an_answer_without_the_object_says_why(answer: Answer, use: str, kind: type[Exception], says: str) -> None:
    subject, _ = store(answer)
    with pytest.raises(kind, match=says):
        USES[use](subject)


def test_a_document_that_may_be_there_is_not_taken_for_missing() -> None:
    """A book of gaps taken for missing would be begun anew."""
    documents = S3Documents("lake", Scripted("s3", [s3_error(403, "AccessDenied")], False).client())
    with pytest.raises(ObjectDenied, match="With s3:ListBucket on lake"):
        documents.load("some/key")


def test_a_put_that_is_forbidden_may_be_repeated() -> None:
    """Nothing is missing there: the role lost its right, or the key is disabled, and both come back."""
    subject, _ = store(s3_error(403, "AccessDenied"))
    with pytest.raises(StoreUnavailable) as refused:
        subject.put_if_absent("a", b"", {})
    assert type(refused.value) is StoreUnavailable
