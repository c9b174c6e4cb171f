"""Fetch the jars that the jobs' Spark needs (Delta, Avro) into Spark's own Ivy cache, so that no test waits for them.

Run by `make setup`. Starting the jobs' own local session is enough: Spark's resolver downloads what is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lakebound_spark.platform.session import local_session


def main() -> int:
    """Return 0 when every jar is in the cache."""
    local_session("lakebound-setup", log=Path(sys.argv[1])).stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
