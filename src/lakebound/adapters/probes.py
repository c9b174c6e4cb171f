"""Questions to the parts of a stack, asked so that one missing right or one silent service hides nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from lakebound.adapters.aws_calls import NotThere, call
from lakebound.errors import LakeboundError
from lakebound.record.table_identity import Source

Clients = Callable[[str], Any]
"""A service's name to its client."""

_Found = TypeVar("_Found")


class Probes:
    """Runs questions and lists the parts that gave no answer."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        """`part: reason` of each part that did not answer."""
        self.missing: list[str] = []
        """Each part that does not exist."""

    def run(self, part: str, ask: Callable[[], _Found]) -> _Found | None:
        """The answer; None for a part that is unknown or missing."""
        try:
            return ask()
        except NotThere:
            self.missing.append(part)
        except LakeboundError as error:
            self.unknown.append(f"{part}: {error.what}")
        return None


def describe_table(client: Any, source: Source) -> dict[str, Any]:
    """DynamoDB's description of the table. Raises LakeboundError, also for a description of another table."""
    asked = source.asked
    described: dict[str, Any] = call(client, "describe_table", f"table {asked}", TableName=asked)["Table"]
    source.check_told(described["TableArn"])
    return described
