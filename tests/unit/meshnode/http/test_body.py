"""Bodies of requests: what Go's decoder takes is taken, everything else is a 400 that names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.http.body import MAX_NUMBER_CHARS, Fields, decode_json, decode_object
from meshnode.http.errors import HttpError

PREFIX = "Request decode failed: "
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
READERS = ("text", "integer", "boolean", "duration", "strings", "text_map", "lists_map", "object", "objects")


def refusal(body: bytes) -> str:
    with pytest.raises(HttpError) as caught:
        decode_object(body)
    assert caught.value.status == 400
    text = str(caught.value)
    assert text.startswith(PREFIX)
    return text.removeprefix(PREFIX)


def reason(value: Any, reader: str, name: str = "Field", where: str = "") -> str:
    with pytest.raises(HttpError) as caught:
        getattr(Fields({name: value}, where), reader)(name)
    assert caught.value.status == 400
    return str(caught.value).removeprefix(PREFIX)


def test_names_are_found_without_regard_to_case_and_the_exact_spelling_wins() -> None:
    assert Fields({"naMe": "a"}).text("Name") == "a"
    assert Fields({"Name": "exact", "NAME": "other"}).text("Name") == "exact"
    assert Fields({"nAme": "first", "NAME": "last"}).text("Name") == "last"


def test_null_and_missing_are_the_zero_value_of_the_type() -> None:
    for fields in (Fields({}), Fields(dict.fromkeys(["x"]))):
        assert (fields.text("x"), fields.integer("x"), fields.boolean("x"), fields.duration("x")) == (
            "",
            0,
            False,
            0,
        )
        assert (fields.strings("x"), fields.text_map("x"), fields.lists_map("x")) == ((), {}, {})
        assert (fields.object("x"), fields.objects("x"), fields.has("x")) == (None, (), False)
    assert decode_object(b"null") == {}


def test_values_of_each_type_are_read() -> None:
    fields = Fields(decode_object(
        b'{"t":"x","i":3,"f":3.0,"b":true,"d":"1m30s","n":1500000000,"l":["a",null],"m":{"k":"v","n":null},'
        b'"h":{"X-A":["1","2"],"none":null},"o":{"in":1},"os":[{"a":1},null,{"a":2}]}'
    ))  # fmt: skip
    assert fields.text("T") == "x"
    assert (fields.integer("I"), fields.integer("F"), fields.boolean("B")) == (3, 3, True)
    assert (fields.duration("D"), fields.duration("N")) == (90.0, 1.5)
    assert fields.strings("L") == ("a", "")
    assert fields.text_map("M") == {"k": "v", "n": ""}
    assert fields.lists_map("H") == {"X-A": ("1", "2"), "none": ()}
    inner = fields.object("O")
    assert inner is not None
    assert (inner.integer("In"), inner.where) == (1, "O")
    assert [each.integer("a") for each in fields.objects("os")] == [1, 2]


@pytest.mark.parametrize(
    ("value", "reader", "wanted"),
    [
        (1, "text", "Field: expected string, got number"),
        ("1", "integer", "Field: expected number, got string"),
        (True, "integer", "Field: expected number, got boolean"),
        (1.5, "integer", "Field: expected a whole number of at most 64 bits"),
        (2**63, "integer", "Field: expected a whole number of at most 64 bits"),
        (1e400, "integer", "Field: expected a whole number of at most 64 bits"),
        (0, "boolean", "Field: expected boolean, got number"),
        (True, "duration", 'Field: expected duration ("10s", or nanoseconds), got boolean'),
        (1e300, "duration", "Field: is too long a duration: the longest is about 292 years"),
        ("x", "strings", "Field: expected list, got string"),
        (["a", 1], "strings", "Field[1]: expected string, got number"),
        ([], "text_map", "Field: expected object, got list"),
        ({"k": 1}, "text_map", "Field[k]: expected string, got number"),
        ({"k": "v"}, "lists_map", "Field.k: expected list, got string"),
        ({"k": [{}]}, "lists_map", "Field.k[0]: expected string, got object"),
        ("x", "object", "Field: expected object, got string"),
        ({}, "objects", "Field: expected list, got object"),
        ([{}, 1], "objects", "Field[1]: expected object, got number"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(value: Any, reader: str, wanted: str) -> None:
    assert reason(value, reader) == wanted


def test_a_duration_that_is_none_says_what_one_looks_like() -> None:
    assert reason("10", "duration").startswith('Field: "10" is not a duration: write numbers with units')


def test_the_path_of_an_inner_object_is_in_the_error() -> None:
    assert reason(1, "text", "Name", "Check") == "Check.Name: expected string, got number"
    inner = Fields({"Checks": [{"Name": 1}]}).objects("checks")[0]
    with pytest.raises(HttpError, match=r"checks\[0\]\.Name: expected string, got number"):
        inner.text("Name")


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"", "the body is empty, send JSON"),
        (b" \n", "the body is empty, send JSON"),
        (b"[]", "expected object, got list"),
        (b'"x"', "expected object, got string"),
        (b"{", "line 1, column 2"),
        (b'{"a":1} x', "line 1, column 9: Extra data"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b"[" * 100_000, "the JSON is nested too deeply"),
        (b"[" * 800 + b'"\\ud800"' + b"]" * 800, "the JSON is nested too deeply"),
        (
            b'{"a":' + b"1" * (MAX_NUMBER_CHARS + 1) + b"}",
            f"a number has more than {MAX_NUMBER_CHARS} digits",
        ),
        (b"\xef\xbb\xbf{}", "line 1, column 1"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_place(body: bytes, wanted: str) -> None:
    assert refusal(body).startswith(wanted)


def test_the_longest_number_that_is_looked_at_is_read() -> None:
    assert decode_json(b"1" * MAX_NUMBER_CHARS) == int("1" * MAX_NUMBER_CHARS)


def test_text_that_utf_8_can_not_hold_becomes_the_replacement_character() -> None:
    decoded = decode_object(
        b'{"half":"a\\ud800b","pair":"\\ud83d\\ude00","bytes":"\xff","\\udc00":["\\ud800"]}'
    )
    assert decoded == {"half": "a\ufffdb", "pair": "\U0001f600", "bytes": "\ufffd", "\ufffd": ["\ufffd"]}


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_end_in_an_object_or_in_a_400(body: bytes) -> None:
    outcome = outcome_of(lambda: decode_object(body))
    assert isinstance(outcome, dict) or outcome.startswith(PREFIX)


@given(JSON, st.sampled_from(READERS))
def test_any_value_is_read_or_refused_by_name(value: Any, reader: str) -> None:
    outcome = outcome_of(lambda: getattr(Fields({"Field": value}, "Outer"), reader)("field"))
    assert not isinstance(outcome, str) or reader == "text" or outcome.startswith(PREFIX + "Outer.field")


def outcome_of(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except HttpError as error:
        return str(error) if error.status == 400 else None
