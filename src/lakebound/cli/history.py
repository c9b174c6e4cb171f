"""Earlier values of items, out of a mirror of the batch files."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from lakebound.attributes import Image
from lakebound.envelope import decode_line
from lakebound.errors import Poison


class FolderHistory:
    """Port History of `verify` over a folder that `lakebound files mirror` keeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def images(self, keys: frozenset[str]) -> Iterator[tuple[str, Image]]:
        """Every image of these keys in the whole files of the folder, with the key."""
        for path in sorted(self._folder.rglob("*.ndjson.gz")):
            if path.name.startswith("."):
                continue
            yield from _images_in(path, keys)


def _images_in(path: Path, keys: frozenset[str]) -> Iterator[tuple[str, Image]]:
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                try:
                    record = decode_line(line)
                except Poison:
                    continue  # `files check` tells of broken lines; what cannot be read proves nothing here
                if record["key"] in keys:
                    for image in (record["old_image"], record["new_image"]):
                        if image is not None:
                            yield record["key"], image
    except (OSError, EOFError):
        return  # cut short: the lines before the end were good, the rest proves nothing
