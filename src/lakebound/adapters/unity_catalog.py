"""Where a table of Unity Catalog lies, and keys to read it there for an hour: two calls of the catalog's REST API.

deltalake's own `uc://` asks for keys to write, and often ends in a deadlock, which delta-rs knows of (its pull request
3113; release 1.6.6 stopped in fourteen of eighteen tries).
"""

from __future__ import annotations

import json
import os
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from botocore.credentials import ReadOnlyCredentials

from lakebound.adapters.aws_calls import Denied, NotThere
from lakebound.errors import LakeboundError, Misconfigured

_TIMEOUT_SECONDS: Final = 30


def find_table(name: str, *, hint: str) -> tuple[str, ReadOnlyCredentials]:
    """The address in S3 of the table `catalog.schema.table`, and keys to read it.

    Workspace and token come from DATABRICKS_HOST and DATABRICKS_TOKEN. Raises Misconfigured where they are not set, do
    not work or may not read the table, and where the table is not there or lies outside S3; for that,
    ``hint`` says what the calling verb can do.
    """
    table = _call(name, f"tables/{quote(name, safe='')}", None)
    location = str(table.get("storage_location", ""))
    if not location.startswith(("s3://", "s3a://")):
        raise Misconfigured(
            f"The table {name} of Unity Catalog is no table in S3, and only Databricks reads it",
            hint=hint,
        )
    asked = {"table_id": table["table_id"], "operation": "READ"}
    keys = _call(name, "temporary-table-credentials", asked)["aws_temp_credentials"]
    return location, ReadOnlyCredentials(keys["access_key_id"], keys["secret_access_key"], keys["session_token"])


def _call(name: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    host, token = (os.environ.get(variable, "") for variable in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"))
    if not host or not token:
        raise Misconfigured(
            f"{name} is a table of Unity Catalog, and the environment names no workspace or no token",
            hint="Set DATABRICKS_HOST and DATABRICKS_TOKEN, or give the table's folder or address",
        )
    address = host if "://" in host else f"https://{host}"
    request = Request(
        f"{address.rstrip('/')}/api/2.1/unity-catalog/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except HTTPError as refused:
        error = _refusal(name, host, refused.code)
    except (URLError, TimeoutError, ValueError):
        error = Misconfigured(
            f"Unity Catalog does not answer at {host}", hint="Check DATABRICKS_HOST and the network, then repeat"
        )
    raise error


def _refusal(name: str, host: str, status: int) -> LakeboundError:
    if status == 401:
        return Misconfigured(
            f"Unity Catalog at {host} does not know the token", hint="Set DATABRICKS_TOKEN to one that has not expired"
        )
    if status == 403:
        return Denied(
            f"Unity Catalog does not let {name} be read from outside",
            hint="Ask for SELECT on the table and EXTERNAL USE SCHEMA on its schema",
        )
    if status == 404:
        return NotThere(
            f"There is no table {name} in Unity Catalog at {host}",
            hint="Check the name's three parts and DATABRICKS_HOST",
        )
    return LakeboundError(f"Unity Catalog at {host} failed ({status})", hint="Repeat the command")
