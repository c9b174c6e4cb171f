"""Messages in the dead-letter queue: what each holds, and why no flusher can read it. Looking at them moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lakebound.errors import LakeboundError, ObjectMissing, Poison
from lakebound.ports import ObjectStore, Queue, ReceivedMessage
from lakebound.transport import messages
from lakebound.transport.messages import ClaimCheck
from lakebound.transport.undelivered import MAX_FAILURE_BYTES

ENTRIES_A_CALL: Final = 10
"""SQS's limit of a batch."""

MAX_LETTERS: Final = 1_000
"""How many dead messages an operator's command looks at."""


def verdict_of_message(table: str, message: ReceivedMessage, store: ObjectStore | None) -> str:
    """The code of why no flusher can read the message now, or "" where one can. Raises StoreUnavailable.

    Without a store a claim check counts as readable: the object that it points to is not looked at.
    """
    try:
        content = messages.decode(table, message.body)
        if isinstance(content, ClaimCheck) and store is not None:
            messages.decode_claimed(table, content, store.get(content.key, MAX_FAILURE_BYTES))
    except Poison as poison:
        return poison.code
    except ObjectMissing:
        return "claim_missing"
    return ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What one dead message holds, without any item's value. `verdict` is "" where a flusher could write it."""

    message_id: str
    size: int
    records: int
    partitions: tuple[str, ...]
    claim: str
    verdict: str


def put_back(dead: Queue, receipts: Sequence[str]) -> None:
    """Make received messages visible again at once. Raises QueueUnavailable."""
    for start in range(0, len(receipts), ENTRIES_A_CALL):
        dead.hide(receipts[start : start + ENTRIES_A_CALL], 0)


def peek_dead_letters(table: str, dead: Queue, store: ObjectStore, most: int) -> list[DeadLetter]:
    """Up to `most` messages, put back at once. Raises QueueUnavailable."""
    found: dict[str, DeadLetter] = {}
    receipts: list[str] = []
    while len(found) < most:
        received = [message for message in dead.receive(0) if message.message_id not in found]
        if not received:
            break
        found.update({message.message_id: _dead_letter(table, message, store) for message in received})
        receipts += [message.receipt for message in received]
    # Only now: a message put back at once would be what the next receive brings.
    put_back(dead, receipts)
    return list(found.values())[:most]


def _dead_letter(table: str, message: ReceivedMessage, store: ObjectStore) -> DeadLetter:
    claim, verdict = "", ""
    members: list[messages.Member] = []
    try:
        content = messages.decode(table, message.body)
        if isinstance(content, ClaimCheck):
            claim = content.key
            content = messages.decode_claimed(table, content, store.get(content.key, content.bytes))
        members = content
    except Poison as poison:
        verdict = poison.code
    except ObjectMissing:
        verdict = "claim_missing"
    except LakeboundError:
        verdict = "claim_unreadable_now"
    return DeadLetter(
        message.message_id,
        len(message.body),
        sum(member.count for member in members),
        tuple(sorted({member.partition for member in members})),
        claim,
        verdict,
    )
