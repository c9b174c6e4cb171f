"""Keep the history of each item from bronze; `--help` tells the arguments."""

import sys

from lakebound_spark.jobs.build_history import main

if __name__ == "__main__":
    sys.exit(main())
