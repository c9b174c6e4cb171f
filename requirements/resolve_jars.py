"""Fetch the jars of the jobs' Spark (Delta, Avro, S3A) into its own Ivy cache, so that no test waits for them.

Run by `make setup`. Starting the jobs' own local session is enough: Spark's resolver downloads what is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lakebound_spark.platform.session import SETTINGS_OF_S3A, local_session, settings_in


def main() -> int:
    """Return 0 when every jar is in the cache."""
    local_session("lakebound-setup", log=Path(sys.argv[1]), settings=settings_in(SETTINGS_OF_S3A)).stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
