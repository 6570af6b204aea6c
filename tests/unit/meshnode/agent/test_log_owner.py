"""Who keeps the log is remembered, and a damaged memory is not taken for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshnode.agent.log_owner import LogOwner, OwnerMemory
from meshnode.base.errors import ConfigError

OWNER = LogOwner("00000001-0000-4000-8000-000000000000", "server1")


def test_what_was_noted_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log-owner"
    assert OwnerMemory(path).owner is None
    OwnerMemory(path).note(OWNER)
    assert OwnerMemory(path).owner == OWNER
    OwnerMemory(path).note(LogOwner("x", "server2"))
    assert OwnerMemory(path).owner == LogOwner("x", "server2")
    assert [file.name for file in tmp_path.iterdir()] == ["log-owner"]


def test_without_a_directory_it_is_remembered_as_long_as_the_process_lives() -> None:
    memory = OwnerMemory(None)
    memory.note(OWNER)
    assert memory.owner == OWNER


def test_a_disk_that_takes_nothing_is_no_reason_to_forget(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = OwnerMemory(tmp_path / "gone" / "log-owner")
    memory.note(OWNER)
    assert memory.owner == OWNER
    assert "log-owner can't be written: No such file or directory" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "a"}', "null"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log-owner"
    path.write_text(text)
    with pytest.raises(ConfigError, match="log-owner doesn't name the server that keeps the log: delete it"):
        OwnerMemory(path)
