"""Compare the files of a backfill run with silver; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.verify_run import main

if __name__ == "__main__":
    sys.exit(main())
