"""Whatever way a person types a key, it is recognised as the key it is, and silver's own text as itself first."""

import json
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakebound.operate.typed_key import KeyQuery, possible_keys, schema_of
from lakebound.record.attributes import Image, canonical_key

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=6)
VALUES = st.one_of(
    st.builds(lambda text: {"S": text}, st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)),
    st.builds(lambda number: {"N": str(number)}, st.integers(-(10**20), 10**20)),
    st.builds(
        lambda number: {"N": str(number)},
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-1_000_000, max_value=1_000_000),
    ),
    st.builds(lambda body: {"B": b64encode(body).decode()}, st.binary(min_size=1, max_size=12)),
)
KEYS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=2)


def plain(keys: Image) -> dict[str, str]:
    return {name: next(iter(value.values())) for name, value in keys.items()}


@given(KEYS)
@example({"0": {"S": " "}, "00": {"S": "0"}})
def test_every_key_is_found_in_every_spelling(keys: Image) -> None:
    schema, key, values = schema_of(keys), canonical_key(keys), plain(keys)
    for text in [
        key,
        json.dumps(keys),
        json.dumps(values),
        json.dumps(keys, ensure_ascii=False, indent=1),
        ",".join(f"{name}={value}" for name, value in values.items()),
        "| ".join(f"{name}={value}" for name, value in reversed(values.items())),
        ",".join(f"{name}={next(iter(keys[name]))}:{value}" for name, value in values.items()),
        ",".join(values.values()),
    ]:
        assert key in possible_keys(text, schema), text


@given(KEYS)
def test_silvers_own_key_means_itself_first(keys: Image) -> None:
    assert possible_keys(canonical_key(keys), schema_of(keys))[0] == canonical_key(keys)


@given(st.text(max_size=40), KEYS)
def test_no_text_is_an_error(text: str, keys: Image) -> None:
    wanted = KeyQuery(text)
    wanted.meets(canonical_key(keys), keys)
    assert isinstance(wanted.key, str)


ONE, TWO = (("id", "S"),), (("airline", "S"), ("number", "N"))


@pytest.mark.parametrize(
    ("text", "schema", "meant"),
    [
        ("OP1#JFK", ONE, "id=S:OP1#JFK"),
        ("id=OP1#JFK", ONE, "id=S:OP1#JFK"),
        ("1545", (("n", "N"),), "n=N:1545"),
        ("1545.0", (("n", "N"),), "n=N:1545"),
        ('{"id": 7}', ONE, "id=S:7"),
        ('{"number": 1.50, "airline": "UA"}', TWO, "airline=S:UA|number=N:1.5"),
        ('{"number": 12345678901234567890123456789012345678, "airline": "UA"}', TWO,
         "airline=S:UA|number=N:12345678901234567890123456789012345678"),
        ("airline=UA,number=1545", TWO, "airline=S:UA|number=N:1545"),
        ("number=1545, airline=UA", TWO, "airline=S:UA|number=N:1545"),
        ("number=N:1545|airline=S:UA", TWO, "airline=S:UA|number=N:1545"),
        ("UA#1545", TWO, "airline=S:UA|number=N:1545"),
        ("UA 1545", TWO, "airline=S:UA|number=N:1545"),
        ("airline=A,number=B,number=7", TWO, "airline=S:A,number=B|number=N:7"),
        ("aGk=", (("b", "B"),), "b=B:aGk="),
        ("hi!", (("b", "B"),), "b=B:aGkh"),
    ],
)  # fmt: skip
def test_what_people_type(text: str, schema: tuple[tuple[str, str], ...], meant: str) -> None:
    assert possible_keys(text, schema)[0] == meant


@pytest.mark.parametrize(
    "text", ["number=1545, airline=UA", "airline='UA' number=1545", ' airline = "UA" ; number = 1545 ', "UA, 1545"]
)
def test_what_stands_around_a_value_is_tried_without_it(text: str) -> None:
    assert "airline=S:UA|number=N:1545" in possible_keys(text, TWO)


@pytest.mark.parametrize("text", ["UA", "airline=UA", "number=x,airline=UA", "[]", "{}", "", '{"airline":"UA"}'])
def test_half_a_key_or_none_means_no_key(text: str) -> None:
    assert possible_keys(text, TWO) == []


def test_of_half_a_key_the_whole_ones_are_told_that_have_it() -> None:
    for text in ("UA", "airline=UA", "number=1545.0"):
        wanted = KeyQuery(text)
        for airline, number in (("UA", "1545"), ("B6", "1")):
            keys = {"airline": {"S": airline}, "number": {"N": number}}
            assert not wanted.meets(canonical_key(keys), keys)
        assert list(wanted.begun) == ["airline=S:UA|number=N:1545"]


def test_a_table_made_again_with_another_key_is_searched_by_both() -> None:
    wanted = KeyQuery("7")
    assert wanted.meets("id=S:7", {"id": {"S": "7"}})
    assert wanted.meets("n=N:7", {"n": {"N": "7"}})
    assert wanted.looked_for == ["id=S:7", "n=N:7"]


def test_of_two_keys_that_a_text_may_mean_the_likelier_is_told() -> None:
    wanted = KeyQuery("id=S:a")
    for value in ("S:a", "id=S:a", "a"):
        wanted.meets(canonical_key({"id": {"S": value}}), {"id": {"S": value}})
    assert (wanted.key, len(wanted.found)) == ("id=S:a", 3)
