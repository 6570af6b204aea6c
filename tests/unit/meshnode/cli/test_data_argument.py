from __future__ import annotations

import io
from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.cli import data_argument
from meshnode.cli.data_argument import read_argument, read_file


@pytest.mark.parametrize(
    ("text", "data"), [("", b""), ("ü", b"\xc3\xbc"), ("\udcff", b"\xff"), ("--", b"--"), ("a@b", b"a@b")]
)
def test_a_text_is_its_own_data(text: str, data: bytes) -> None:
    assert read_argument(text) == data


def test_an_at_sign_names_a_file_and_a_dash_is_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_bytes(b"\x00\n")
    assert read_argument(f"@{tmp_path / 'data'}") == b"\x00\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    assert read_argument("-") == b"\xff\n"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such", "Failed to read file: '/no/such': No such file or directory"),
        ("/", "Failed to read file: '/': Is a directory"),
        ("a\0b", "the name holds a NUL byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(path: str, words: str) -> None:
    with pytest.raises(MeshError) as caught:
        read_file(path)
    assert words in str(caught.value)


def test_more_than_is_allowed_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_argument, "MAX_DATA_BYTES", 3)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"123")))
    assert read_argument("-") == b"123"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1234")))
    with pytest.raises(MeshError, match="standard input: more than 3 bytes are not taken: split the data"):
        read_argument("-")
