"""`job_runner` with two careless edits, which the test of several tables in tests/spark/test_connect.py must find.

Both are of what the client does: it merges what waits, and makes the views. A micro-batch is of the server, whose
workers import the modules themselves; no edit in this process reaches them.
"""

from __future__ import annotations

from typing import Final

from tests.simulation.mutants import Mutant, applied
from tests.spark.job_runner import main

_TEST: Final = "tests/spark/test_connect.py::test_red_control_a_careless_client_is_found"
FIRST_APPEND: Final = Mutant(
    "a merge leaves out the first append",
    "lakebound_spark.silver.pending_merge",
    "changes = changes_of(spark, target, names)\n    floor",
    "changes = changes_of(spark, target, names[1:])\n    floor",
    _TEST,
)
BASE_RECORDS: Final = Mutant(
    "_live: a base record is never visible",
    "lakebound_spark.silver.live_rows",
    " WHEN p.base > {base} THEN p.base_row END",
    " END",
    _TEST,
)

if __name__ == "__main__":
    with applied(FIRST_APPEND), applied(BASE_RECORDS):
        main()
