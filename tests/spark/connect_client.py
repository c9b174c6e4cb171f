"""Runs jobs one after the other in this process, whose only Spark is what SPARK_REMOTE names.

Reads a JSON list of `[job, argument, …]` or `["sql", statement]`; writes one of `{"status": …, "out": …, "err": …}`.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

from pyspark import SparkContext
from pyspark.sql import SparkSession


def main() -> None:
    spark = SparkSession.builder.getOrCreate()
    answers = []
    for job, *arguments in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            if job == "sql":
                status = 0
                print(json.dumps([list(row) for row in spark.sql(arguments[0]).collect()]))
            else:
                status = import_module(f"lakebound_spark.jobs.{job}").main(arguments)
        answers.append({"status": status, "out": out.getvalue(), "err": err.getvalue()})
    assert SparkContext._active_spark_context is None, "a classic session was started beside the remote one"
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
