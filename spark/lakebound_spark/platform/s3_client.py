"""The jobs' client for S3, which reaches the bucket that Spark reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.session
from botocore.config import Config


def s3_client(setting: Callable[[str], str | None]) -> Any:
    """A client with Spark's endpoint, region and keys for `s3a://`; what is missing is found as by the AWS CLI."""
    session: Any = botocore.session.get_session()
    endpoint = setting("spark.hadoop.fs.s3a.endpoint")
    given = {
        "endpoint_url": f"https://{endpoint}" if endpoint and "://" not in endpoint else endpoint,
        "region_name": setting("spark.hadoop.fs.s3a.endpoint.region"),
        "aws_access_key_id": setting("spark.hadoop.fs.s3a.access.key"),
        "aws_secret_access_key": setting("spark.hadoop.fs.s3a.secret.key"),
        "aws_session_token": setting("spark.hadoop.fs.s3a.session.token"),
    }
    is_path_style = setting("spark.hadoop.fs.s3a.path.style.access") == "true"
    config = Config(
        connect_timeout=5,
        read_timeout=5,
        retries={"total_max_attempts": 2},
        s3={"addressing_style": "path" if is_path_style else "auto"},
    )
    return session.create_client("s3", config=config, **{name: value for name, value in given.items() if value})
