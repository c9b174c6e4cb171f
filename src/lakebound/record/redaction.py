"""Privacy before landing: attributes that are dropped or hashed before a record goes anywhere.

A path names an attribute: `email`, `address.street`. A dot goes into a map; a list on the way is passed through, so
`lines.serial` is the serial of every line. `\\.` is a dot in a name, `\\,` a comma, `\\\\` a backslash.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from lakebound.counts import count_text
from lakebound.errors import Misconfigured, Poison
from lakebound.record.ascii_json import ascii_json
from lakebound.record.attributes import Image, canonical_item, canonical_key, is_legal, parse_image
from lakebound.record.stream_records import ChangeEvent

LEAST_KEY_BYTES: Final = 16
_IMAGES: Final = ("Keys", "NewImage", "OldImage")
_WRAPPINGS: Final = ("Item", *_IMAGES)
_PLAIN: Final = frozenset(("S", "N", "B", "NULL", "BOOL", "SS", "NS", "BS"))
"""Types that have nothing inside which a path could name."""

Path = tuple[str, ...]
_Tree = dict[str, Any]
"""Attribute name to what happens to it: _DROP, _HASH, or the tree of what happens inside."""

_DROP: Final = "drop"
_HASH: Final = "hash"


def parse_paths(setting: str, text: str) -> tuple[Path, ...]:
    """The paths of a setting's text, separated by commas. Raises Misconfigured with the setting's name."""
    paths: list[Path] = []
    for part in _split(text, ","):
        if part.strip():
            names = tuple(re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL) for name in _split(part.strip(), "."))
            if not all(names):
                raise Misconfigured(
                    f"{setting} has the path {part.strip()!r}", hint=r"Write names between dots; \. is a dot in a name"
                )
            paths.append(names)
    return tuple(paths)


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that no backslash stands before; their backslashes stay."""
    pieces = re.findall(r"\\.|[^\\]|\\$", text, flags=re.DOTALL)
    parts = [""]
    for piece in pieces:
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


@dataclass(frozen=True, slots=True)
class Redaction:
    """What happens to whose values. Immutable; made once, at start."""

    tree: Mapping[str, Any]
    key: bytes

    @staticmethod
    def of(drop: Sequence[Path], hashed: Sequence[Path], key: bytes) -> Redaction:
        """Raises Misconfigured for paths that contradict each other and for a key too short to hide anything."""
        tree: _Tree = {}
        for paths, action in ((drop, _DROP), (hashed, _HASH)):
            for path in paths:
                _plant(tree, path, action)
        if hashed and len(key) < LEAST_KEY_BYTES:
            raise Misconfigured(
                f"The key of HASH_ATTRIBUTES has {count_text(len(key), 'byte')}",
                hint=f"Use at least {LEAST_KEY_BYTES} random bytes",
            )
        return Redaction(tree, key)

    def refuse_keys(self, names: Iterable[str]) -> None:
        """Raises Misconfigured when a key attribute would be dropped: items without it could not be told apart."""
        for name in names:
            if self.tree.get(name) == _DROP:
                raise Misconfigured(
                    f"DROP_ATTRIBUTES names the key attribute {name!r}", hint="Name it in HASH_ATTRIBUTES instead"
                )

    def event(self, event: ChangeEvent) -> ChangeEvent:
        """The change event as it may land, its `key` of the hashed key attributes."""
        self.refuse_keys(event.keys)
        keys = self._image(event.keys)
        return event._replace(
            keys=keys,
            key=canonical_key(keys),
            new_image=None if event.new_image is None else self._image(parse_image(event.new_image)),
            old_image=None if event.old_image is None else self._image(event.old_image),
        )

    def item(self, item: Image) -> Image:
        """An item as it may land."""
        return self._image(item)

    def record(self, record: object) -> object:
        """A poison stream record as it may go to quarantine. Total: what cannot be walked is hashed whole."""
        body = record.get("dynamodb") if type(record) is dict else None
        if type(record) is not dict or type(body) is not dict:
            return record
        images = {name: self._image(body[name]) for name in _IMAGES if type(body.get(name)) is dict}
        return {**record, "dynamodb": {**body, **images}}

    def base_value(self, value: object) -> object:
        """A poison item of a scan page or line of an export as it may go to quarantine. Total.

        Whether `Item` or `Keys` is an attribute or an export's wrapping is not asked: both are redacted.
        """
        if type(value) is tuple:
            return tuple(self.base_value(part) for part in value)
        if type(value) is not dict:
            return value
        images = {name: self._image(value[name]) for name in _WRAPPINGS if type(value.get(name)) is dict}
        return self._image({**value, **images})

    def hashes_any(self, names: Iterable[str]) -> bool:
        """Whether one of these attributes lands as its hash."""
        return any(self.tree.get(name) == _HASH for name in names)

    def _image(self, image: Image) -> Image:
        return self._map(image, self.tree)

    def _map(self, attributes: Image, tree: Mapping[str, Any]) -> Image:
        kept: Image = {}
        for name, value in attributes.items():
            action = tree.get(name) if type(name) is str else None
            if action is None:
                kept[name] = value
            elif action is _HASH:
                kept[name] = self._hashed(value)
            elif action is not _DROP:
                try:
                    kept[name] = self._inside(value, action)
                except RecursionError:
                    kept[name] = self._hashed(value)
        return kept

    def _inside(self, value: Any, tree: Mapping[str, Any]) -> Any:
        if type(value) is dict and len(value) == 1:
            ((tag, inner),) = value.items()
            if tag == "M" and type(inner) is dict:
                return {tag: self._map(inner, tree)}
            if tag == "L" and type(inner) is list:
                return {tag: [self._inside(member, tree) for member in inner]}
            if tag in _PLAIN and is_legal(value):
                return value
        # A tag of tomorrow, or a forged shape: nobody can tell where in it the path leads.
        return self._hashed(value)

    def _hashed(self, value: Any) -> dict[str, Any]:
        if not self.key:
            # Nothing is to be hashed: only a forged value on the way to a dropped one comes here, and is dropped.
            return {"NULL": True}
        return {"S": hmac.new(self.key, _text(value).encode("utf-8", "surrogatepass"), "sha256").hexdigest()}


def _plant(tree: _Tree, path: Path, action: str) -> None:
    *parents, last = path
    inside: Any = tree
    for name in parents:
        inside = inside.setdefault(name, {}) if type(inside) is dict else None
    if type(inside) is not dict or inside.get(last, action) != action:
        raise Misconfigured(
            f"DROP_ATTRIBUTES and HASH_ATTRIBUTES disagree about {'.'.join(path)!r}",
            hint="Name an attribute in one of them only, and nothing inside it",
        )
    inside[last] = action


def _text(value: Any) -> str:
    """`T:canonical value`, so that values which DynamoDB calls equal have one hash and a hashed column still joins.

    What keeps to none of DynamoDB's types is `?:` and its JSON with names sorted.
    """
    try:
        canonical = orjson.loads(canonical_item({"v": value}))["v"]
        if not is_legal(value):
            return f"?:{orjson.dumps(canonical).decode()}"
        ((tag, inner),) = canonical.items()
        return f"{tag}:{inner if tag in ('S', 'N', 'B') else orjson.dumps(inner).decode()}"
    except (Poison, RecursionError, orjson.JSONDecodeError):
        return f"?:{ascii_json(value, sort_names=True).decode('ascii')}"
