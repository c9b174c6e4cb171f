"""The merge job with one careless edit: it merges a micro-batch only when the next one comes, or at the end.

Without a kill it ends right. Killed, it has told Spark that a micro-batch is done which is in no table: what
tests/spark/test_killed_job.py must find.
"""

from __future__ import annotations

import sys

from lakebound_spark.jobs.merge_changes import main
from tests.simulation.mutants import Mutant, applied

KEEP_IN_MEMORY = Mutant(
    "keep a micro-batch in memory",
    "lakebound_spark.silver.merge_job",
    """    def results(self, batch: DataFrame, batch_id: int) -> Iterator[MicroBatch]:
""",
    """    def results(self, batch: DataFrame, batch_id: int) -> Iterator[MicroBatch]:
        # The last of the three files' micro-batches brings what is held, too.
        held = globals().setdefault("_HELD", [])
        held.append(batch.collect())
        if batch_id < 2:
            return
        batch = batch.sparkSession.createDataFrame([row for some in held for row in some], batch.schema)
""",
    "tests/spark/test_killed_job.py::test_a_careless_job_is_caught",
)

if __name__ == "__main__":
    with applied(KEEP_IN_MEMORY):
        sys.exit(main())
