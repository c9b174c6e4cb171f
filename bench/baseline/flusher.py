"""flusher as anybody would write it: the records of many messages, one line each, gzip level 9."""

from __future__ import annotations

import gzip
import json


def batch_file(bodies: list[str]) -> bytes:
    """A file of the messages' records; parsing each proves that it is a record."""
    lines = [json.dumps(json.loads(body)) for body in bodies]
    return gzip.compress(("\n".join(lines) + "\n").encode(), 9)
