"""Merge batch files, or the records of bronze, into a silver table; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.merge_changes import main

if __name__ == "__main__":
    sys.exit(main())
