"""A driver that appends rows to a Delta table in step with another one: `NAME OTHER TABLE ROUNDS FOLDER SETTINGS`.

Before each round both say in FOLDER that they are ready, so that both commit the same version. Prints a line for each
row of which Delta told it success. SETTINGS is Spark's, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lakebound_spark.platform.session import local_session

WAIT_SECONDS = 300


def main(name: str, other: str, table: str, rounds: int, folder: Path, settings: dict[str, str]) -> None:
    spark = local_session("appending driver", log=folder / f"{name}.log", settings=settings)
    for number in range(rounds):
        (folder / f"{name}-{number}").touch()
        until = time.monotonic() + WAIT_SECONDS
        while not (folder / f"{other}-{number}").exists():
            assert time.monotonic() < until, f"{other} did not come to round {number}"
            time.sleep(0.01)
        spark.sql(f"INSERT INTO delta.`{table}` VALUES ('{name}', {number})")
        print(name, number, flush=True)
    spark.stop()


if __name__ == "__main__":
    _, name, other, table, rounds, folder, settings = sys.argv
    main(name, other, table, int(rounds), Path(folder), json.loads(settings))
