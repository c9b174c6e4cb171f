"""Writes small objects into a folder or a bucket, each whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from botocore.exceptions import ClientError
from pyspark.sql import SparkSession

from lakebound.errors import Misconfigured
from lakebound_spark.platform.s3_client import s3_client


def write_object(spark: SparkSession, path: str, body: bytes) -> None:
    """Write a new object below a folder (on Databricks a volume) or an address of S3, which refuses to replace one.

    Spark's writers choose the names of their files, so this process writes the object itself. Raises Misconfigured for
    another address, FileExistsError, ClientError.
    """
    address = re.fullmatch(r"s3[an]?://([^/]+)/(.+)", path)
    if address is not None:
        _write_to_s3(spark, address[1], address[2], body)
    elif "://" in path:
        raise Misconfigured(f"{path} can be read and not written; give a folder, a volume or an address of S3")
    else:
        _write_to_folder(Path(path), body)


def _write_to_folder(place: Path, body: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    # Spark ignores names that begin with a dot, so a reader sees the whole file or none.
    hidden = place.with_name(f".{place.name}.{os.getpid()}")
    hidden.write_bytes(body)
    hidden.replace(place)


def _write_to_s3(spark: SparkSession, bucket: str, key: str, body: bytes) -> None:
    client = s3_client(lambda setting: spark.conf.get(setting, None))
    try:
        client.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
    except ClientError as refused:
        if refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 412:
            raise
        raise FileExistsError(f"s3://{bucket}/{key} is there already") from None
