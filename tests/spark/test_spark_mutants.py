"""Every mutant of the Spark code is killed by the test it names."""

from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.simulation.mutants import Mutant, applied
from tests.spark.mutants import ON_SPARK, PLAIN, kill, run_killer


@pytest.mark.parametrize("mutant", PLAIN, ids=lambda mutant: mutant.name)
def test_a_plain_mutant_is_killed(mutant: Mutant) -> None:
    run_killer(mutant.killed_by, None)
    said = kill(mutant)
    print(f"{mutant.name}: {mutant.killed_by.split('::')[1]} says {said}")
    assert said


@pytest.mark.parametrize("mutant", ON_SPARK, ids=lambda mutant: mutant.name)
def test_a_mutant_on_spark_fits_its_source(mutant: Mutant) -> None:
    with applied(mutant):
        pass


@pytest.mark.soak
@pytest.mark.parametrize("mutant", ON_SPARK, ids=lambda mutant: mutant.name)
def test_a_mutant_on_spark_is_killed(spark: SparkSession, mutant: Mutant) -> None:
    said = kill(mutant, spark)
    print(f"{mutant.name}: {mutant.killed_by.split('::')[1]} says {said}")
    assert said


@pytest.mark.soak
@pytest.mark.parametrize("node", sorted({mutant.killed_by for mutant in ON_SPARK}))
def test_a_killer_on_spark_passes_without_a_mutant(spark: SparkSession, node: str) -> None:
    run_killer(node, spark)
