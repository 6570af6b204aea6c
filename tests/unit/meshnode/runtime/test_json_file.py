"""Records in files: whole or not there, and set aside when they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.runtime.json_file import MAX_RECORD_BYTES, load_record, write_record


def test_a_record_is_read_as_it_was_written_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "record.json"
    assert load_record(path) == {}
    write_record(path, {"a": [1]})
    write_record(path, {"a": [2]}, durable=False)
    assert load_record(path) == {"a": [2]}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"a":' + b"[" * 100_000])
def test_a_damaged_record_is_set_aside_with_a_line_in_the_log(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(text)
    assert load_record(path) == {}
    assert [file.name for file in tmp_path.iterdir()] == ["record.json.damaged"]
    assert "is set aside as record.json.damaged" in caplog.text


def test_a_record_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b'{"a":"' + b"x" * (MAX_RECORD_BYTES - 8) + b'"}')
    assert list(load_record(path)) == ["a"]
    path.write_bytes(b'{"a":"' + b"x" * (MAX_RECORD_BYTES - 7) + b'"}')
    assert load_record(path) == {}


def test_what_can_not_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MeshError, match="can't be written"):
        write_record(tmp_path / "file" / "record.json", {})
    (tmp_path / "record.json").mkdir()
    with pytest.raises(MeshError, match="can't be written"):
        write_record(tmp_path / "record.json", {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "record.json"]
