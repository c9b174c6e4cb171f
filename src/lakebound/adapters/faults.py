"""What keeps every call of an operator's command from its answer, each with its own sentence and next step.

No credentials, an expired login, credentials that AWS does not know, an unknown profile, no region, an endpoint that
does not answer, a right that is missing, a service that throttles: none of them is about the verb that met it. A
client from `telling` raises these instead of botocore's exceptions, so that no adapter has to know them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from lakebound.errors import LakeboundError, Misconfigured, QueueUnavailable, StoreUnavailable

DENIED: Final = frozenset(
    ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403")
)
_EXPIRED: Final = frozenset(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"))
_UNKNOWN: Final = frozenset(
    (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "InvalidSignatureException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
    )
)
_THROTTLED: Final = frozenset(
    (
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceededException",
    )
)
_EXPIRED_KINDS: Final = (
    exceptions.UnauthorizedSSOTokenError,
    exceptions.SSOTokenLoadError,
    exceptions.TokenRetrievalError,
    exceptions.LoginRefreshRequired,
    exceptions.LoginTokenLoadError,
)
_NO_CREDENTIALS: Final = (exceptions.NoCredentialsError, exceptions.NoAuthTokenError)
_HALF_CREDENTIALS: Final = (
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
)
_PROFILE: Final = (exceptions.ProfileNotFound, exceptions.ConfigNotFound, exceptions.ConfigParseError)
_REACH: Final = (exceptions.HTTPClientError, exceptions.ConnectionError)
"""ConnectionError is botocore's base of closed, refused and timed-out connections."""

_PACED: Final = frozenset(("Scan", "BatchGetItem"))
"""A reader of the table waits out a throttle itself: it reads slower, and no sentence is due."""

_ACTIONS: Final[Mapping[str, str]] = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
"""Where the right is named unlike the call."""

_SERVICES: Final[Mapping[str, str]] = {"monitoring": "cloudwatch"}
_NAMES: Final = (
    "Bucket",
    "QueueUrl",
    "TableName",
    "StackName",
    "FunctionName",
    "stateMachineArn",
    "executionArn",
    "UUID",
    "SourceArn",
    "MetricName",
    "SecretId",
    "KeyId",
)
"""Arguments that name the object of a call."""


class Throttled(LakeboundError):
    """The service refuses calls because there are too many."""


def told(client: Any, service: str) -> Any:
    """The client, raising the errors of this module instead of botocore's. Other failures pass as they are."""
    ask = client._make_api_call

    @wraps(ask)
    def asked(operation: str, arguments: dict[str, Any]) -> Any:
        try:
            return ask(operation, arguments)
        except (BotoCoreError, ClientError) as failure:
            fault = fault_of(failure, service, operation, arguments, str(client.meta.endpoint_url))
            if fault is None:
                raise
        # Outside the handler: botocore's message may quote what must not hang on our errors.
        raise fault

    client._make_api_call = asked
    return client


def no_client(failure: Exception, service: str) -> LakeboundError:
    """Why no client could be made at all."""
    if isinstance(failure, exceptions.NoRegionError):
        return no_region()
    return fault_of(failure, service, "", {}, "") or Misconfigured(
        f"No client for {service} can be made: {str(failure).rstrip('.')}",
        hint="Check AWS_ENDPOINT_URL, AWS_REGION and the AWS configuration file",
    )


def no_region() -> Misconfigured:
    """Neither the environment nor the profile names one."""
    return Misconfigured(
        "No AWS region is set", hint="Set AWS_REGION, or give the profile one with `aws configure set region REGION`"
    )


def fault_of(
    failure: Exception, service: str, operation: str, arguments: Mapping[str, Any], endpoint: str
) -> LakeboundError | None:
    """The error of one call that met one of these faults; None for any other failure, which the adapter knows."""
    if isinstance(failure, exceptions.ProfileNotFound):
        return Misconfigured(
            f"There is no AWS profile {failure.kwargs.get('profile', '')}",
            hint="`aws configure list-profiles` names them; set AWS_PROFILE to one, or unset it",
        )
    if isinstance(failure, _PROFILE):
        return Misconfigured(
            "The AWS configuration file cannot be read", hint="Check ~/.aws/config, or AWS_CONFIG_FILE"
        )
    if isinstance(failure, exceptions.NoRegionError):
        return no_region()
    if isinstance(failure, exceptions.ParamValidationError):
        return Misconfigured(
            f"{_action(service, operation)} takes no such name{_on(arguments)}", hint="Check how it is spelled"
        )
    code = str(failure.response.get("Error", {}).get("Code", "")) if isinstance(failure, ClientError) else ""
    if isinstance(failure, _EXPIRED_KINDS) or code in _EXPIRED:
        return Misconfigured(
            "The AWS login has expired",
            hint="Log in again (`aws sso login`, or new keys into the environment), then run the same command",
        )
    if isinstance(failure, _NO_CREDENTIALS):
        return Misconfigured(
            "There are no AWS credentials",
            hint="Log in (`aws sso login` or `aws configure`), or set AWS_PROFILE to a profile that has them",
        )
    if isinstance(failure, _HALF_CREDENTIALS):
        return Misconfigured(
            "The AWS credentials are incomplete or cannot be fetched",
            hint="`aws sts get-caller-identity` shows what AWS sees of them",
        )
    if code in _UNKNOWN:
        return Misconfigured(
            f"AWS does not know these credentials ({code})",
            hint="`aws sts get-caller-identity` shows whose they are; check AWS_PROFILE and the keys",
        )
    if isinstance(failure, _REACH):
        return _of_service(
            service,
            f"Nothing answers at {endpoint} ({type(failure).__name__})",
            "Check AWS_ENDPOINT_URL, the region and the network, then run the same command again",
        )
    if code in DENIED:
        action = _action(service, operation)
        denied = f"These credentials may not {action}{_on(arguments)}"
        hint = f"Ask for the right {action}"
        if service in ("s3", "sqs"):
            return _of_service(service, denied, hint)
        return Misconfigured(denied, hint=hint)
    if code in _THROTTLED and operation not in _PACED:
        return Throttled(
            f"{_service(service)} throttles {operation}{_on(arguments)} ({code})",
            hint="Wait a minute, then run the same command again",
        )
    return None


def _of_service(service: str, what: str, hint: str) -> LakeboundError:
    # A use case that takes an outage of the bucket or of the queue for one still does.
    kinds: Mapping[str, type[LakeboundError]] = {"s3": StoreUnavailable, "sqs": QueueUnavailable}
    return kinds.get(service, LakeboundError)(what, hint=hint)


def _service(service: str) -> str:
    return _SERVICES.get(service, service)


def _action(service: str, operation: str) -> str:
    prefix = {"stepfunctions": "states"}.get(service, _service(service))
    action = f"{prefix}:{operation}"
    return _ACTIONS.get(action, action)


def _on(arguments: Mapping[str, Any]) -> str:
    name = next((str(arguments[name]) for name in _NAMES if name in arguments), "")
    return f" on {re.sub(r'[^ -~]', '?', name)}" if name else ""
