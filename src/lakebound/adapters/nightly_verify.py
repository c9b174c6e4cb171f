"""`verify` within one invocation: one share of the keys, another each night, and an error where time does not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.spill_folder import Begun, open_spill
from lakebound.adapters.verify_table import Compared, DynamoDBTable
from lakebound.errors import LakeboundError
from lakebound.operate.sample import Selection, Stratum, parse_share
from lakebound.operate.verify import Patience, Report, verify
from lakebound.ports import Clock, SecondsLeft
from lakebound.record.redaction import Redaction
from lakebound.settings import VerifySettings
from lakebound.times import utc

SEGMENTS: Final = 4
PATIENCE: Final = Patience(lag=90.0, limit=300.0)
"""As `lakebound verify` waits for a key that changes, but for five minutes at most."""

RESERVE_SECONDS: Final = PATIENCE.limit + 60
"""What has to be left when the first look at both sides ends: keys that change are read again for five minutes."""


def tonight(settings: VerifySettings, clock: Clock) -> Selection:
    """The share of today, in UTC. Raises Misconfigured for a share that is none."""
    return Selection(Stratum.on(utc(clock.now_ms()).date(), parse_share(settings.share)))


def verify_share(
    settings: VerifySettings,
    selection: Selection,
    redaction: Redaction | None,
    client: Callable[[str], Any],
    clock: Clock,
    seconds_left: SecondsLeft,
) -> Report:
    """Compare the selected keys of the table with `_live`, as `lakebound verify --sample` does.

    What is read goes to the disk, about 75 bytes a key and side. Raises LakeboundError where the first look does not
    end in time: then nothing is judged. See DeltaVersion for what else it raises.
    """
    # Half a second and 140 MB, for this function alone.
    from lakebound.adapters.silver_table import SilverTable

    def watch(side: str, more: int) -> None:
        if side != "again" and seconds_left() < RESERVE_SECONDS:
            raise LakeboundError(
                f"{selection} of the keys is too much for one invocation: nothing was judged tonight",
                hint="Deploy with a smaller VerifyShare, or run lakebound verify elsewhere",
            )

    sqs = client("sqs")
    table = DynamoDBTable(settings.source, client("dynamodb"), clock, segments=SEGMENTS)
    compared = Compared.of(table, redaction)
    silver = SilverTable(settings.target, live=True)
    begun = Begun(clock.now_ms(), compared.parts(selection, SEGMENTS))
    with open_spill(None, {}, begun) as (spill, _):
        return verify(
            compared.source,
            silver,
            clock,
            spill=spill,
            parts=begun.parts,
            selection=selection,
            in_flight=lambda: sum(count_messages(sqs, settings.queue_url)),
            patience=PATIENCE,
            progress=watch,
        )
