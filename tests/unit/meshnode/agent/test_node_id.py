from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from meshnode.agent.node_id import load_node_id
from meshnode.base.errors import ConfigError

ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"


def test_a_made_id_is_kept_and_found_again(tmp_path: Path) -> None:
    made = load_node_id("", str(tmp_path / "data"))
    assert str(uuid.UUID(made)) == made
    assert load_node_id("", str(tmp_path / "data")) == made
    assert (tmp_path / "data" / "node-id").read_text() == made


def test_a_configured_id_counts_and_is_kept(tmp_path: Path) -> None:
    load_node_id("", str(tmp_path))
    assert load_node_id(ID.upper(), str(tmp_path)) == ID
    assert load_node_id("", str(tmp_path)) == ID


def test_without_a_directory_each_start_has_another() -> None:
    assert load_node_id("", "") != load_node_id("", "")
    assert load_node_id(ID, "") == ID


@pytest.mark.parametrize("content", ["", "no id", ID + "0", "\n"])
def test_a_file_with_something_else_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "node-id").write_text(content)
    with pytest.raises(ConfigError, match="node-id holds no node id: delete it"):
        load_node_id("", str(tmp_path))


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir: can't write"):
        load_node_id("", str(tmp_path / "file" / "data"))


def test_a_node_id_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "node-id").mkdir()
    with pytest.raises(ConfigError, match="node-id can't be read: Is a directory"):
        load_node_id("", str(tmp_path))


def test_a_file_that_is_no_text_holds_no_id(tmp_path: Path) -> None:
    (tmp_path / "node-id").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="node-id holds no node id: delete it"):
        load_node_id("", str(tmp_path))
