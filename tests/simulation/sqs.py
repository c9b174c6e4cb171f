"""The simulated SQS: a buffer queue and its dead-letter queue, and the boto3 client that one invocation sees.

The client stands below the real `SqsQueue` adapter, so that answers with failed or missing entries, errors and lost
responses go through the code that ships.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.simulation.turns import Violated

if TYPE_CHECKING:
    from tests.simulation.world import Invocation, World

DAY_MS = 86_400_000


@dataclass(slots=True, eq=False)
class Message:
    """One message. Only the receipt of its last receive deletes it."""

    number: int
    body: str
    names: tuple[str, ...]
    sent_ms: int
    visible_ms: int
    receives: int = 0
    gone: bool = False
    dead: bool = False

    @property
    def receipt(self) -> str:
        """The receipt of the last receive."""
        return f"{self.number}.{self.receives}"


class SqsState:
    """Both queues, seen from above."""

    def __init__(self, world: World, visibility_s: int, max_receives: int, retention_days: int, in_flight: int) -> None:
        self._world = world
        self.visibility_ms = visibility_s * 1000
        self.max_receives = max_receives
        self.retention_ms = retention_days * DAY_MS
        self.in_flight = in_flight
        self.messages: dict[int, Message] = {}
        self.dead: dict[int, Message] = {}
        self.ever_dead = 0
        self._numbers = 0

    def accept(self, body: str) -> Message:
        """A message is in the queue from here on."""
        world = self._world
        names = world.ledger.message_names(body, world.s3.objects)
        message = Message(self._numbers, body, names, world.now_ms, world.now_ms)
        self._numbers += 1
        self.messages[message.number] = message
        world.ledger.message_in(names)
        return message

    def visible(self) -> list[Message]:
        """Messages a receive could return now; those received too often go to the DLQ instead."""
        now, ready = self._world.now_ms, []
        for message in list(self.messages.values()):
            if message.visible_ms <= now:
                if message.receives >= self.max_receives:
                    del self.messages[message.number]
                    message.dead = True
                    self.dead[message.number] = message
                    self.ever_dead += 1
                else:
                    ready.append(message)
        return ready

    def take(self, most: int) -> list[Message]:
        """One receive: a few of the visible messages, in any order."""
        choices, rate = self._world.choices, self._world.rate
        ready = self.visible()
        flying = len(self.messages) - len(ready)
        if not ready or flying >= self.in_flight or choices.chance(rate("empty_receive")):
            if ready and not self._world.quiet:
                self._world.fired("in_flight_limit" if flying >= self.in_flight else "empty_receive")
            return []
        taken = []
        for _ in range(min(most, len(ready), self.in_flight - flying)):
            message = ready.pop(choices.below(len(ready)))
            message.receives += 1
            if choices.chance(rate("duplicate")):
                # Left visible: another receive, even this one's neighbour, gets a second copy.
                self._world.fired("duplicate")
                ready.append(message)
            else:
                message.visible_ms = self._world.now_ms + self.visibility_ms
            taken.append(message)
        return taken

    def delete(self, receipt: str) -> bool:
        """Delete under a receipt. A receipt that is not the last one is answered with success and may do nothing."""
        number, receives = receipt.split(".")
        message = self.messages.get(int(number)) or self.dead.get(int(number))
        if message is None:
            return True
        choices, rate = self._world.choices, self._world.rate
        if int(receives) != message.receives or message.dead:
            self._world.fired("expired_receipt")
            if not choices.chance(0.5):
                return True
        if choices.chance(rate("duplicate") / 2):
            # A server that missed the deletion gives the message out once more.
            self._world.fired("duplicate")
            message.visible_ms = self._world.now_ms
            return True
        self.drop(message, "its message was deleted")
        return True

    def drop(self, message: Message, what: str, loud: str = "") -> None:
        """The message is gone. What the flusher refuses (foreign, forged) it must leave to the DLQ."""
        if not loud and message.body in self._world.ledger.forged:
            raise Violated(f"a refused message is gone after {what}")
        self.messages.pop(message.number, None)
        self.dead.pop(message.number, None)
        message.gone = True
        self._world.ledger.message_out(message.names, what, loud)

    def expire(self) -> list[Message]:
        """Drop what is past retention; what was dropped."""
        limit = self._world.now_ms - self.retention_ms
        old = [m for queue in (self.messages, self.dead) for m in queue.values() if m.sent_ms < limit]
        for message in old:
            self.drop(message, "its retention ended", loud="expiry")
        return old

    def redrive(self) -> int:
        """Move the dead letters back: new messages with new ids and a new age."""
        moved = [message for message in self.dead.values() if message.body not in self._world.ledger.forged]
        for message in moved:
            self.accept(message.body)
            self.drop(message, "a redrive moved it")
        return len(moved)


def error(operation: str, code: str, status: int) -> ClientError:
    """The exception boto3 raises for a refused request."""
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)  # type: ignore[typeddict-item]


class SqsClient:
    def __init__(self, world: World, invocation: Invocation) -> None:
        self._world = world
        self._invocation = invocation

    def _call(self, operation: str, effect: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        world = self._world
        self._invocation.enter(operation)
        if world.now_ms < world.sqs_down_until_ms:
            raise error(operation, "ServiceUnavailable", 503)
        if world.chance("sqs_error"):
            raise error(operation, ("ThrottlingException", "KMS.AccessDeniedException")[world.choices.below(2)], 400)
        answer = effect()
        self._invocation.leave(operation)
        if world.chance("sqs_lost_answer"):
            raise ReadTimeoutError(endpoint_url="https://sqs")
        return answer

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        """As SQS: within its limits or not at all, each entry for itself."""
        world = self._world
        sizes = [len(entry["MessageBody"].encode()) for entry in Entries]
        if not 1 <= len(Entries) <= 10 or sum(sizes) > 1_048_576:
            raise Violated("SendMessageBatch is over the platform's limits")
        if any(not entry["MessageBody"].isascii() or not entry["MessageBody"].isprintable() for entry in Entries):
            raise Violated("a message body is not plain ASCII")
        if any(size > world.rules.message_bytes for size in sizes):
            raise Violated("a message body is over MESSAGE_BYTES")

        def effect() -> dict[str, Any]:
            answer: dict[str, list[dict[str, Any]]] = {"Successful": [], "Failed": []}
            for entry in Entries:
                if world.chance("entry_refused"):
                    answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                    continue
                if world.chance("entry_unanswered"):
                    continue
                world.sqs.accept(entry["MessageBody"])
                answer["Successful"].append({"Id": entry["Id"]})
            return {name: entries for name, entries in answer.items() if entries}

        return self._call("send_message_batch", effect)

    def receive_message(self, QueueUrl: str, WaitTimeSeconds: int, **_: Any) -> dict[str, Any]:  # noqa: N803
        """As SQS: up to ten; an empty answer after the whole wait."""
        world = self._world
        if not 0 <= WaitTimeSeconds <= 20:
            raise Violated("ReceiveMessage waits at most 20 seconds")

        def effect() -> dict[str, Any]:
            taken = world.sqs.take(10)
            if not taken and WaitTimeSeconds:
                world.advance(WaitTimeSeconds * 1000)
                taken = world.sqs.take(10)
            messages = [
                {
                    "MessageId": f"m{message.number}",
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": {"ApproximateReceiveCount": str(message.receives)},
                }
                for message in taken
            ]
            return {"Messages": messages} if messages else {}

        return self._call("receive_message", effect)

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:  # noqa: N803
        """As SQS: each entry for itself."""
        world = self._world
        if not 1 <= len(Entries) <= 10:
            raise Violated("DeleteMessageBatch is over the platform's limits")

        def effect() -> dict[str, Any]:
            done, refused = [], []
            for entry in Entries:
                if world.chance("delete_refused") or not world.sqs.delete(entry["ReceiptHandle"]):
                    refused.append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
                else:
                    done.append({"Id": entry["Id"]})
            return {"Successful": done, "Failed": refused}

        return self._call("delete_message_batch", effect)

    def change_message_visibility_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        """As SQS: for a message in flight under its last receipt; 0 to 43,200 seconds."""
        world = self._world
        if not 1 <= len(Entries) <= 10:
            raise Violated("ChangeMessageVisibilityBatch is over the platform's limits")

        def effect() -> dict[str, Any]:
            for entry in Entries:
                seconds = entry["VisibilityTimeout"]
                if not 0 <= seconds <= 43_200:
                    raise Violated("VisibilityTimeout is over the platform's limits")
                number, receives = entry["ReceiptHandle"].split(".")
                message = world.sqs.messages.get(int(number))
                if message is not None and message.receives == int(receives) and message.visible_ms > world.now_ms:
                    message.visible_ms = world.now_ms + seconds * 1000
            return {}

        return self._call("change_message_visibility_batch", effect)
