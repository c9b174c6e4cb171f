"""The jobs by spark-submit, each in a Java process of its own, as people start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyspark

from lakebound_spark.platform.session import SETTINGS

ROOT: Final = Path(__file__).parents[2]
SPARK_HOME: Final = Path(pyspark.__file__).parent
PYTHONPATH: Final = os.pathsep.join(map(str, (ROOT, ROOT / "src", ROOT / "spark")))


def submit(
    job: str, *arguments: object, cwd: Path, settings: Mapping[str, str], spark_home: Path = SPARK_HOME
) -> subprocess.CompletedProcess[str]:
    """Run a job by name with `local.conf` and these settings. What the job itself says is on stdout, all of it."""
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--properties-file", str(SETTINGS)]
    command += [f"--conf={name}={value}" for name, value in settings.items()]
    command += [str(ROOT / "spark" / "jobs" / f"{job}.py"), *map(str, arguments)]
    environment = {"SPARK_HOME": str(spark_home), "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": PYTHONPATH}
    return subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
