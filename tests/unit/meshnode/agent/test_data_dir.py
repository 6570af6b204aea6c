from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from meshnode.agent.data_dir import hold_data_dir, unusable
from meshnode.base.errors import ConfigError


def test_a_second_agent_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    with hold_data_dir(str(tmp_path)):
        with pytest.raises(ConfigError) as refused, hold_data_dir(str(tmp_path)):
            pytest.fail("two agents in one directory")
        assert str(refused.value) == (
            f"data_dir: another agent runs in {tmp_path}: stop it, or give this one a directory of its own"
        )
    with hold_data_dir(str(tmp_path)):
        pass


def test_an_agent_that_fails_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), hold_data_dir(str(tmp_path)):
        raise RuntimeError
    with hold_data_dir(str(tmp_path)):
        pass


def test_agents_without_a_directory_are_as_many_as_one_likes() -> None:
    with hold_data_dir(""), hold_data_dir(""):
        pass


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.ENOSPC, "No space left on device: free space on its file system"),
        (errno.EROFS, "Read-only file system: mount its file system for writing"),
        (errno.EACCES, "Permission denied: give the directory to the agent's user"),
    ],
)
def test_the_fix_is_that_of_the_fault(number: int, fix: str) -> None:
    error = unusable(Path("/d/node-id"), OSError(number, os.strerror(number)))
    assert str(error) == f"data_dir: can't write /d/node-id: {fix}"


def test_what_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"data_dir: can't write .*/file/d: Not a directory"),
        hold_data_dir(str(tmp_path / "file" / "d")),
    ):
        pass
