"""A verb over every stack of the account and region (`--all`): what each told, in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Final, TypeVar

import typer

from lakebound.adapters.probes import Clients
from lakebound.adapters.stack import Stack, describe_stack
from lakebound.adapters.tagged_stacks import STACK_TAG, tagged_stacks
from lakebound.cli import deployed
from lakebound.cli.given_options import given_flag
from lakebound.cli.output import echo, echo_table
from lakebound.cli.tables import Column
from lakebound.counts import count_text
from lakebound.errors import LakeboundError, Misconfigured
from lakebound.operate.fleet import FleetLine, Reading
from lakebound.times import iso

T = TypeVar("T")

OfAll = Annotated[
    bool,
    typer.Option(
        "--all",
        help=f"Every stack of the account and region whose functions bear the tag {STACK_TAG}, a line each, worst "
        "first.",
    ),
]

_AT_A_TIME: Final = 8
"""Below the connections that a client keeps (16). CloudFormation answers about ten descriptions a second."""


def refuse_beside_all(context: typer.Context, *options: str) -> None:
    """Raises Misconfigured where one of these parameters was given on the command line; `stack` always is one."""
    if flag := given_flag(context, "stack", *options):
        raise Misconfigured(f"{flag} is about one stack", hint="Leave it or --all out")


def read_all(read: Callable[[Stack, Clients], T]) -> list[Reading[T]]:
    """What `read` finds of each stack, several at a time. A stack that cannot be read hides none of the others.

    Raises LakeboundError where not even the list of the stacks can be read, Misconfigured where it is empty.
    """
    clients = SharedClients()
    names = tagged_stacks(clients("resourcegroupstaggingapi"))
    if not names:
        raise Misconfigured(
            f"No stack of this account and region bears the tag {STACK_TAG}",
            hint="Check AWS_PROFILE and the region; a stack from before the tag bears it after lakebound deploy",
        )

    def one(name: str) -> Reading[T]:
        table = ""
        try:
            if not name:
                # CloudFormation takes no name for all stacks, so another stack's line would stand here.
                raise Misconfigured(f"a function's tag {STACK_TAG} names no stack", hint="Deploy its stack again")
            stack = describe_stack(clients("cloudformation"), name)
            table = stack.table
            return Reading(name, table, read(stack, clients))
        except LakeboundError as error:
            return Reading(name, table, None, f"could not be read: {error}")
        except Exception as error:
            # A fault of ours, which one odd stack may bring to light: alone, the verb shows where it is.
            told = f"{type(error).__name__} in the command itself; leave --all out and give --stack {name} to see where"
            return Reading(name, table, None, f"could not be read: {told}")

    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="stack") as pool:
        return list(pool.map(one, names))


class SharedClients:
    """Makes each service's client once, for all threads: they may share a client, but not make one at the same time."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str) -> Any:
        with self._lock:
            if service not in self._made:
                self._made[service] = deployed.clients(service)
            return self._made[service]


def echo_lines(lines: Sequence[FleetLine], *, state: str = "state", since: bool = False, number: bool = False) -> None:
    """The lines as a table on stdout."""
    columns = [Column(state, is_number=number), Column("stack"), Column("table")]
    if since:
        columns.append(Column("since"))
    rows = []
    for line in lines:
        cells = [line.state, line.stack, line.table]
        if since:
            cells.append("" if line.since_ms is None else iso(line.since_ms))
        rows.append([*cells, line.told])
    echo_table([*columns, Column("why")], rows)


def end(lines: Sequence[FleetLine], good: str) -> None:
    """A last line with how many are well. Raises Exit 1 unless all are, as the verb does for one stack."""
    well = sum(line.is_well for line in lines)
    echo(f"{well:,} of {count_text(len(lines), 'stack')} {good}")
    leave(lines)


def leave(lines: Sequence[FleetLine]) -> None:
    """Raises Exit 1 unless all are well."""
    if not all(line.is_well for line in lines):
        raise typer.Exit(1)
