"""JSON with places: it agrees with the standard library, and explains what that refuses."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.hcl.json_text import parse_json
from meshnode.hcl.located import plain


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('{"a": 1,}', "1:8", 'a comma before "}": JSON has none there'),
        ("[1,]", "1:3", 'a comma before "]": JSON has none there'),
        ('{"a": 1 // x\n}', "1:9", "JSON has no comments: remove it, or write the file as .hcl"),
        ("# x\n{}", "1:1", "JSON has no comments"),
        ("{'a': 1}", "1:2", "expected a key in double quotes, got \"'\""),
        ('{a: 1}', "1:2", "expected a key in double quotes"),
        ('{"a" 1}', "1:6", 'expected ":" after the key, got'),
        ('{"a": yes}', "1:7", "yes is not a JSON value: strings are written in double quotes"),
        ('{"a": 1 "b": 2}', "1:9", 'expected "," or "}"'),
        ('{"a": 1', "1:8", 'expected "," or "}", got the end of the text'),
        ('{"a": "x', "1:7", "a string that never ends"),
        ('{"a": "\\q"}', "1:8", "\\q is not an escape of JSON"),
        ('{"a": "\\ud800"}', "1:8", "half of a surrogate pair"),
        ('{"a": "\t"}', "1:8", "a control character in a string: write it as \\u0009"),
        ("{} x", "1:4", "expected the end of the text"),
        ("", "1:1", "expected a value, got the end of the text"),
        ('{"a": 1,\n "a": 2}', "2:2", "a is set twice: line 1 has it too"),
        ('{"a": 01}', "1:8", 'expected "," or "}"'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_column(text: str, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_json(text, "x.json")
    assert str(caught.value).startswith(f"x.json:{where}: ")
    assert message in str(caught.value)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(_VALUES, st.booleans(), st.none() | st.integers(0, 4))
def test_what_the_standard_library_writes_is_read_alike(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert plain(parse_json(text, "x")) == value


@given(st.text('{}[]",:\\u0aA1-.eE truefalsn\n', max_size=40) | st.text(max_size=30))
def test_the_standard_library_accepts_what_is_accepted(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert plain(parse_json(text, "x")) == json.loads(text.removeprefix("\ufeff"))
