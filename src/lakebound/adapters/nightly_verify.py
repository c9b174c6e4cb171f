"""`verify` within one invocation: one share of the keys, another each night, and an error where time does not do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final

from lakebound.adapters.dead_letters import count_messages
from lakebound.adapters.spill_folder import Begun, open_spill
from lakebound.adapters.verify_table import Compared, DynamoDBTable
from lakebound.counts import count_text
from lakebound.errors import LakeboundError
from lakebound.operate.nightly_share import fitting_share
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


_BY_HAND: Final = "run lakebound verify --engine spark --publish in its place"
"""What helps where deltalake, the only reader of the function, cannot read the table."""

LAST_SECONDS: Final = 20
"""What is left for saying that the time was not enough."""


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
    end in time, with what was read: then nothing is judged. See DeltaVersion for what else it raises.
    """
    # Half a second and 140 MB, for this function alone.
    from lakebound.adapters.silver_table import SilverTable

    read = {"source": 0, "lake": 0}
    began = seconds_left()
    items = 0

    def too_much() -> LakeboundError:
        smaller = max(fitting_share(items), 2 * parse_share(settings.share))
        return LakeboundError(
            f"{selection} of the keys is too much for one invocation: after {began - seconds_left():.0f} s"
            f" {count_text(read['source'], 'item')} and {count_text(read['lake'], 'row')} had been read. "
            "Nothing was judged tonight",
            hint=f"Deploy with a smaller VerifyShare (1/{smaller}), or run lakebound verify elsewhere",
        )

    def watch(side: str, more: int) -> None:
        if side in read:
            read[side] += more
        if side != "again" and seconds_left() < RESERVE_SECONDS:
            raise too_much()

    sqs = client("sqs")
    table = DynamoDBTable(settings.source, client("dynamodb"), clock, segments=SEGMENTS)
    compared = Compared.of(table, redaction)
    silver = SilverTable(settings.target, live=True, instead=_BY_HAND)
    items = table.item_count
    begun = Begun(clock.now_ms(), compared.parts(selection, SEGMENTS))

    def compare() -> Report:
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

    # A query of a large table may give no row, and so no progress, for longer than the invocation has. Lambda would end
    # it without a word.
    return _within(lambda: seconds_left() - LAST_SECONDS, compare, too_much)


def _within(seconds_left: SecondsLeft, compare: Callable[[], Report], too_much: Callable[[], LakeboundError]) -> Report:
    """What `compare` gives, or raises `too_much` when the time is up; its thread then ends with its next progress."""
    done: Future[Report] = Future()

    def run() -> None:
        try:
            done.set_result(compare())
        except BaseException as failure:
            done.set_exception(failure)

    Thread(target=run, daemon=True).start()
    try:
        return done.result(timeout=max(0.0, seconds_left()))
    except TimeoutError:
        if done.done():
            raise
        raise too_much() from None
