"""Snapshots of the embedded log: one file each, whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final

from meshnode.control.log import LogUnavailableError, Snapshot
from meshnode.runtime.log_sqlite_file import SnapshotRow
from meshnode.runtime.private_file import TEMPORARY, sync_directory, write_private

__all__ = ["KEPT", "SnapshotDirectory"]

#: Snapshots kept: the newest, and one for the day that its file can't be read.
KEPT: Final = 2


class SnapshotDirectory:
    """``path`` is the directory; ``None``: in memory. Blocking: called on a thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._memory: dict[int, bytes] = {}

    def write(self, snapshot: Snapshot) -> SnapshotRow:
        """Once it returns the snapshot is on the disk, whole. Raises :class:`LogUnavailableError`."""
        row = SnapshotRow(snapshot.index, len(snapshot.data), hashlib.sha256(snapshot.data).hexdigest())
        if self._path is None:
            self._memory[snapshot.index] = snapshot.data
            return row
        target = self._file(self._path, snapshot.index)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(target, snapshot.data)
            sync_directory(self._path.parent)
        except OSError as error:
            raise LogUnavailableError(f"snapshot {target} can't be written: {error.strerror}") from error
        return row

    def read(self, row: SnapshotRow) -> Snapshot | None:
        """The snapshot of ``row``; ``None`` when its file is missing or isn't what was written."""
        try:
            data = (
                self._memory[row.index]
                if self._path is None
                else self._file(self._path, row.index).read_bytes()
            )
        except (OSError, KeyError):
            return None
        if len(data) != row.size or hashlib.sha256(data).hexdigest() != row.sha256:
            return None
        return Snapshot(row.index, data)

    def forget(self, indexes: list[int]) -> None:
        """Delete the snapshots at ``indexes``; one that can't be deleted stays, and does no harm."""
        for index in indexes:
            self._memory.pop(index, None)
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._file(self._path, index).unlink(missing_ok=True)

    def sweep(self, known: list[SnapshotRow]) -> None:
        """Delete what a killed process left: temporary files, and files that the table doesn't name."""
        if self._path is None or not self._path.is_dir():
            return
        names = {self._file(self._path, row.index) for row in known}
        for file in [*self._path.glob(f"*{TEMPORARY}"), *self._path.glob("*.snapshot")]:
            if file not in names:
                with contextlib.suppress(OSError):
                    file.unlink()

    @staticmethod
    def _file(directory: Path, index: int) -> Path:
        return directory / f"{index:016d}.snapshot"
