"""Group commit: writes that come while an append is under way share the next one.

A lone writer pays one append; sixty-four pay about one between them. The queue is bounded by commands and by bytes,
and a full one is an error at once: a client that waits for a minute would have given up anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshnode.control.log import (
    MAX_BATCH_BYTES,
    MAX_BATCH_COMMANDS,
    MAX_COMMAND_BYTES,
    Log,
    LogBusyError,
    LogError,
    LogUnavailableError,
    NotLeaderError,
    StaleEpochError,
)
from meshnode.runtime.log_replica import LogReplica
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["BatchLimits", "LogBatcher", "Written"]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one append and of the queue before it; ``append_timeout`` in seconds, of a write as a whole."""

    max_batch_commands: int = MAX_BATCH_COMMANDS
    max_batch_bytes: int = MAX_BATCH_BYTES
    max_queued_commands: int = 16_384
    max_queued_bytes: int = 32 << 20
    append_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Written:
    """A command is durable and applied here: its index and what the state machine answered."""

    index: int
    result: Any


class _Waiter(NamedTuple):
    command: bytes
    epoch: int | None
    done: asyncio.Future[Written]
    #: When it is given up, in the loop's time.
    due: float


class LogBatcher:
    """Between the handlers of writes and one replica. ``start`` after the replica, ``stop`` before it."""

    def __init__(self, log: Log, replica: LogReplica, limits: BatchLimits | None = None) -> None:
        self._log = log
        self._replica = replica
        self._limits = limits or BatchLimits()
        self._queue: deque[_Waiter] = deque()
        self._queued_bytes = 0
        self._in_flight: tuple[_Waiter, ...] = ()
        self._wakeup = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        #: Appends and commands so far; their ratio is the mean batch.
        self.batches = 0
        self.commands = 0

    def start(self) -> None:
        """Take writes."""
        self._task = spawn(self._run(), name="log-batcher")

    async def stop(self) -> None:
        """Take no more writes; who waits hears ``LogUnavailableError``."""
        self._stopped = True
        await cancel_and_wait(self._task)
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._in_flight:
            _fail(waiter, LogUnavailableError("the agent is stopping", in_doubt=True))
        while self._queue:
            _fail(self._queue.popleft(), LogUnavailableError("the agent is stopping"))
        self._queued_bytes = 0

    async def append(self, command: bytes, *, epoch: int | None = None) -> Written:
        """Write ``command``; returns when it is durable and applied here.

        With ``epoch`` it is written under that leadership or not at all (``StaleEpochError``). Other errors:
        ``NotLeaderError``, ``LogBusyError``, ``LogUnavailableError``, ``LogHaltedError``, ``ValueError`` (too large).
        """
        waiter = self._enter(command, epoch)
        try:
            return await waiter.done
        finally:
            self._withdraw(waiter)

    def offer(self, command: bytes) -> asyncio.Future[Written]:
        """As :meth:`append` for who doesn't await: the future ends as the call would. Raises what is known at once."""
        return self._enter(command, None).done

    def _enter(self, command: bytes, epoch: int | None) -> _Waiter:
        self._admit(command)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(command, epoch, loop.create_future(), loop.time() + self._limits.append_timeout)
        self._queue.append(waiter)
        self._queued_bytes += len(command)
        self._wakeup.set()
        if self._timer is None:
            self._timer = loop.call_at(waiter.due, self._expire, loop)
        return waiter

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up who waits for too long; one timer is enough, since who comes first is due first."""
        now, words = loop.time(), f"the log did not take the write in {self._limits.append_timeout:g} s"
        for waiter in self._in_flight:
            if waiter.due <= now:
                _fail(waiter, LogUnavailableError(words, in_doubt=True))
        while self._queue and (self._queue[0].due <= now or self._queue[0].done.done()):
            waiter = self._queue.popleft()
            self._queued_bytes -= len(waiter.command)
            _fail(waiter, LogUnavailableError(words))
        left = (waiter for waiter in (*self._in_flight, *self._queue) if not waiter.done.done())
        first = next(left, None)
        self._timer = loop.call_at(first.due, self._expire, loop) if first is not None else None

    def _admit(self, command: bytes) -> None:
        limits = self._limits
        if len(command) > min(MAX_COMMAND_BYTES, limits.max_batch_bytes):
            raise ValueError(f"a command has at most {MAX_COMMAND_BYTES} bytes, not {len(command)}")
        if self._stopped or self._task is None:
            raise LogUnavailableError("the agent is stopping" if self._stopped else "the log has not started")
        full = len(self._queue) >= limits.max_queued_commands
        if full or self._queued_bytes + len(command) > limits.max_queued_bytes:
            raise LogBusyError(
                f"{len(self._queue)} writes of {self._queued_bytes} bytes wait already: try again"
            )

    def _withdraw(self, waiter: _Waiter) -> None:
        """Drop a waiter that was given up while it was still queued (a time-out or a cancelled caller)."""
        if not waiter.done.done() or waiter.done.cancelled():
            with contextlib.suppress(ValueError):
                self._queue.remove(waiter)
                self._queued_bytes -= len(waiter.command)

    async def _run(self) -> None:
        while True:
            while not self._queue:
                self._wakeup.clear()
                await self._wakeup.wait()
            await asyncio.sleep(
                0
            )  # let who was answered just now ask again: twice the batch, and half the appends
            epoch = self._log.leadership.epoch
            batch = self._in_flight = self._next_batch(epoch)
            if batch:
                await self._write(batch, epoch)
            self._in_flight = ()

    def _next_batch(self, epoch: int) -> tuple[_Waiter, ...]:
        batch: list[_Waiter] = []
        size = 0
        while self._queue and len(batch) < self._limits.max_batch_commands:
            waiter = self._queue[0]
            size += len(waiter.command)
            if size > self._limits.max_batch_bytes:
                break
            self._queue.popleft()
            self._queued_bytes -= len(waiter.command)
            if waiter.done.done():
                size -= len(waiter.command)  # it was given up
            elif waiter.epoch is not None and waiter.epoch != epoch:
                _fail(waiter, StaleEpochError(waiter.epoch, epoch))
                size -= len(waiter.command)
            else:
                batch.append(waiter)
        return tuple(batch)

    async def _write(self, batch: tuple[_Waiter, ...], epoch: int) -> None:
        leadership = self._log.leadership
        if leadership.leader != self._log.node_id:
            for waiter in batch:
                _fail(waiter, NotLeaderError(leadership.leader))
            return
        try:
            commands = tuple(waiter.command for waiter in batch)
            index, results = await self._replica.append(commands, epoch)
        except LogError as error:
            for waiter in batch:
                _fail(waiter, error)
            return
        self.batches += 1
        self.commands += len(batch)
        for position, (waiter, result) in enumerate(zip(batch, results, strict=True)):
            if not waiter.done.done():
                waiter.done.set_result(Written(index + position, result))


def _fail(waiter: _Waiter, error: LogError) -> None:
    if not waiter.done.done():
        waiter.done.set_exception(error)
