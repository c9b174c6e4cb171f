"""Rights that no run here uses, each with the reason why its role has it; a test fails for an entry that is not needed.

Every other right is shown to be needed: taken away, a run is denied something.
"""

from __future__ import annotations

from typing import Final

UNUSED: Final[dict[str, str]] = {}
"""`role sid action resource` in the template's own terms, and the reason."""
