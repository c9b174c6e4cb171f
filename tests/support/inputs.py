"""Every input that docs/GUARANTEES.md names: the legal ones, the odd ones that travel, and poison with its code."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final

from lakebound.record.attributes import Image
from lakebound.record.envelope import FIELDS
from tests.support.stream_records import ARN, NOW_MS, Record, stream_record


def nested(levels: int, kind: str) -> Image:
    """An attribute value of so many lists or maps within each other."""
    value: Image = {"S": "core"}
    for _ in range(levels):
        value = {"L": [value]} if kind == "L" else {"M": {"m": value}}
    return value


def brackets(count: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(count):
        value = [value]
    return value


LEGAL_VALUES: Final[dict[str, Image]] = {
    "number of 38 digits": {"N": "1234567890" * 3 + "12345678"},
    "number of 38 digits after the point": {"N": "0." + "1234567890" * 3 + "12345678"},
    "greatest number": {"N": "9." + "9" * 37 + "E+125"},
    "least number": {"N": "-9." + "9" * 37 + "E+125"},
    "smallest positive number": {"N": "1E-130"},
    "negative zero": {"N": "-0"},
    "1.0": {"N": "1.0"},
    "1E2": {"N": "1E2"},
    "1 followed by 38 zeros": {"N": "1" + "0" * 38},
    "empty string": {"S": ""},
    "NUL and control characters": {"S": "".join(map(chr, range(0x20))) + "\x7f\x80\x9f"},
    "U+FFFE and U+FFFF": {"S": "\ufffe\uffff"},
    "U+2028, U+2029, U+0085": {"S": "a\u2028b\u2029c\u0085d"},
    "CR LF": {"S": "a\r\nb\rc\nd"},
    "JSON look-alike": {"S": '{"N":"1"}\n{"schema":1,"key":"forged"}'},
    "formula": {"S": "=cmd|' /C calc'!A0"},
    "SQL": {"S": "'; DROP TABLE flights; --"},
    "expansion": {"S": "${jndi:ldap://x}%s{0}$(id)`id`"},
    "400 KB of NUL": {"S": "\0" * 400_000},
    "400 KB of é": {"S": "é" * 200_000},
    "surrogate pair": {"S": "\U0001f6eb\U0010ffff"},
    "empty binary": {"B": ""},
    "binary 0x00 and 0xFF": {"B": "AP8="},
    "400 KB of binary": {"B": b64encode(bytes(range(250)) * 1_600).decode()},
    "set of numbers of mixed magnitudes": {"NS": ["1E125", "-1E-130", "0", "10"]},
    "set of binary": {"BS": ["AA==", "/w=="]},
    "set of strings": {"SS": ["a", "A", "a "]},
    "set with an empty string": {"SS": ["", "vip"]},
    "set with an empty binary": {"BS": ["", "AA=="]},
    "set of an empty string": {"SS": [""]},
    "NULL true": {"NULL": True},
    "BOOL false": {"BOOL": False},
    "empty list": {"L": []},
    "empty map": {"M": {}},
    "list of every type": {"L": [{"S": ""}, {"N": "1"}, {"B": "AA=="}, {"NULL": True}, {"BOOL": True}, {"M": {}}]},
    "32 levels of lists": nested(32, "L"),
    "32 levels of maps": nested(32, "M"),
    "125 levels of lists": nested(125, "L"),
    "125 levels of maps": nested(125, "M"),
    "200,000 NULLs": {"L": [{"NULL": True}] * 200_000},
}

LEGAL_NAMES: Final[dict[str, str]] = {
    "dots": "a.b.c",
    "spaces": " a b ",
    "quotes": "\"'",
    "backticks": "`a`",
    "newline": "a\nb",
    "Spark's forbidden characters": ",;{}()=\t",
    "$ref": "$ref",
    "__proto__": "__proto__",
    "emoji": "\U0001f6eb",
    "right-to-left": "\u05d8\u05d9\u05e1\u05d4\u202e",
    "é composed": "\u00e9",
    "é decomposed": "e\u0301",
    "49,000 characters": "n" * 49_000,
    "50,000 characters": "n" * 50_000,
    "partition column dt": "dt",
    "partition column HH": "HH",
    "a type tag": "S",
    **{f"envelope field {name}": name for name, _, _ in FIELDS},
}

LEGAL_KEYS: Final[dict[str, Image]] = {
    "number": {"id": {"N": "42"}},
    "negative zero": {"id": {"N": "-0"}},
    "number of 38 digits": {"id": {"N": "9" * 38}},
    "binary": {"id": {"B": "AP8="}},
    "2,048 bytes of binary": {"id": {"B": b64encode(b"\xff" * 2_048).decode()}},
    "separators": {"id": {"S": "a|b#c:d=e\\f"}},
    "another case": {"id": {"S": "A"}},
    "trailing space": {"id": {"S": "a "}},
    "composed": {"id": {"S": "\u00e9"}},
    "decomposed": {"id": {"S": "e\u0301"}},
    "2,048 bytes": {"id": {"S": "x" * 2_048}},
    "2,048 bytes with a sort key of 1,024": {"pk": {"S": "x" * 2_048}, "sk": {"S": "y" * 1_024}},
    "sort key": {"pk": {"S": "a"}, "sk": {"N": "1.50"}},
    "names differing by case": {"Id": {"S": "a"}, "id": {"S": "a"}},
}

ODD_VALUES: Final[dict[str, Any]] = {
    "39 significant digits": {"N": "1" * 39},
    "1E126": {"N": "1E126"},
    "1E-131": {"N": "1E-131"},
    "NaN": {"N": "NaN"},
    "Infinity": {"N": "Infinity"},
    "number as a number": {"N": 1},
    "number as a fraction": {"N": 1.5},
    "string as a number": {"S": 1},
    "string as null": {"S": None},
    "binary that is not base64": {"B": "AA="},
    "binary with a line break": {"B": "AA==\n"},
    "binary as a number": {"B": 1},
    "set without members": {"SS": []},
    "set with a string twice": {"SS": ["a", "a"]},
    "set with a number twice as a value": {"NS": ["1", "1.0"]},
    "set with a binary twice": {"BS": ["AA==", "AA=="]},
    "set that is no list": {"NS": "12"},
    "set of numbers with a string": {"NS": ["1", "x"]},
    "NULL false": {"NULL": False},
    "NULL as 1": {"NULL": 1},
    "NULL as null": {"NULL": None},
    "BOOL as a string": {"BOOL": "true"},
    "BOOL as 1": {"BOOL": 1},
    "list that is none": {"L": {"S": "a"}},
    "map that is none": {"M": [{"S": "a"}]},
    "a tag of tomorrow": {"FLOAT32VECTOR": [0.5, -1e22, 3]},
    "a tag of tomorrow that holds items": {"T": {"rows": [{"id": {"S": "a"}}, None, True]}},
    "type tag in another case": {"s": "1"},
    "two type tags": {"S": "1", "N": "1"},
    "no type tag": {},
    "bare value": "1",
    "bare null": None,
    "bare list": [[], [{}]],
    "bare value in a list": {"L": ["1"]},
    "64 bits and a sign": {"N": [2**64 - 1, -(2**63)]},
    "the word null": {"S": "null null null null"},
    "251 levels of brackets": brackets(251),
}
"""What keeps to no type of DynamoDB and yet travels: it is not for us to judge what DynamoDB has stored."""

POISON_VALUES: Final[dict[str, tuple[str, Any]]] = {
    "lone surrogate": ("lone_surrogate", {"S": "a\ud800b"}),
    "lone surrogate in a set": ("lone_surrogate", {"SS": ["\udc00"]}),
    "lone surrogate in a nested name": ("lone_surrogate", {"M": {"\udfff": {"NULL": True}}}),
    "lone surrogate behind a tag of tomorrow": ("lone_surrogate", {"X": ["\ud800"]}),
    "bare NaN": ("bare_number", {"N": float("nan")}),
    "bare infinity behind a tag of tomorrow": ("bare_number", {"X": [{"y": [1.5, float("-inf")]}]}),
    "bare number of 65 bits": ("bare_number", {"N": 2**64}),
    "bare number of 2,000 digits": ("bare_number", {"X": [10**2000]}),
    "name of 50,001 characters behind a tag of tomorrow": ("name_too_long", {"X": [{"n" * 50_001: 1}]}),
    "name of 25,001 characters of two in Java": ("name_too_long", {"M": {"\U0001f6eb" * 25_001: {"S": ""}}}),
    "126 levels of lists": ("too_deep", nested(126, "L")),
    "126 levels of maps": ("too_deep", nested(126, "M")),
    "253 levels of brackets": ("too_deep", brackets(253)),
    "400 levels of lists": ("too_deep", nested(400, "L")),
    "400 levels of maps": ("too_deep", nested(400, "M")),
    "200,000 brackets": ("too_deep", {"L": brackets(200_000)}),
    "200,000 levels": ("too_deep", nested(200_000, "L")),
}

POISON_RECORDS: Final[dict[str, tuple[str, Callable[[], object]]]] = {
    "no record": ("record_shape", lambda: None),
    "a list": ("record_shape", lambda: [1]),
    "no body": ("record_shape", lambda: {"eventSourceARN": ARN, "eventID": "e", "eventName": "INSERT"}),
    "no event id": ("record_shape", lambda: stream_record(eventID=None)),
    "unknown event name": ("event_name", lambda: stream_record() | {"eventName": "UPSERT"}),
    "event name that is a list": ("event_name", lambda: stream_record() | {"eventName": ["INSERT"]}),
    "no event name": ("event_name", lambda: stream_record() | {"eventName": None}),
    "sequence number missing": ("sequence_number", lambda: changed(SequenceNumber=None)),
    "sequence number empty": ("sequence_number", lambda: changed(SequenceNumber="")),
    "sequence number not digits": ("sequence_number", lambda: changed(SequenceNumber="12a")),
    "sequence number of other digits": ("sequence_number", lambda: changed(SequenceNumber="\u0661\u0662")),
    "sequence number negative": ("sequence_number", lambda: changed(SequenceNumber="-1")),
    "sequence number a number": ("sequence_number", lambda: changed(SequenceNumber=12)),
    "sequence number of 41 digits": ("sequence_number", lambda: changed(SequenceNumber="1" * 41)),
    "time missing": ("creation_time", lambda: changed(ApproximateCreationDateTime=None)),
    "time negative": ("creation_time", lambda: stream_record(created=-1)),
    "time as text": ("creation_time", lambda: stream_record(created="1795000000")),
    "time as a truth value": ("creation_time", lambda: stream_record(created=True)),
    "time not a number": ("creation_time", lambda: stream_record(created=float("nan"))),
    "time infinite": ("creation_time", lambda: stream_record(created=float("inf"))),
    "time in milliseconds": ("creation_time", lambda: stream_record(created=NOW_MS)),
    "time over an hour ahead": ("creation_time", lambda: stream_record(created=NOW_MS / 1000 + 3_601)),
    "KEYS_ONLY": ("view_type", lambda: changed(StreamViewType="KEYS_ONLY", NewImage=None)),
    "KEYS_ONLY REMOVE": ("view_type", lambda: changed("REMOVE", StreamViewType="KEYS_ONLY", OldImage=None)),
    "OLD_IMAGE": ("view_type", lambda: changed("MODIFY", StreamViewType="OLD_IMAGE", NewImage=None)),
    "INSERT without an image": ("view_type", lambda: changed(NewImage=None)),
    "MODIFY with an empty image": ("keys_differ", lambda: stream_record(name="MODIFY", new={})),
    "MODIFY with an image that is none": ("image_shape", lambda: stream_record(name="MODIFY", new=[])),  # type: ignore[arg-type]
    "REMOVE with a new image": ("record_shape", lambda: changed("REMOVE", NewImage={"id": {"S": "k0"}})),
    "keys differing from the new image": ("keys_differ", lambda: stream_record(new={"id": {"S": "other"}})),
    "keys of another type": ("keys_differ", lambda: stream_record(keys={"id": {"N": "1"}}, new={"id": {"S": "1"}})),
    "no keys": ("keys", lambda: changed(Keys=None)),
    "empty keys": ("keys", lambda: changed(Keys={})),
    "keys that are a list": ("keys", lambda: changed(Keys=[{"S": "a"}])),
    "key of a type that is none": ("keys", lambda: stream_record(keys={"id": {"BOOL": True}})),
    "key of a tag of tomorrow": ("keys", lambda: stream_record(keys={"id": {"X": "a"}})),
    "key with two type tags": ("keys", lambda: stream_record(keys={"id": {"S": "a", "N": "1"}})),
    "key that is a string of another type": ("string", lambda: stream_record(keys={"id": {"S": 1}})),
    "key that is no number": ("number", lambda: stream_record(keys={"id": {"N": "NaN"}})),
    "key that is no base64": ("binary", lambda: stream_record(keys={"id": {"B": "AA="}})),
    "key missing in the new image": ("keys_differ", lambda: stream_record(new={"other": {"S": "a"}})),
    "key's type missing in the new image": ("keys_differ", lambda: stream_record(new={"id": {"X": "k0"}})),
    "new image that is text": ("image_shape", lambda: changed(NewImage="text")),
    "lone surrogate in a key": ("lone_surrogate", lambda: stream_record(keys={"id": {"S": "\ud800"}})),
    "lone surrogate in a key's name": ("lone_surrogate", lambda: stream_record(keys={"\ud800": {"S": "a"}})),
    "lone surrogate in the event id": ("lone_surrogate", lambda: stream_record(eventID="\ud800")),
    "another table": ("foreign_table", lambda: stream_record(eventSourceARN=ARN.replace("flights", "cars"))),
    "a longer table name": ("foreign_table", lambda: stream_record(eventSourceARN=ARN.replace("flights", "flights2"))),
    "a table ARN": ("foreign_table", lambda: stream_record(eventSourceARN=ARN.split("/stream")[0])),
    "no ARN": ("foreign_table", lambda: stream_record(eventSourceARN=None)),
    "an ARN that is a list": ("foreign_table", lambda: stream_record(eventSourceARN=[ARN])),
    "name of 50,001 characters": ("name_too_long", lambda: stream_record(attributes={"n" * 50_001: {"S": ""}})),
}


def changed(name: str = "INSERT", **body: Any) -> Record:
    """A record with other parts of its body; None takes a part out."""
    record = stream_record(name=name)
    record["dynamodb"] = {part: value for part, value in (record["dynamodb"] | body).items() if value is not None}
    return record


REFUSED_OLD_IMAGES: Final[dict[str, tuple[str, Any]]] = {
    **{told: (code, {"id": {"S": "k0"}, "attribute": value}) for told, (code, value) in POISON_VALUES.items()},
    "text": ("image_shape", "text"),
    "a list": ("image_shape", [{"S": "k0"}]),
    "another key": ("keys_differ", {"id": {"S": "other"}}),
    "no key": ("keys_differ", {"other": {"S": "k0"}}),
    "a key of another type": ("keys_differ", {"id": {"B": "k0"}}),
    "a key of no type": ("keys_differ", {"id": ["k0"]}),
    "an empty map": ("keys_differ", {}),
}

UNUSUAL_RECORDS: Final[dict[str, Record]] = {
    "REMOVE": stream_record(name="REMOVE"),
    "REMOVE without old image": changed("REMOVE", OldImage=None),
    "REMOVE of an unknown key": stream_record(name="REMOVE", keys={"id": {"S": "never seen before"}}),
    "INSERT of a known key": stream_record(name="INSERT", keys={"id": {"S": "known"}}, old={"id": {"S": "known"}}),
    "time zero": stream_record(created=0),
    "time an hour ahead": stream_record(created=NOW_MS / 1000 + 3_600),
    "time with a fraction": stream_record(created=1_795_000_000.5),
    "NEW_IMAGE view": changed(StreamViewType="NEW_IMAGE"),
    "sequence number of 40 digits": changed(SequenceNumber="9" * 40),
    "sequence number of one digit": changed(SequenceNumber="1"),
    "no view type": changed(StreamViewType=None),
    "no size": changed(SizeBytes=None),
}
