"""Append every record of the batch files to bronze; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.ingest_bronze import main

if __name__ == "__main__":
    sys.exit(main())
