"""What can go wrong. Each error names the object that is concerned and what to do next."""

from __future__ import annotations


class LakeboundError(Exception):
    """Base of every error a user may see: one sentence, then what to do next.

    Never carries an item's values; keys of objects, names of tables and sizes only. ``is_misconfigured`` says that a
    person has something to set right before anything can be done.
    """

    is_misconfigured = False

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}. {hint}" if hint else what)
        self.what = what
        self.hint = hint


class Misconfigured(LakeboundError):
    """A setting or a resource is not as it must be; nothing was read or written."""

    is_misconfigured = True


class StoreUnavailable(LakeboundError):
    """The object store did not confirm an operation; the outcome of a put is unknown and it may be repeated.

    It may be one that was not even asked, for want of a region or of credentials, and then ``is_misconfigured``. A
    function meets that in an outage too, and repeats.
    """


class ObjectDenied(StoreUnavailable):
    """The object store refused one object. It answers, so this is no outage, and other objects may be readable.

    S3 answers a caller that may not list the bucket in the same way for a key that does not exist and for one that
    the caller may not read.
    """


class ObjectMissing(LakeboundError):
    """No object under that key."""


class QueueUnavailable(LakeboundError):
    """The queue did not answer; assume that nothing it was asked for is done."""


class UnreadableMember(Exception):
    """A member that cannot be turned into rows: its place in the list that was given, and the Poison that says why."""

    def __init__(self, place: int, poison: Poison) -> None:
        super().__init__(str(poison))
        self.place = place
        self.poison = poison


class Poison(Exception):
    """A record or message that can never be carried.

    `code` is stable (people filter quarantine by it); `detail` says which part is wrong, with type names, lengths
    and attribute depth only, never a value.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
