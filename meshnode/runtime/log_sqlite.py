"""The embedded engine: one server, its log in SQLite under ``<data_dir>/log/``, or in memory for ``-dev``.

A commit waits for the disk, so SQLite runs on a thread of its own (``bench/log.py`` shows what it would do to the event
loop). A second thread writes snapshot files, which may be large. The newest entries are kept in memory too: a follower
that keeps up never asks the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from meshnode.control.log import (
    Appended,
    CompactedError,
    Entry,
    LeadershipChange,
    LogCorruptError,
    LogUnavailableError,
    NotLeaderError,
    OnLeadership,
    Snapshot,
    StaleEpochError,
    check_batch,
)
from meshnode.runtime.log_snapshots import KEPT, SnapshotDirectory
from meshnode.runtime.log_sqlite_file import LogFile

__all__ = ["SqliteLog"]

_log = logging.getLogger("meshnode.log")
_P = ParamSpec("_P")
_T = TypeVar("_T")

#: Bytes of commands kept in memory for followers.
MAX_TAIL_BYTES: Final = 4 << 20
#: Bytes read from the file at a time.
READ_BYTES: Final = 1 << 20


class SqliteLog:
    """An engine (``control.log.Log``). ``data_dir`` is the agent's; ``None``: in memory, gone with the process."""

    def __init__(self, data_dir: Path | None, node_id: str) -> None:
        directory = data_dir / "log" if data_dir is not None else None
        self._file = LogFile(directory / "log.db" if directory is not None else None)
        self._snapshots = SnapshotDirectory(directory / "snapshots" if directory is not None else None)
        self._node_id = node_id
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._snapshot_thread = ThreadPoolExecutor(1, thread_name_prefix="log-snapshot")
        self._leadership = LeadershipChange()
        self._subscribers: list[OnLeadership] = []
        self._appending = asyncio.Lock()
        self._tail = _Tail()
        self._last = 0
        self._news = asyncio.Event()
        self._started = self._stopped = False

    @property
    def node_id(self) -> str:
        """See ``Log``."""
        return self._node_id

    @property
    def leadership(self) -> LeadershipChange:
        """See ``Log``."""
        return self._leadership

    def contact_age(self) -> float:
        """See ``Log``: it is here."""
        return 0.0

    async def start(self) -> None:
        """Open the file and check it."""
        await self._call(self._file.open)
        self._started = True
        self._last = self._file.last
        known = await self._call(self._file.snapshots)
        await self._call(self._snapshots.sweep, known)

    async def stop(self) -> None:
        """Close the file; waits for a commit that is under way."""
        if not self._stopped:
            self._stopped = True
            self._set_leadership(LeadershipChange())
            self._wake_followers()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()
            self._snapshot_thread.shutdown()

    def subscribe(self, on_leadership: OnLeadership) -> None:
        """See ``Log``."""
        self._subscribers.append(on_leadership)

    async def campaign(self) -> None:
        """Lead under a new epoch: nobody else could."""
        if self._leadership.leader != self._node_id:
            epoch = await self._call(self._file.next_epoch)
            self._set_leadership(LeadershipChange(self._node_id, epoch))

    async def depose(self, epoch: int) -> None:
        """See ``Log``: nobody else can lead."""
        del epoch

    async def resign(self) -> None:
        """See ``Log``."""
        self._set_leadership(LeadershipChange())

    async def transfer(self, node_id: str) -> None:
        """To nobody but ourselves."""
        if self._leadership.leader != self._node_id:
            raise NotLeaderError
        if node_id != self._node_id:
            raise LogUnavailableError("the embedded log has one server: there is nobody else to lead")

    async def append(self, commands: Sequence[bytes], epoch: int) -> Appended:
        """See ``Log``."""
        check_batch(commands)
        async with self._appending:
            leading = self._leadership
            if leading.leader != self._node_id:
                raise NotLeaderError
            if epoch != leading.epoch:
                raise StaleEpochError(epoch, leading.epoch)
            entry = Entry(self._last + 1, epoch, tuple(commands))
            try:
                await self._call(self._file.append, entry)
            except LogUnavailableError:
                if self._file.last != self._last:  # opened again, and more was written than we had heard
                    self._last = self._file.last
                    self._tail.clear()
                    self._wake_followers()
                raise
            self._last = entry.last
            self._tail.add(entry)
            self._wake_followers()
            return Appended(entry.index, entry.last)

    async def follow(self, after: int) -> AsyncGenerator[Entry, None]:
        """See ``Log``."""
        while not self._stopped:
            news = self._news
            entries = self._tail.since(after) if after < self._last else []
            if entries is None:
                entries = await self._call(self._file.read, after, READ_BYTES)
                if not entries or entries[0].index != after + 1:
                    raise CompactedError(entries[0].index if entries else self._last + 1)
            for entry in entries:
                yield entry
                after = entry.last
            if not entries:
                await news.wait()

    async def barrier(self) -> int:
        """The last index: this process is the only writer."""
        if not self._started or self._stopped:
            raise LogUnavailableError("the log is not open")
        return self._last

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See ``Log``."""
        if not 0 < snapshot.index <= self._last:
            raise ValueError(f"a snapshot at index {snapshot.index} of a log that ends at {self._last}")
        loop = asyncio.get_running_loop()
        row = await loop.run_in_executor(self._snapshot_thread, self._snapshots.write, snapshot)
        gone = await self._call(self._file.note_snapshot, row, KEPT)
        await loop.run_in_executor(self._snapshot_thread, self._snapshots.forget, gone)

    async def load_snapshot(self) -> Snapshot | None:
        """The newest whose file is what was written. Raises ``LogCorruptError`` when none is, and one is needed."""
        loop = asyncio.get_running_loop()
        rows = await self._call(self._file.snapshots)
        for row in rows:
            snapshot = await loop.run_in_executor(self._snapshot_thread, self._snapshots.read, row)
            if snapshot is not None and snapshot.index >= self._file.compacted:
                return snapshot
            _log.error("the snapshot at index %d is damaged or too old for the log", row.index)
        if self._file.compacted:
            raise LogCorruptError(
                f"no snapshot can be read, and the log begins after index {self._file.compacted}"
            )
        return None

    async def compact(self, through: int) -> None:
        """See ``Log``; in steps, so that appends come in between."""
        rows = await self._call(self._file.snapshots)
        if not rows or through > rows[0].index:
            raise ValueError(f"no snapshot covers index {through}: save one first")
        if not await self._call(self._file.is_boundary, through):
            raise ValueError(f"no entry ends at index {through}")
        self._tail.drop(through)
        while await self._call(self._file.compact_step, through):
            pass

    async def _call(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        if self._stopped:
            raise LogUnavailableError("the log is closed")
        loop = asyncio.get_running_loop()
        # Shielded: what the thread has begun it ends, so a cancelled caller must not free the lock before.
        done = loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            if not done.cancelled():
                done.exception()  # seen: nobody is left to tell
            raise

    def _set_leadership(self, change: LeadershipChange) -> None:
        if change != self._leadership:
            self._leadership = change
            for subscriber in self._subscribers:
                subscriber(change)

    def _wake_followers(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class _Tail:
    """The newest entries, without a hole, up to ``MAX_TAIL_BYTES``."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._bytes += _size(entry)
        while self._bytes > MAX_TAIL_BYTES and len(self._entries) > 1:
            self._bytes -= _size(self._entries.popleft())

    def drop(self, through: int) -> None:
        while self._entries and self._entries[0].last <= through:
            self._bytes -= _size(self._entries.popleft())

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def since(self, after: int) -> list[Entry] | None:
        """Entries after index ``after``; ``None`` when not all of them are here."""
        if not self._entries or self._entries[0].index > after + 1:
            return None
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.index <= after:
                break
            found.append(entry)
        return found[::-1]


def _size(entry: Entry) -> int:
    return sum(map(len, entry.commands)) + 64 * len(entry.commands)
