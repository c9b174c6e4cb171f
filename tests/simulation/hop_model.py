"""A small-step model of ingest, queue and flush, searched breadth first: conservation in every reachable state.

Three records (the middle one may be poison), a few message slots, two flushers, one redrive, one delivery and one
zombie of a delivery. Every call can fail, succeed and lose its answer, or succeed for some entries only; every actor
can crash between any two calls; visibility can run out while a message is held; dead letters can be moved back at
any time. A mutant changes one step the way a careless implementation would; the search must then reach a loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

MAX_RECEIVES = 2
MAX_ATTEMPTS = 1

VISIBLE, HELD, DEAD = 0, 1, 2

MUTANTS = (
    "ignore Failed",
    "believe an error",
    "delete before put",
    "swallow a put error",
    "keep in memory",
    "second+count names",
    "pointer-only DLQ",
    "acknowledge past poison",
    "highest failed number",
    "delete what was not written",
    "acknowledge on crash",
    "redrive deletes first",
    "quarantine after acknowledgement",
)


class Slot(NamedTuple):
    """One message: the records it holds, where it is, how often it was received."""

    records: int
    status: int
    receives: int


class Delivery(NamedTuple):
    """One run of stream_ingest: its records, what it believes kept, the step it is at."""

    start: int
    end: int
    step: str
    kept: int


class Flusher(NamedTuple):
    """One run of the flusher: the messages in hand (slot, records), and the step it is at."""

    step: str
    hand: tuple[tuple[int, int], ...]


class State(NamedTuple):
    """Everything that survives, and everything that is running."""

    checkpoint: int
    attempts: int
    delivery: Delivery | None
    zombie: Delivery | None
    slots: tuple[Slot | None, ...]
    flushers: tuple[Flusher | None, ...]
    files: tuple[int, ...]
    kept: int
    """Records in quarantine or in a failure object that carries the payload."""
    memory: int
    mover: int
    """Records a redrive has in hand between its two calls."""


@dataclass(frozen=True, slots=True)
class Model:
    """The bounds of one search."""

    records: int = 3
    poison: int = 0b010
    slots: int = 3
    flushers: int = 2
    mutant: str = ""

    def start(self) -> State:
        """Nothing delivered."""
        return State(0, 0, None, None, (None,) * self.slots, (None,) * self.flushers, (), 0, 0, 0)

    def lost(self, state: State) -> int:
        """Records behind the checkpoint that are nowhere durable, as bits."""
        held = state.kept
        for file in state.files:
            held |= file
        for slot in state.slots:
            if slot is not None:
                held |= slot.records
        return ((1 << state.checkpoint) - 1) & ~held

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Every next state, with what happened."""
        yield from self._deliver(state)
        if state.delivery is not None:
            yield from self._ingest(state, state.delivery, zombie=False)
        if state.zombie is not None:
            yield from self._ingest(state, state.zombie, zombie=True)
        yield from self._queue(state)
        for number in range(self.flushers):
            yield from self._flush(state, number)

    # The stream mapping.

    def _deliver(self, state: State) -> Iterator[tuple[str, State]]:
        if state.delivery is not None or state.checkpoint >= self.records:
            return
        for end in range(state.checkpoint + 1, self.records + 1):
            delivery = Delivery(state.checkpoint, end, "quarantine", 0)
            yield f"deliver {state.checkpoint}..{end - 1}", state._replace(delivery=delivery)

    def _answer(self, state: State, delivery: Delivery, zombie: bool) -> Iterator[tuple[str, State]]:
        if zombie:
            yield "zombie's answer is ignored", state._replace(zombie=None)
            return
        unkept = [n for n in range(delivery.start, delivery.end) if not delivery.kept >> n & 1]
        checkpoint = min(unkept, default=delivery.end)
        if unkept and self.mutant == "highest failed number":
            checkpoint = max(unkept)
        yield "answer", self._retry(state, delivery, checkpoint)

    def _retry(self, state: State, delivery: Delivery, checkpoint: int) -> State:
        attempts = 0 if checkpoint > state.checkpoint else state.attempts + 1
        kept = state.kept
        if attempts > MAX_ATTEMPTS:
            # Retries are exhausted: the failure object carries the payload, and the mapping goes on behind it.
            if self.mutant != "pointer-only DLQ":
                kept |= ((1 << delivery.end) - 1) & ~((1 << checkpoint) - 1)
            checkpoint, attempts = delivery.end, 0
        return state._replace(delivery=None, checkpoint=checkpoint, attempts=attempts, kept=kept)

    # stream_ingest.

    def _ingest(self, state: State, delivery: Delivery, zombie: bool) -> Iterator[tuple[str, State]]:
        who = "zombie" if zombie else "ingest"

        def then(after: Delivery | None, **changes: object) -> State:
            return state._replace(**({"zombie": after} if zombie else {"delivery": after}), **changes)  # type: ignore[arg-type]

        if zombie:
            yield "zombie dies", then(None)
        else:
            crashed = delivery.end if self.mutant == "acknowledge on crash" else state.checkpoint
            yield "ingest crashes", self._retry(state, delivery, crashed)
            if state.zombie is None:
                later = self._retry(state, delivery, state.checkpoint)
                yield "ingest times out and goes on as a zombie", later._replace(zombie=delivery)
        inside = ((1 << delivery.end) - 1) & ~((1 << delivery.start) - 1)
        poison = inside & self.poison & ~delivery.kept
        if delivery.step == "quarantine":
            if not poison:
                yield f"{who} packs", then(delivery._replace(step="send"))
                return
            if self.mutant == "quarantine after acknowledgement":
                yield f"{who} puts quarantine off", then(delivery._replace(step="send", kept=delivery.kept | poison))
                return
            believed = delivery._replace(step="send", kept=delivery.kept | poison)
            refused = delivery._replace(step="send")
            if self.mutant == "acknowledge past poison":
                refused = believed
            yield f"{who} quarantines", then(believed, kept=state.kept | poison)
            yield f"{who} quarantines, answer lost", then(refused, kept=state.kept | poison)
            yield f"{who} cannot quarantine", then(refused)
            return
        good = inside & ~self.poison & ~delivery.kept
        # Work stops at the first record that is in neither place.
        for n in range(delivery.start, delivery.end):
            if self.poison >> n & 1 and not delivery.kept >> n & 1:
                good &= (1 << n) - 1
                break
        entries = [1 << n for n in range(self.records) if good >> n & 1]
        done = delivery._replace(step="answer")
        if delivery.step == "answer" or not entries:
            yield from self._answer(state, delivery, zombie)
            return
        free = self._free(state)
        for taken in range(1 << len(entries)):
            accepted = [entry for i, entry in enumerate(entries) if taken >> i & 1]
            if len(accepted) > len(free):
                continue
            slots = list(state.slots)
            for place, entry in zip(free, accepted, strict=False):
                slots[place] = Slot(entry, VISIBLE, 0)
            trusted = sum(accepted)
            if self.mutant == "ignore Failed":
                trusted = good
            yield (
                f"{who} sends {len(accepted)} of {len(entries)}",
                then(done._replace(kept=delivery.kept | trusted), slots=tuple(slots)),
            )
            if len(accepted) in (0, len(entries)):
                trusted = good if self.mutant == "believe an error" else 0
                yield (
                    f"{who} sends {len(accepted)}, answer lost",
                    then(done._replace(kept=delivery.kept | trusted), slots=tuple(slots)),
                )

    # The queue.

    def _in_hand(self, state: State, slot: int) -> bool:
        return any(flusher is not None and any(n == slot for n, _ in flusher.hand) for flusher in state.flushers)

    def _free(self, state: State) -> list[int]:
        # A slot in a flusher's hand is not used again: its delete would take another message.
        return [n for n, slot in enumerate(state.slots) if slot is None and not self._in_hand(state, n)]

    def _queue(self, state: State) -> Iterator[tuple[str, State]]:
        if state.mover:
            free = self._free(state)
            if free:
                moved = Slot(state.mover, VISIBLE, 0)
                yield "redrive sends", self._with_slot(state._replace(mover=0), free[0], moved)
            yield "redrive crashes", state._replace(mover=0)
        for n, slot in enumerate(state.slots):
            if slot is None:
                continue
            if slot.status == HELD:
                yield f"visibility of {n} runs out", self._with_slot(state, n, slot._replace(status=VISIBLE))
            elif slot.status == VISIBLE and slot.receives >= MAX_RECEIVES:
                yield f"{n} goes to the DLQ", self._with_slot(state, n, slot._replace(status=DEAD))
            elif slot.status == DEAD and self.mutant == "redrive deletes first":
                if not state.mover:
                    yield f"redrive deletes {n}", self._with_slot(state._replace(mover=slot.records), n, None)
            elif slot.status == DEAD:
                # A new message with no receives; its copy goes from the DLQ only then.
                moved = Slot(slot.records, VISIBLE, 0)
                if not self._in_hand(state, n):
                    yield f"redrive moves {n}", self._with_slot(state, n, moved)
                free = self._free(state)
                if free:
                    yield f"redrive copies {n} and crashes", self._with_slot(state, free[0], moved)

    def _with_slot(self, state: State, number: int, slot: Slot | None) -> State:
        slots = list(state.slots)
        slots[number] = slot
        return state._replace(slots=tuple(slots))

    # The flusher.

    def _with_flusher(self, state: State, number: int, flusher: Flusher | None) -> State:
        flushers = list(state.flushers)
        flushers[number] = flusher
        # Two flushers are alike: their order carries nothing.
        flushers.sort(key=lambda one: (one is not None, one or ()))
        return state._replace(flushers=tuple(flushers))

    def _flush(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        flusher = state.flushers[number]
        hand = flusher.hand if flusher is not None else ()
        if flusher is None or (flusher.step == "hold" and len(hand) < 2):
            for n, slot in enumerate(state.slots):
                if slot is None or slot.status != VISIBLE or slot.receives >= MAX_RECEIVES:
                    continue
                if any(n == held for held, _ in hand):
                    continue
                after = self._with_slot(state, n, Slot(slot.records, HELD, slot.receives + 1))
                more = Flusher("hold", tuple(sorted((*hand, (n, slot.records)))))
                yield f"flusher receives {n}", self._with_flusher(after, number, more)
        if flusher is None:
            return
        yield "flusher crashes", self._with_flusher(state._replace(memory=0), number, None)
        records = 0
        for _, held in hand:
            records |= held
        if flusher.step == "hold":
            if self.mutant == "delete before put":
                yield from self._delete(state, number, flusher, all_of_it=True, then="late put", memory=records)
            elif self.mutant == "keep in memory":
                yield from self._delete(state, number, flusher, all_of_it=True, then="", memory=records)
            else:
                yield from self._put(state, number, flusher, records)
        elif flusher.step == "late put":
            put = tuple(sorted({*state.files, state.memory} - {0}))
            yield "flusher puts late", self._with_flusher(state._replace(files=put, memory=0), number, None)
        else:
            yield from self._delete(state, number, flusher, all_of_it=False, then="", memory=0)

    def _put(self, state: State, number: int, flusher: Flusher, records: int) -> Iterator[tuple[str, State]]:
        files = tuple(sorted({*state.files, records}))
        if self.mutant == "second+count names" and any(f.bit_count() == records.bit_count() for f in state.files):
            # Another file has that name: 412, which is read as "stored".
            files = state.files
        durable = flusher._replace(step="durable")
        stored = state._replace(files=files)
        yield "flusher puts", self._with_flusher(stored, number, durable)
        yield "flusher puts, answer lost", self._with_flusher(stored, number, None)
        failed = durable if self.mutant == "swallow a put error" else None
        yield "flusher cannot put", self._with_flusher(state, number, failed)
        if self.mutant == "delete what was not written" and len(flusher.hand) == 2:
            part = tuple(sorted({*state.files, flusher.hand[0][1]}))
            yield "flusher puts one of two", self._with_flusher(state._replace(files=part), number, durable)

    def _delete(
        self, state: State, number: int, flusher: Flusher, all_of_it: bool, then: str, memory: int
    ) -> Iterator[tuple[str, State]]:
        deletable = [n for n, _ in flusher.hand if state.slots[n] is not None]
        for size in (len(deletable),) if all_of_it else range(len(deletable) + 1):
            for gone in combinations(deletable, size):
                # Under a receipt that is not the last one a delete may do nothing: a smaller choice stands for it.
                slots = tuple(None if n in gone else slot for n, slot in enumerate(state.slots))
                after = Flusher(then, ()) if then else None
                yield (
                    f"flusher deletes {len(gone)} of {len(deletable)}",
                    self._with_flusher(state._replace(slots=slots, memory=memory), number, after),
                )


@dataclass(frozen=True, slots=True)
class Searched:
    """How far a search came, and the shortest way to a loss, if there is one."""

    states: int
    steps: int
    whole: bool
    loss: tuple[str, ...] = ()


def search(model: Model, limit: int) -> Searched:
    """Breadth first from the start, at most `limit` states; `whole` when there are no more."""
    start = model.start()
    came: dict[State, tuple[State | None, str]] = {start: (None, "")}
    frontier, steps = [start], 0
    while frontier:
        following: list[State] = []
        for state in frontier:
            for what, after in model.steps(state):
                steps += 1
                if after in came:
                    continue
                came[after] = (state, what)
                if model.lost(after):
                    return Searched(len(came), steps, False, _way(came, after))
                following.append(after)
                if len(came) >= limit:
                    return Searched(len(came), steps, False)
        frontier = following
    return Searched(len(came), steps, True)


def _way(came: dict[State, tuple[State | None, str]], state: State) -> tuple[str, ...]:
    way: list[str] = []
    at: State | None = state
    while at is not None:
        at, what = came[at]
        if what:
            way.insert(0, what)
    return tuple(way)
