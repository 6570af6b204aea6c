from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.runtime.directory_lock import DirectoryInUseError, take_directory

#: Takes the directory, says so, and keeps it until it is ended.
HOLDER = """
import sys
from pathlib import Path
from meshnode.runtime.directory_lock import take_directory
take_directory(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
"""


def test_a_directory_is_made_for_its_owner_alone_and_nothing_is_put_into_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "data"
    descriptor = take_directory(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert list(path.iterdir()) == []
    os.close(descriptor)


def test_it_is_taken_once_until_it_is_given_back(tmp_path: Path) -> None:
    first = take_directory(tmp_path)
    with pytest.raises(DirectoryInUseError):
        take_directory(tmp_path)
    os.close(first)
    os.close(take_directory(tmp_path))


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"taken\n"
        with pytest.raises(DirectoryInUseError):
            take_directory(tmp_path)
        process.kill()
    os.close(take_directory(tmp_path))


def test_programs_that_it_starts_do_not_inherit_the_lock(tmp_path: Path) -> None:
    descriptor = take_directory(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        os.close(descriptor)
        os.close(take_directory(tmp_path))
        child.kill()


def test_a_file_system_without_locks_is_taken_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("meshnode.runtime.directory_lock.fcntl.flock", refuse)
    os.close(take_directory(tmp_path))


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        take_directory(tmp_path / "file")
