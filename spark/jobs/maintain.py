"""Purge, compact, cluster and clean the tables; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.maintain import main

if __name__ == "__main__":
    sys.exit(main())
