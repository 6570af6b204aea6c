"""The snapshot on disk."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.gossip.serf.snapshot import MIN_COMPACT_BYTES, Snapshot
from meshnode.runtime.snapshot_file import RECOVERY_INTERVAL, SnapshotFile

HERE = Address("10.0.0.1", 8301)
STATE = Snapshot({"a": HERE}, 5, 6, 7)
LOGGER = logging.getLogger("test")


def test_lines_are_there_at_once_and_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "serf" / "local.snapshot"
    file = SnapshotFile(path, LOGGER)
    assert file.open(rejoin_after_leave=False) == Snapshot()
    file.append("alive: a 10.0.0.1:8301", lambda: STATE, 0.0)
    file.append("clock: 5", lambda: STATE, 0.0)
    assert path.read_text() == "alive: a 10.0.0.1:8301\nclock: 5\n"
    file.close()
    again = SnapshotFile(path, LOGGER)
    assert again.open(rejoin_after_leave=False) == Snapshot({"a": HERE}, 5)
    again.append("clock: 6", lambda: STATE, 0.0)
    again.close()
    assert path.read_text().splitlines()[-1] == "clock: 6"


def test_a_file_that_has_grown_is_rewritten_as_what_it_means(tmp_path: Path) -> None:
    path = tmp_path / "local.snapshot"
    file = SnapshotFile(path, LOGGER)
    file.open(rejoin_after_leave=False)
    line = "clock: 1"
    for _ in range(MIN_COMPACT_BYTES // (len(line) + 1)):
        file.append(line, lambda: STATE, 0.0)
    assert MIN_COMPACT_BYTES - 9 < path.stat().st_size <= MIN_COMPACT_BYTES
    file.append(line, lambda: STATE, 0.0)
    assert path.read_text() == "alive: a 10.0.0.1:8301\nclock: 5\nevent-clock: 6\nquery-clock: 7\n"
    file.append("clock: 9", lambda: STATE, 0.0)
    file.close()
    assert path.read_text().splitlines()[-1] == "clock: 9"
    assert [item.name for item in tmp_path.iterdir()] == ["local.snapshot"]


def test_lines_that_make_no_sense_are_logged_with_their_number(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "local.snapshot"
    path.write_bytes(b"clock: 4\nnonsense \xff\n")
    file = SnapshotFile(path, LOGGER)
    assert file.open(rejoin_after_leave=False) == Snapshot(clock=4)
    file.close()
    assert "line 2" in caplog.text


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match=str(tmp_path)):
        SnapshotFile(tmp_path, LOGGER).open(rejoin_after_leave=False)


def test_a_failed_write_is_logged_and_made_good_after_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "local.snapshot"
    path.symlink_to("/dev/full")
    file = SnapshotFile(path, LOGGER)
    file._path = path
    file._file = path.open("w")
    file.append("clock: 1", lambda: STATE, 0.0)
    assert "can't be written" in caplog.text
    file.append("clock: 2", lambda: STATE, RECOVERY_INTERVAL - 1)
    assert path.is_symlink()
    file.append("clock: 3", lambda: STATE, RECOVERY_INTERVAL)
    file.close()
    assert not path.is_symlink()
    assert path.read_text().startswith("alive: a 10.0.0.1:8301\nclock: 5\n")
