"""Run every step of the tables of a lake, each when it is due; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.run import main

if __name__ == "__main__":
    sys.exit(main())
