"""Port Secrets over Secrets Manager and the Parameter Store, and the redaction that a function starts with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lakebound.adapters.aws_calls import FAILURES, attempt, code_of
from lakebound.errors import Misconfigured
from lakebound.ports import Secrets
from lakebound.record.redaction import Redaction
from lakebound.settings import RedactionSettings


class AwsSecrets:
    """Secrets by ARN: `arn:…:secretsmanager:…` or `arn:…:ssm:…:parameter/…`.

    `client` makes the client of a service, and is called for the one service that is needed.
    """

    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client

    def fetch(self, name: str) -> bytes:
        """See Secrets."""
        try:
            if ":ssm:" in name:
                parameter = self._client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]
                return str(parameter["Value"]).encode()
            answer = self._client("secretsmanager").get_secret_value(SecretId=name)
        except (*FAILURES, ValueError) as refused:
            code = code_of(refused)
            raise Misconfigured(
                f"HASH_KEY_ARN {name} cannot be read ({code})",
                hint="Check that it exists in this region and that the function's role may read and decrypt it",
            ) from None
        binary = answer.get("SecretBinary")
        return bytes(binary) if binary is not None else str(answer["SecretString"]).encode()


def key_attributes(client: Any, table: str) -> list[str]:
    """The names of a table's key attributes. Raises Misconfigured."""

    def error_of(failure: Exception) -> Misconfigured:
        return Misconfigured(
            f"The key attributes of {table} cannot be read ({code_of(failure)})",
            hint="DROP_ATTRIBUTES needs dynamodb:DescribeTable, to be sure that none of them is dropped",
        )

    schema = attempt(client, "describe_table", error_of, TableName=table)["Table"]["KeySchema"]
    return [entry["AttributeName"] for entry in schema]


def redaction_at_start(
    settings: RedactionSettings, secrets: Secrets, keys: Callable[[], list[str]]
) -> Redaction | None:
    """What DROP_ATTRIBUTES and HASH_ATTRIBUTES ask for; None when they are empty. Asks for the key, and for the table's
    key attributes, only where they are needed, once. Raises Misconfigured."""
    if not settings.drop and not settings.hashed:
        return None
    redaction = Redaction.of(
        settings.drop, settings.hashed, secrets.fetch(settings.key_arn) if settings.hashed else b""
    )
    if settings.drop:
        redaction.refuse_keys(keys())
    return redaction
