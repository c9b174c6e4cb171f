"""Small JSON documents that change: a segment's checkpoint, a gap's state. Never batch files, which do not."""

from __future__ import annotations

from typing import Protocol

from lakebound.errors import LakeboundError


class Overtaken(LakeboundError):
    """Another writer changed the document since it was read."""


class Documents(Protocol):
    """Documents by key, each with a tag that changes with its content."""

    def load(self, key: str) -> tuple[bytes, str] | None:
        """The document and its tag, or None. Raises StoreUnavailable."""

    def save(self, key: str, body: bytes, tag: str | None) -> str:
        """Write over the version with this tag (None: over nothing); the new tag.

        Raises Overtaken when another version is there, StoreUnavailable when the outcome is unknown.
        """
