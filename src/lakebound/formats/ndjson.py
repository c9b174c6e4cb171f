"""NDJSON.gz: a member is one gzip member of lines, and members concatenated are a gzip file everywhere it was tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final

import orjson
from isal import igzip, igzip_lib

from lakebound.counts import count_text
from lakebound.errors import Poison
from lakebound.record.envelope import decode_line

EXTENSION: Final = "ndjson.gz"
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""No line of ours is longer: the largest legal record is 5.7 MB of JSON."""

_LEVEL: Final = 2
_DAMAGED: Final[type[Exception]] = igzip_lib.IsalError  # type: ignore[assignment]  # the stub takes the class for a value
_PIECE: Final = 1024 * 1024


def compress(lines: bytes) -> bytes:
    """One gzip member. The header's time is zero, so equal lines give equal bytes."""
    return bytes(igzip.compress(lines, _LEVEL, mtime=0))


def join(members: Sequence[bytes]) -> bytes:
    """A file of members."""
    return b"".join(members)


def read(body: bytes) -> Iterator[dict[str, Any]]:
    """The records of a file, images as objects. Holds one line and a megabyte at a time, whatever a member inflates to.

    Raises Poison (`gzip`, `line_too_long`, `undecodable`) at the first place that is not as it was written.
    """
    rest = b""
    for piece in inflate(body):
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE_BYTES:
            raise Poison("line_too_long", f"a line of more than {MAX_LINE_BYTES} bytes")
        for line in lines:
            record = decode_line(line)
            if not _is_as_written(line, record):
                raise Poison("undecodable", f"a line of {count_text(len(line), 'byte')} that is not as it was written")
            yield record
    if rest:
        raise Poison("undecodable", "the last line has no end")


@cache
def _image_of() -> Callable[[bytes], bytes]:
    """A function to the text of a line's new image; made at first use: a function that only writes never imports it."""
    import msgspec

    imaged: Any = msgspec.defstruct("Imaged", [("new_image", msgspec.Raw)])
    decode = msgspec.json.Decoder(imaged).decode
    return lambda line: bytes(decode(line).new_image)


def _is_as_written(line: bytes, record: dict[str, Any]) -> bool:
    """Whether every reader sees this record in the line.

    A duplicate name, a byte-order mark, a number that no double holds: another reader would see another record than
    the one that was written. What we wrote is written again the same, but for a new image in DynamoDB's own spelling (a
    space between tokens, `\\u00e9` for é, `1.50` in a type of tomorrow): there the rest must be the same, and the image
    is looked at name by name.
    """
    try:
        if orjson.dumps(record) == line:
            return True
        image = _image_of()(line)
        if b"\r" in image or orjson.dumps(record | {"new_image": orjson.Fragment(image)}) != line:
            return False
        told = json.loads(image, object_pairs_hook=_once, parse_constant=_refuse)
        return bool(told == record["new_image"])
    except (orjson.JSONEncodeError, RecursionError, ValueError):
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name twice")
    return names


def _refuse(token: str) -> Any:
    raise ValueError("a number that JSON has no text for")


def inflate(body: bytes) -> Iterator[bytes]:
    """The data of every gzip member, in pieces of at most a megabyte. Raises Poison (`gzip`).

    One `decompress` call returns the first member only, hence the loop; it is given a megabyte at a time, since what it
    leaves over is copied at the end of every member, and a file has hundreds.
    """
    place = 0
    while place < len(body):
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not inflater.eof:
            given = b""
            if inflater.needs_input:
                given = body[place : place + _PIECE]
                if not given:
                    raise Poison("gzip", "the last member is cut off")
                place += len(given)
            try:
                piece = inflater.decompress(given, _PIECE)
            except _DAMAGED:
                raise Poison("gzip", "a member that is damaged, or bytes behind the last one") from None
            yield piece
        place -= len(inflater.unused_data)
