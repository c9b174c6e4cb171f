"""Both handlers with a queue that accepts at once: what is left is the runtime's own parse and the function's work."""

from __future__ import annotations

import importlib
import os
from typing import Any


class _Accepting:
    def send(self, bodies: Any) -> list[int]:
        return []

    def send_message_batch(self, **arguments: Any) -> dict[str, Any]:
        return {"Successful": [{"Id": entry["Id"]} for entry in arguments["Entries"]]}


_module: Any = importlib.import_module(os.environ["BENCH_HANDLER"])
if hasattr(_module, "QUEUE"):
    _module.QUEUE = _Accepting()
else:
    _module.sqs = _Accepting()
handler = _module.handler
