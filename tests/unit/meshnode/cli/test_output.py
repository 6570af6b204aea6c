from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagSet
from meshnode.cli.output import FormatFlag, go_json, labelled, write_line


@pytest.mark.parametrize(
    ("args", "as_json"), [([], False), (["-format=pretty"], False), (["-format=json"], True)]
)
def test_the_format_is_pretty_unless_json_is_asked_for(args: list[str], as_json: bool) -> None:
    flags = FlagSet("x", "Usage: x")
    output = FormatFlag(flags)
    assert output.is_json(flags.parse(args)) is as_json
    with pytest.raises(ConfigError, match="-format: 'JSON' is not a format: write pretty or json"):
        output.is_json(flags.parse(["-format=JSON"]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "[]"),
        ([{"a": 1}], '[\n\t{\n\t\t"a": 1\n\t}\n]'),
        ("<ü&\u2028>", '"\\u003cü\\u0026\\u2028\\u003e"'),
    ],
)
def test_json_is_escaped_and_indented_as_go_does(value: Any, text: str) -> None:
    assert go_json(value, "\t") == text


def test_texts_stand_six_spaces_after_the_widest_label() -> None:
    assert labelled([("a", "1"), ("long", ""), ("bb", "2")]) == "a         1\nlong      \nbb        2"
    assert labelled([]) == ""


@pytest.mark.parametrize(
    ("data", "out"),
    [(b"\xff\x00", b"\xff\x00\n"), ("ü", b"\xc3\xbc\n"), ("a\udcffb", b"a\xffb\n"), ("\ud800", b"?\n")],
)
def test_a_line_is_written_whatever_is_in_it(
    capfdbinary: pytest.CaptureFixture[bytes], data: bytes | str, out: bytes
) -> None:
    write_line(data)
    assert capfdbinary.readouterr().out == out


def test_lines_stay_in_order_with_what_is_printed() -> None:
    code = "from meshnode.cli.output import write_line; print('a'); write_line(b'b'); print('c')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    assert done.stdout == b"a\nb\nc\n"
