"""HCL 1: the idioms of Consul's documentation, the place of every mistake, and no other way to fail."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import ConfigError
from meshnode.hcl.located import Plain, plain
from meshnode.hcl.parse import parse_hcl
from meshnode.hcl.scanner import MAX_CONFIG_CHARS, MAX_DEPTH, MAX_NUMBER_CHARS


def read(text: str) -> Plain:
    return plain(parse_hcl(text, "x.hcl"))


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_hcl(text, "x.hcl")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ports { https = 10443 }", {"ports": {"https": 10443}}),
        ("ports = { https = 10443 }", {"ports": {"https": 10443}}),
        ('service { name = "a" }\nservice { name = "b" }', {"service": [{"name": "a"}, {"name": "b"}]}),
        ('services = [{ name = "a" }, { name = "b" }]', {"services": [{"name": "a"}, {"name": "b"}]}),
        ('service "web" { port = 80 }', {"service": {"web": {"port": 80}}}),
        ('a "b" "c" { d = 1 }', {"a": {"b": {"c": {"d": 1}}}}),
        (
            'service { checks = [{ args = ["a", "b",] }, { id = "y" }] }',
            {"service": {"checks": [{"args": ["a", "b"]}, {"id": "y"}]}},
        ),
        ('retry_join = ["a",\n  "b",\n]', {"retry_join": ["a", "b"]}),
        ('"node_meta" { "a b" = "c" }', {"node_meta": {"a b": "c"}}),
        ("a = 1, b = 2", {"a": 1, "b": 2}),
        ("a { b = 1 c = 2 }", {"a": {"b": 1, "c": 2}}),
        ("a = []\nb = {}\nc {}", {"a": [], "b": {}, "c": {}}),
        ("# one\n// two\n/* three\n */ui = true # four", {"ui": True}),
        ("a = true\nb = false", {"a": True, "b": False}),
        ("a = -1\nb = 1.5\nc = 2e3\nd = 0x1F\ne = 0755\nf = -0x10",
         {"a": -1, "b": 1.5, "c": 2000.0, "d": 31, "e": 493, "f": -16}),
        (r'x = "a\"b\\c\n\t\u00e9\x41\101\U0001F600"', {"x": 'a"b\\c\n\t\u00e9AA\U0001f600'}),
        ('x = "${foo("bar")} $5"', {"x": '${foo("bar")} $5'}),
        ('bind_addr = "{{ GetInterfaceIP \\"eth0\\" }}"', {"bind_addr": '{{ GetInterfaceIP "eth0" }}'}),
        ("x = <<EOF\none\n  two\nEOF\ny = 1", {"x": "one\n  two\n", "y": 1}),
        ("x = <<-EOF\n    one\n      two\n\n    EOF\n", {"x": "one\n  two\n\n"}),
        ('a.b-c_d = "x"', {"a.b-c_d": "x"}),
        ('{"ports": {"http": 1}}', {"ports": {"http": 1}}),
        ("\ufeffa = 1", {"a": 1}),
        ("", {}),
        ("  \n# nothing\n", {}),
        ("a = 1\r\nb = 2\r\n", {"a": 1, "b": 2}),
    ],
)  # fmt: skip
def test_the_idioms_of_consul_are_read(text: str, value: Plain) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("ports { https = 10443", "1:22", 'expected "}", got the end of the text'),
        ("a = ", "1:5", "expected a value, got the end of the text"),
        ("a = 1\nb = foo", "2:5", "foo is not a value: strings are written in double quotes"),
        ("a = 1\n  = 2", "2:3", "expected a key, got '='"),
        ("a", "1:2", 'expected "=" or "{" after a'),
        ('a = "x', "1:5", "a string that never ends"),
        ('a = "x\ny"', "1:5", "a string that never ends"),
        (r'a = "\q"', "1:6", r"\q is not an escape of HCL"),
        (r'a = "\ud800"', "1:6", "is not a character"),
        ("a = [1 2]", "1:8", 'expected "," or "]"'),
        ("a = [1", "1:7", 'expected "," or "]"'),
        ("interval = 10s", "1:12", "10s is not a number: strings are written in double quotes"),
        ("a = 08", "1:5", "08 is not a number"),
        ("a = 1e999", "1:5", "too large a number"),
        ("a = <<EOF\nx\n", "1:5", "a heredoc that never ends: no line holds just EOF"),
        ("a = << EOF\nx\nEOF", "1:5", "expected a heredoc"),
        ("/* a = 1", "1:1", "a comment that never ends"),
        ('a = "${x"', "1:6", "${ that never ends"),
        ("a = 1\na = 2", "2:1", "a is set twice: line 1 has it too"),
        ("a { }\na = 2", "2:1", "a is set twice: line 1 has it too"),
        ("}", "1:1", "expected a key, got '}'"),
        ("a = -", "1:5", "expected a number"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_column(text: str, where: str, message: str) -> None:
    assert complaint(text).startswith(f"x.hcl:{where}: ")
    assert message in complaint(text)


@pytest.mark.parametrize("text", ["encrypt = {}", "encrypt {} = 1", "{}", '{{"encrypt": {}}}'])
@pytest.mark.parametrize(
    "secret", ["pUqJrVyVRj5jsiYEkM/tFQ==", "abcdefgh/+jsiYEkM/tFQ==", "3f7a2c1e-0001-4a6b-8c9d-000000000001"]
)
def test_a_secret_without_its_quotes_is_not_shown(text: str, secret: str) -> None:
    assert not any(part in complaint(text.format(secret)) for part in (secret[:8], secret[-8:]))


def test_every_value_knows_where_it_stands() -> None:
    node = parse_hcl('a = 1\nb {\n  c = "x"\n}\n', "x.hcl")
    assert isinstance(node.value, dict)
    inner = node.value["b"].value
    assert isinstance(inner, dict)
    assert (str(inner["c"].origin), str(inner["c"].key_origin)) == ("x.hcl:3:7", "x.hcl:3:3")


def test_nesting_is_read_to_the_limit_and_refused_one_past_it() -> None:
    depth = MAX_DEPTH - 1
    assert read("a = " + "[" * depth + "]" * depth) is not None
    assert f"nested deeper than {MAX_DEPTH} levels" in complaint(
        "a = " + "[" * (depth + 1) + "]" * (depth + 1)
    )


def test_a_text_is_read_to_the_limit_and_refused_one_past_it() -> None:
    assert read("#" * MAX_CONFIG_CHARS) == {}
    assert f"longer than {MAX_CONFIG_CHARS} characters" in complaint("#" * (MAX_CONFIG_CHARS + 1))


def test_a_number_is_read_to_the_limit_and_refused_one_past_it() -> None:
    assert read("a = " + "9" * MAX_NUMBER_CHARS) == {"a": int("9" * MAX_NUMBER_CHARS)}
    assert "a number with more than" in complaint("a = " + "9" * (MAX_NUMBER_CHARS + 1))


_KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
_SCALARS = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)


def write(value: Plain) -> str:
    """The same value in HCL; ``$`` is written as an escape, since ``${`` begins an interpolation."""
    if isinstance(value, dict):
        return "{" + "\n".join(f"{key} = {write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(write(item) for item in value) + ",]" if value else "[]"
    if isinstance(value, str):
        escaped = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
        return f'"{escaped}"'
    return json.dumps(value)


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_what_is_written_is_read_again(value: dict[str, Plain]) -> None:
    assert read("\n".join(f"{key} = {write(item)}" for key, item in value.items())) == value


@given(st.dictionaries(_KEYS, _VALUES, max_size=5))
def test_json_is_hcl_too(value: dict[str, Plain]) -> None:
    assert read(json.dumps(value)) == value


@given(st.text(max_size=60) | st.text('ab={}[]",\\$<E\n #/*-0x1.e', max_size=60))
def test_any_text_ends_in_an_object_or_in_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(read(text), dict | list | str | int | float | None)
