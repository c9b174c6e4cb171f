"""Which optional part of the package a missing library belongs to, and how it is added."""

from __future__ import annotations

from typing import Final

from lakebound.errors import Misconfigured

EXTRAS: Final = {
    "arro3": "deltalake",
    "aws_cdk": "cdk",
    "deltalake": "deltalake",
    "delta": "spark",
    "pyarrow": "parquet",
    "pyspark": "spark",
}
"""The extra of pyproject.toml that brings an importable package."""


def missing_package(package: str, otherwise: str = "") -> Misconfigured | None:
    """The error for a package that is not installed, None where no extra brings it.

    ``otherwise`` is what else would do, with a comma before it.
    """
    extra = EXTRAS.get(package.partition(".")[0])
    if extra is None:
        return None
    name = package.partition(".")[0]
    return Misconfigured(
        f"The Python package {name} is missing", hint=f"Install it: pip install 'lakebound[{extra}]'{otherwise}"
    )
