"""Every verb of the command with arguments that lead it to its first call of AWS, or to its first file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from lakebound.cli.app import app

TABLE = "cars"

ASKS_AWS: dict[str, list[str]] = {
    "init": ["--table", TABLE],
    "doctor": ["--stack", "s"],
    "status": ["--stack", "s"],
    "verify": ["--target", "silver", "--table", TABLE],
    "trace": ["pk=S:1", "--stack", "s"],
    "replay": ["--from", "2026-11-01T00", "--to", "2026-11-01T01", "--stack", "s"],
    "cost": ["--stack", "s"],
    "report": ["--stack", "s"],
    "files mirror": ["s3://bucket/ddb/cars", "mirrored"],
    "files check": ["s3://bucket/ddb/cars"],
    "files flatten": ["s3://bucket/ddb/cars", "flat"],
    "backfill estimate": ["--stack", "s"],
    "backfill start": ["--stack", "s"],
    "backfill watch": ["--run", "r", "--stack", "s"],
    "backfill list": ["--stack", "s"],
    "backfill close": ["--run", "r", "--source", "files", "--target", "silver", "--stack", "s"],
    "dlq list": ["--from", "buffer", "--stack", "s"],
    "dlq show": ["x", "--from", "buffer", "--stack", "s"],
    "dlq redrive": ["--from", "buffer", "--stack", "s"],
    "config infer": ["--table", TABLE],
}


def all_verbs(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, click's command) of each verb that the command really has."""
    command = command or typer.main.get_command(app)
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for child, inner in children.items():
        yield from all_verbs(inner, f"{name} {child}".strip())
