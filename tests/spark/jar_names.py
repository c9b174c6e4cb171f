"""Every name that Delta's and Spark's own code can bring into a MERGE, out of the jars that this Spark loaded.

Nobody remembers such a list, and the next version of Delta has another. A column that Delta adds to its plans bears a
name that stands in its class files: as a string constant, or as the field of a case class that it made a table of.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlparse
from zipfile import ZipFile

from pyspark.sql import SparkSession

from lakebound.record.column_names import folded

_JARS: Final = {
    # One class of each jar, by which it is found, and the classes looked at in it.
    "org.apache.spark.sql.delta.DeltaLog": r"org/apache/spark/sql/delta/",
    "org.apache.spark.sql.execution.datasources.FileFormat": r"org/apache/spark/sql/execution/datasources/",
    "org.apache.spark.sql.catalyst.expressions.FileSourceMetadataAttribute": (
        r"org/apache/spark/sql/catalyst/(analysis|util|plans/logical|expressions/[^/]*(Metadata|Named|Attribute))"
    ),
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# Sizes in bytes of the entries of a class file's constant pool, by tag (Java Virtual Machine Specification, 4.4).
_SIZES: Final = {
    3: 5,
    4: 5,
    5: 9,
    6: 9,
    7: 3,
    8: 3,
    9: 5,
    10: 5,
    11: 5,
    12: 5,
    15: 4,
    16: 3,
    17: 5,
    18: 5,
    19: 3,
    20: 3,
}
_TEXT, _STRING, _TWO_PLACES = 1, 8, (5, 6)


def names_in_the_jars(spark: SparkSession) -> list[str]:
    """Identifiers among the constants and fields of the classes, one for all that differ only by case, in order."""
    found: dict[str, str] = {}
    for class_name, classes in _JARS.items():
        with ZipFile(_jar_of(spark, class_name)) as jar:
            for entry in jar.namelist():
                if entry.endswith(".class") and re.match(classes, entry):
                    for name in filter(_IDENTIFIER.fullmatch, names_of_class(jar.read(entry))):
                        found.setdefault(folded(name), name)
    return [found[name] for name in sorted(found)]


def _jar_of(spark: SparkSession, class_name: str) -> Path:
    assert spark._jvm is not None
    loader = spark._jvm.java.lang.Thread.currentThread().getContextClassLoader()
    where = loader.loadClass(class_name).getProtectionDomain().getCodeSource().getLocation()
    return Path(unquote(urlparse(where.toString()).path))


def names_of_class(data: bytes) -> Iterator[str]:
    """The string constants of a class file and the names of its fields."""
    texts: dict[int, str] = {}
    strings: list[int] = []
    (entries,) = struct.unpack_from(">H", data, 8)
    place, at = 1, 10
    while place < entries:
        tag = data[at]
        if tag == _TEXT:
            (length,) = struct.unpack_from(">H", data, at + 1)
            texts[place] = data[at + 3 : at + 3 + length].decode("utf-8", "replace")
            at += 3 + length
        else:
            if tag == _STRING:
                strings += struct.unpack_from(">H", data, at + 1)
            at += _SIZES[tag]
        place += 2 if tag in _TWO_PLACES else 1
    yield from (texts[number] for number in strings)
    (interfaces,) = struct.unpack_from(">H", data, at + 6)
    at += 8 + 2 * interfaces
    (fields,) = struct.unpack_from(">H", data, at)
    at += 2
    for _ in range(fields):
        _, name, _, attributes = struct.unpack_from(">4H", data, at)
        yield texts[name]
        at += 8
        for _ in range(attributes):
            (length,) = struct.unpack_from(">I", data, at + 2)
            at += 6 + length
