"""What the Spark jobs tell a person who has to change something: the same error as everywhere in Lakebound."""

from __future__ import annotations

from lakebound.errors import Misconfigured

__all__ = ["Misconfigured"]
