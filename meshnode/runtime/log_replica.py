"""One server's copy of the state: applies the log in order, from a snapshot on, and knows how far it is.

The state machine is three plain functions. ``apply`` runs on the event loop, once for each entry, and returns one
result a command. When it raises, the replica halts: a server that can't apply what the others applied must not answer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from meshnode.control.log import (
    CompactedError,
    Entry,
    Log,
    LogError,
    LogHaltedError,
    LogUnavailableError,
    Snapshot,
)
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["LogReplica"]

_log = logging.getLogger("meshnode.log")
#: Seconds between attempts to load the snapshot while the engine can't be reached.
RETRY_INTERVAL: Final = 0.5


class LogReplica:
    """``apply`` and ``restore`` change the state machine; ``on_halt`` is told why it can't go on, once."""

    def __init__(
        self,
        log: Log,
        apply: Callable[[Entry], Sequence[Any]],
        restore: Callable[[Snapshot], None],
        on_halt: Callable[[LogHaltedError], None] | None = None,
    ) -> None:
        self._engine = log
        self._apply = apply
        self._restore = restore
        self._on_halt = on_halt
        self._applied = 0
        self._halted: LogHaltedError | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._own_epoch = 0
        self._own_results: dict[int, Sequence[Any]] = {}

    @property
    def applied(self) -> int:
        """The last index whose command the state machine has seen."""
        return self._applied

    @property
    def halted(self) -> LogHaltedError | None:
        """Why nothing is applied any more, if so."""
        return self._halted

    async def start(self) -> None:
        """Restore the newest snapshot and follow from there in a task."""
        await self._load()
        self._task = spawn(self._follow(), name="log-replica")

    async def stop(self) -> None:
        """Apply nothing more; who waits is told."""
        await cancel_and_wait(self._task)
        self._fail_waiting(LogUnavailableError("the agent is stopping"))

    async def wait_applied(self, index: int) -> None:
        """Return when the command at ``index`` has been applied. Raises ``LogHaltedError``."""
        if self._halted is not None:
            raise self._halted
        if index > self._applied:
            future = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (index, next(self._order), future))
            await future

    async def barrier(self) -> int:
        """Catch up with every write that was acknowledged before this call (``?consistent``); returns the index."""
        index = await self._engine.barrier()
        await self.wait_applied(index)
        return index

    async def append(self, commands: Sequence[bytes], epoch: int) -> tuple[int, Sequence[Any]]:
        """Append one entry and apply it here; returns its index and a result a command. One call at a time."""
        if self._halted is not None:
            raise self._halted
        self._own_epoch = epoch
        try:
            appended = await self._engine.append(commands, epoch)
            if appended.index == self._applied + 1:  # the usual case: don't wait for the feed to tell us
                self._take(Entry(appended.index, epoch, tuple(commands)))
            await self.wait_applied(appended.last)
            if appended.index not in self._own_results:  # a snapshot overtook it
                raise LogUnavailableError("the state was restored from a snapshot meanwhile", in_doubt=True)
            return appended.index, self._own_results[appended.index]
        finally:
            self._own_epoch = 0
            self._own_results.clear()

    def _take(self, entry: Entry) -> None:
        if self._halted is not None:
            raise self._halted
        if entry.last <= self._applied:
            return
        if entry.index != self._applied + 1:
            raise self._halt(f"index {self._applied + 1} is missing: the next entry starts at {entry.index}")
        try:
            results = self._apply(entry)
        except Exception as error:  # whatever it is, this server can't go on
            raise self._halt(f"the entry at index {entry.index} can't be applied: {error!r}") from error
        if len(results) != len(entry.commands):
            raise self._halt(f"{len(entry.commands)} commands at index {entry.index}, {len(results)} results")
        if entry.epoch == self._own_epoch:
            self._own_results[entry.index] = results
        self._advance(entry.last)

    def _advance(self, index: int) -> None:
        self._applied = index
        while self._waiting and self._waiting[0][0] <= index:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    def _halt(self, why: str) -> LogHaltedError:
        self._halted = LogHaltedError(f"{why}: this server stops applying the log")
        _log.critical("%s", self._halted)
        self._fail_waiting(self._halted)
        if self._on_halt is not None:
            self._on_halt(self._halted)
        return self._halted

    def _fail_waiting(self, error: LogError) -> None:
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    async def _load(self) -> None:
        snapshot = await self._engine.load_snapshot()
        if snapshot is not None and snapshot.index > self._applied:
            self._restore(snapshot)
            _log.info("state restored from the snapshot at index %d", snapshot.index)
            self._advance(snapshot.index)

    async def _follow(self) -> None:
        while self._halted is None:
            try:
                async with aclosing(self._engine.follow(self._applied)) as entries:
                    async for entry in entries:
                        self._take(entry)
                return  # the engine was stopped
            except LogHaltedError:
                return
            except CompactedError as gone:
                await self._catch_up(gone)
            except LogUnavailableError as error:
                _log.warning("the log can't be followed: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)
            except LogError as error:
                self._halt(str(error))

    async def _catch_up(self, gone: CompactedError) -> None:
        before = self._applied
        try:
            await self._load()
        except LogUnavailableError as error:
            _log.warning("the snapshot can't be loaded: %s", error)
            await asyncio.sleep(RETRY_INTERVAL)
            return
        if self._applied == before and self._applied + 1 < gone.oldest:
            self._halt(f"{gone}, and there is no snapshot past index {before}")
