"""The merge job with one careless edit: it merges a micro-batch only when the next one comes, or at the end.

Without a kill it ends right. Killed, it has told Spark that a micro-batch is done which is in no table: what
tests/spark/test_killed_job.py must find; and tests/spark/test_killed_entities.py of several tables.
"""

from __future__ import annotations

import sys

from lakebound_spark.jobs.merge_changes import main
from tests.simulation.mutants import Mutant, applied

_RESULTS = """    def results(self, batch: DataFrame, batch_id: int) -> Iterator[{kind}]:
"""
_HELD = """        # The last of the three files' micro-batches brings what is held, too.
        held = globals().setdefault("_HELD", [])
        held.append(batch.collect())
        if batch_id < 2:
            return
        batch = batch.sparkSession.createDataFrame([row for some in held for row in some], batch.schema)
"""


def keep_in_memory(module: str, kind: str, test: str) -> Mutant:
    """The edit of the module whose job has micro-batches of this kind."""
    results = _RESULTS.format(kind=kind)
    caught = f"tests/spark/{test}::test_a_careless_job_is_caught"
    return Mutant("keep a micro-batch in memory", f"lakebound_spark.silver.{module}", results, results + _HELD, caught)


OF_ONE_TABLE = keep_in_memory("merge_job", "MicroBatch", "test_killed_job.py")
OF_SEVERAL = keep_in_memory("entity_job", "EntityMicroBatch", "test_killed_entities.py")

if __name__ == "__main__":
    with applied(OF_ONE_TABLE), applied(OF_SEVERAL):
        sys.exit(main())
