"""Turn rows that the source no longer has into ABSENT records; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.sweep import main

if __name__ == "__main__":
    sys.exit(main())
