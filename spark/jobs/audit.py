"""Audit bronze; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.audit import main

if __name__ == "__main__":
    sys.exit(main())
