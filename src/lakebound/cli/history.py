"""Earlier values of items, out of a mirror of the batch files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lakebound.errors import Poison
from lakebound.formats.registry import reader_of
from lakebound.record.attributes import Image
from lakebound.transport.object_keys import FORMATS


class FolderHistory:
    """Port History of `verify` over a folder that `lakebound files mirror` keeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def images(self, keys: frozenset[str]) -> Iterator[tuple[str, Image]]:
        """Every image of these keys in the whole files of the folder, with the key."""
        for path in sorted(self._folder.rglob("*")):
            extension = next((ext for ext in FORMATS if path.name.endswith(f".{ext}")), None)
            if extension is not None and not path.name.startswith("."):
                yield from _images_in(path, extension, keys)


def _images_in(path: Path, extension: str, keys: frozenset[str]) -> Iterator[tuple[str, Image]]:
    try:
        for record in reader_of(extension)(path.read_bytes()):
            if record["key"] in keys:
                for image in (record["old_image"], record["new_image"]):
                    if image is not None:
                        yield record["key"], image
    except (OSError, Poison):
        return  # `files check` tells what is wrong: the records before that place were good, the rest proves nothing
