"""Serf's snapshot on disk: lines are appended as they come, and the file is rewritten when it has grown."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from meshnode.base.errors import MeshError
from meshnode.gossip.serf.snapshot import MIN_COMPACT_BYTES, Snapshot, compact, max_snapshot_bytes, replay

__all__ = ["MAX_SNAPSHOT_FILE_BYTES", "SnapshotFile"]

#: Compaction keeps a file of 100 000 nodes far below this; anything larger is another file.
MAX_SNAPSHOT_FILE_BYTES = 64 << 20
#: Seconds between attempts to recover from a failed write (serf's ``snapshotErrorRecoveryInterval``).
RECOVERY_INTERVAL = 30.0


class SnapshotFile:
    """One open snapshot. A write that fails is logged and retried by compaction; it never stops the agent."""

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        self._path = path
        self._logger = logger
        self._file: TextIO | None = None
        self._size = 0
        self._retry_at = 0.0

    def open(self, *, rejoin_after_leave: bool) -> Snapshot:
        """Open the file, making it if need be, and return what it says.

        Raises :class:`MeshError` when it can't be opened.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = self._path.open("a+", encoding="utf-8", errors="surrogateescape", newline="\n")
            self._size = self._file.tell()
            if self._size > MAX_SNAPSHOT_FILE_BYTES:
                raise MeshError(f"snapshot file {self._path} has {self._size} bytes: is it one? Move it away")
            self._file.seek(0)
            snapshot, complaints = replay(self._file, rejoin_after_leave=rejoin_after_leave)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise MeshError(f"snapshot file {self._path} can't be opened: {error.strerror}") from error
        for complaint in complaints:
            self._logger.warning("snapshot file %s: %s", self._path, complaint)
        return snapshot

    def append(self, line: str, current: Callable[[], Snapshot], now: float) -> None:
        """Write one line; rewrite the file as ``current()`` when it has grown too large."""
        try:
            if self._file is None:
                self._recover(current, now)
                return
            self._size += self._file.write(f"{line}\n")
            self._file.flush()
            if self._size > MIN_COMPACT_BYTES and self._size > max_snapshot_bytes(len(current().alive)):
                self._compact(current())
        except OSError as error:
            self._logger.error("snapshot file %s can't be written: %s", self._path, error.strerror)
            self.close()
            self._retry_at = now + RECOVERY_INTERVAL

    def close(self) -> None:
        """Close the file; what was appended has been handed to the system."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._logger.warning("snapshot file %s: %s", self._path, error.strerror)
            self._file = None

    def _recover(self, current: Callable[[], Snapshot], now: float) -> None:
        if now >= self._retry_at:
            self._compact(current())
            self._logger.info("snapshot file %s can be written again", self._path)

    def _compact(self, snapshot: Snapshot) -> None:
        temporary = self._path.with_name(f"{self._path.name}.compact")
        text = compact(snapshot)
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self.close()
        self._file = self._path.open("a", encoding="utf-8", errors="surrogateescape", newline="\n")
        self._size = len(text)
