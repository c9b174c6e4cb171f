"""The one way in which an adapter calls AWS: a failed call becomes an error that names its cause and the next step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from lakebound.errors import LakeboundError, Misconfigured, QueueUnavailable

MISSING = frozenset(
    (
        "ResourceNotFoundException",
        "ValidationError",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NoSuchBucket",
        "StateMachineDoesNotExist",
        "NotFoundException",
    )
)
DENIED: Final = frozenset(
    (
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "KMSAccessDeniedException",
        "UnauthorizedOperation",
    )
)

FAILURES: Final = (BotoCoreError, ClientError, ResponseParserError)
"""What botocore raises when a service refuses, cannot be reached, or answers what is no answer."""


def code_of(failure: Exception) -> str:
    """The service's own word for one of FAILURES, or the failure's kind; never its message, which may quote values."""
    if isinstance(failure, ClientError):
        return str(failure.response.get("Error", {}).get("Code", ""))
    return type(failure).__name__


class NotThere(Misconfigured):
    """The thing asked about does not exist."""


class Unanswered(LakeboundError):
    """The service did not answer, or does not know the call. `code` is its own word."""

    def __init__(self, what: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(what, hint=hint)
        self.code = code


class Denied(Misconfigured):
    """The credentials are known, and lack a right."""


_EXPIRED: Final = frozenset(("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"))
_UNKNOWN_CREDENTIALS: Final = frozenset(
    (
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    )
)
THROTTLED: Final = frozenset(
    (
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    )
)


def cause_of(failure: Exception, where: str = "AWS") -> LakeboundError | None:
    """The error for what keeps every call from being answered, whatever was asked; None for any other failure.

    `where` names the endpoint. No credentials, an expired login, credentials that AWS does not know, an unknown
    profile, no region and a closed endpoint are the caller's to mend (Misconfigured); throttling passes (Unanswered).
    """
    code = code_of(failure)
    if isinstance(failure, ProfileNotFound):
        return Misconfigured(
            f"There is no AWS profile {failure.kwargs.get('profile', '')}".rstrip(),
            hint="Set AWS_PROFILE to one that `aws configure list-profiles` names, or unset it",
        )
    if isinstance(failure, NoRegionError):
        return Misconfigured(
            "No AWS region is set", hint="Set AWS_REGION or AWS_DEFAULT_REGION, or give the profile a region"
        )
    if isinstance(failure, ParamValidationError):
        return Misconfigured("AWS takes no such name", hint="Check how the names in the command are spelled")
    if isinstance(failure, SSOError | TokenRetrievalError) or code in _EXPIRED:
        return Misconfigured(
            "The AWS login has expired", hint="Run `aws sso login`, or set fresh credentials, then repeat the command"
        )
    if isinstance(failure, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return Misconfigured(
            f"There are no complete AWS credentials ({code})",
            hint="Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws sts get-caller-identity` tells "
            "whether they work",
        )
    if code in _UNKNOWN_CREDENTIALS:
        return Misconfigured(
            f"AWS does not know these credentials ({code} at {where})",
            hint="Check the access key, AWS_PROFILE and the region; `aws sts get-caller-identity` tells if they work",
        )
    if isinstance(failure, HTTPClientError) or code in ("EndpointConnectionError", "InvalidEndpointUrl"):
        return Misconfigured(
            f"Nothing answers at {where} ({code})",
            hint="Check the network, a proxy, the region and AWS_ENDPOINT_URL, then repeat the command",
        )
    if code in THROTTLED:
        return Unanswered(
            f"AWS throttles these calls ({code} at {where})",
            hint="Wait a minute, then repeat the command",
            code=code,
        )
    return None


def attempt(
    client: Any, operation: str, error_of: Callable[[Exception], LakeboundError], **arguments: Any
) -> dict[str, Any]:
    """The answer of one call. Raises the error that `error_of` makes of a failure, which is one of FAILURES."""
    try:
        answer: dict[str, Any] = getattr(client, operation)(**arguments)
        return answer
    except FAILURES as failure:
        error = error_of(failure)
    # Outside the handler: botocore's messages may quote an item's values, and must not hang on our errors.
    raise error


def call(client: Any, operation: str, what: str, **arguments: Any) -> dict[str, Any]:
    """The answer. Raises `failed_call`'s errors; `what` is the object's name for a person."""

    def error_of(failure: Exception) -> LakeboundError:
        return failed_call(failure, operation, what, client.meta.endpoint_url)

    return attempt(client, operation, error_of, **arguments)


def failed_call(failure: Exception, operation: str, what: str, where: str) -> LakeboundError:
    """The error for a call that failed: `cause_of`'s, NotThere, Denied, or Unanswered."""
    cause = cause_of(failure, where)
    if cause is not None:
        return cause
    code = code_of(failure)
    if code in MISSING:
        return NotThere(f"There is no {what} at {where}", hint="Check its name, the region and AWS_ENDPOINT_URL")
    if code in DENIED:
        return Denied(f"These credentials may not {operation} ({what})", hint="Ask for the right to do it")
    return Unanswered(
        f"{operation} of {what} failed at {where} ({code})",
        hint="Repeat the command; if it fails again, look at the service's own health",
        code=code,
    )


def queue_unavailable(failure: Exception, operation: str, url: str) -> QueueUnavailable:
    """The error for a call to a queue that failed; a function repeats it, a person reads the cause."""
    cause = cause_of(failure, url)
    if cause is not None:
        return QueueUnavailable(f"{operation} failed on {url}: {cause.what}", hint=cause.hint)
    return QueueUnavailable(
        f"{operation} failed on {url} ({code_of(failure)})", hint="Check that the queue exists and your rights on it"
    )
