"""`lakebound report`: the state of a pipeline on one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from lakebound.adapters.clock import SystemClock
from lakebound.adapters.cost_facts import measure_usage
from lakebound.adapters.silver_metrics import silver_minutes
from lakebound.adapters.status_facts import observe_pipeline
from lakebound.cli import deployed
from lakebound.cli.deployed import StackName, find_stack, store_of
from lakebound.cli.output import AsJson, echo, echo_json
from lakebound.cli.paths import file_to_write
from lakebound.cli.silver_table import table_facts
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.cost import measure
from lakebound.operate.report import EVERY, Figures, SilverMinute, VerifyFigures, last_backfill, page, recent_files
from lakebound.operate.status import assess
from lakebound.transport.object_keys import HOUR_MS

MOST_FILES = 10_000
_PERIODS: Final = ((24, 60_000), (24 * 14, 300_000), (10**9, HOUR_MS))
"""Up to how many hours silver's metrics are asked for by periods of so many ms."""


def command(
    out: Annotated[Path, typer.Option(dir_okay=False, callback=file_to_write, help="The file to write.")] = Path(
        "lakebound-report.html"
    ),
    stack: StackName = "",
    verification: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="What `lakebound verify --out` wrote.")
    ] = None,
    latency: Annotated[
        str,
        typer.Option(
            help="Measured seconds from a change to silver: at most P50 for half of the changes, at most P99 for 99 %.",
            metavar="P50,P99",
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="Also show which batch files wait for the merge job, and the stale mark: the silver table's folder, "
            "address or catalog.schema.table.",
        ),
    ] = "",
    hours: Annotated[int, typer.Option(min=1, help="Show the files and costs of this many of the last hours.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page: pipeline, freshness, file sizes, backfill, gaps, dead letters, verification, cost.

    The page needs no network, and holds names and figures only.
    """
    verified = verified_of(verification) if verification else None
    latency_s = latency_of(latency)
    table = table_facts(target) if target else None
    found = find_stack(stack)
    store = store_of(found)
    now_ms = SystemClock().now_ms()
    bill, notes = None, []
    try:
        bill = measure(measure_usage(deployed.clients, found, hours))
    except LakeboundError as error:
        notes.append(f"Cost: {error.what}.")
    files = recent_files(store, found.prefix, now_ms - hours * HOUR_MS)
    if len(files) > MOST_FILES:
        notes.append(f"The report has only the newest {MOST_FILES:,} of {count_text(len(files), 'file')}.")
    silver: tuple[SilverMinute, ...] = ()
    try:
        silver = _silver(found.table, now_ms, hours)
    except LakeboundError as error:
        notes.append(f"Silver: {error.what}.")
    figures = Figures(
        status=assess(observe_pipeline(found, deployed.clients, store, now_ms, table)),
        files=files[-MOST_FILES:],
        verified=verified,
        backfill=last_backfill(store, found.table),
        bill=bill,
        latency_s=latency_s,
        notes=tuple(notes),
        hours=hours,
        silver=silver,
    )
    _write(out, page(figures))
    if as_json:
        echo_json({"page": str(out), "state": figures.status.state, "files": len(figures.files)})
    else:
        echo(
            f"wrote {out}: {figures.status.state}, {count_text(len(figures.files), 'batch file')} of the "
            f"last {count_text(hours, 'hour')}"
        )


def _silver(table: str, now_ms: int, hours: int) -> tuple[SilverMinute, ...]:
    # CloudWatch keeps minutes for 15 days and five minutes for 63, after which it has hours alone.
    period_ms = next(period for most, period in _PERIODS if hours <= most)
    found = silver_minutes(deployed.clients("cloudwatch"), table, now_ms - hours * HOUR_MS, now_ms, period_ms)
    return tuple(SilverMinute(at, values["lag"], values.get("rows", 0.0)) for at, values in found.items())


def _write(out: Path, text: str) -> None:
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise Misconfigured(
            f"The page cannot be written to {out}: {error.strerror}", hint="Give --out a file in a folder that is there"
        ) from None


def verified_of(path: Path) -> VerifyFigures:
    """What a verification's JSON says. Raises Misconfigured."""
    try:
        result: dict[str, Any] = orjson.loads(path.read_bytes())
        counts = {kind: len(result[kind]) for kind in ("missing", "ghost", "stale", "different", "left_out")}
        compared = str(result.get("compared", EVERY))
        return VerifyFigures(keys=int(result["keys"]), compared=compared, **counts)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise Misconfigured(f"{path} is not what `lakebound verify --out` writes", hint="Write it again") from None


def latency_of(text: str) -> tuple[float, float] | None:
    """The two seconds of `--latency`, None for none. Raises Misconfigured."""
    if not text:
        return None
    try:
        middle, late = (float(part) for part in text.split(","))
    except ValueError:
        middle, late = -1.0, -1.0
    # `nan` and `inf` are numbers to Python, and no seconds.
    if not 0 <= middle <= late < float("inf"):
        raise Misconfigured(
            f"--latency {text} is not two numbers of seconds, the smaller one first",
            hint="Write p50 and p99: 21.4,48.9",
        )
    return middle, late
