"""Runs jobs one after the other in this process, in the session that its environment names.

Reads a JSON list of `[job, argument, …]` or `["sql", statement]` from the file of its first argument; writes one of
`{"status": …, "out": …, "err": …}` to the file of its second. It imports nothing of the tests: a cluster gets the
project's wheel and no more.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

from pyspark import SparkContext
from pyspark.sql import SparkSession


def main() -> None:
    spark = SparkSession.builder.getOrCreate()
    answers = []
    for job, *arguments in json.loads(Path(sys.argv[1]).read_text()):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            if job == "sql":
                status = 0
                print(json.dumps([list(row) for row in spark.sql(arguments[0]).collect()]))
            else:
                status = import_module(f"lakebound_spark.jobs.{job}").main(arguments)
        answers.append({"status": status, "out": out.getvalue(), "err": err.getvalue()})
    is_remote = "SPARK_REMOTE" in os.environ
    assert is_remote == (SparkContext._active_spark_context is None), "a classic session beside the remote one"
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
