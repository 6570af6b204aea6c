"""A server's copy of the cluster's state: the log below it, the methods above it, and who waits for a change.

Everything happens on the event loop; a write is answered when the log made it durable and it is applied here, a read
that blocks waits for the watch keys that it depends on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshnode.acl.authorizer import Authorizer
from meshnode.base.errors import MeshError
from meshnode.control.body import NANOSECONDS, Body, integer
from meshnode.control.command import Command, parse_command, serialize_command
from meshnode.control.log import (
    Entry,
    LeadershipChange,
    Log,
    LogError,
    LogHaltedError,
    LogUnavailableError,
    NotLeaderError,
    Snapshot,
)
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.control.watch import WatchKey, WatchTable
from meshnode.rpc.method import RpcError
from meshnode.runtime.log_batcher import LogBatcher, Written
from meshnode.runtime.log_replica import LogReplica
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["ClusterState", "SnapshotPolicy", "held"]

_log = logging.getLogger("meshnode.state")
#: The longest that a read blocks, jitter included (Consul's maximum of 10 minutes and a sixteenth).
MAX_BLOCK: Final = 640.0
#: Seconds between attempts to see the end of the log.
RETRY_INTERVAL: Final = 0.1
#: The longest silence that is told, in seconds.
MAX_CONTACT: Final = 86400.0


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When the leader writes a snapshot: after ``commands`` commands; ``trailing`` of them stay for the slow."""

    commands: int = 16_384
    trailing: int = 10_240
    check_interval: float = 5.0


class ClusterState:
    """``authorizer_of(machine, token)`` gives the rights of a token; ``wall`` is unix seconds, ``new_id`` a fresh UUID.

    ``on_applied`` hears the watch keys touched by each entry, after those who wait were woken.
    """

    def __init__(
        self,
        log: Log,
        *,
        authorizer_of: Callable[[StateMachine, str], Authorizer],
        wall: Callable[[], float],
        new_id: Callable[[], str],
        on_halt: Callable[[LogHaltedError], None],
        policy: SnapshotPolicy | None = None,
    ) -> None:
        self.log = log
        self.machine = StateMachine()
        self.on_applied: Callable[[frozenset[WatchKey]], None] | None = None
        self._authorizer_of = authorizer_of
        self._wall = wall
        self._new_id = new_id
        self._watches = WatchTable()
        self._wakes: dict[int, Callable[[], None]] = {}
        self._memo: dict[object, tuple[int, dict[str, Any]]] = {}
        self._replica = LogReplica(log, self._apply, self._restore, on_halt)
        self._batcher = LogBatcher(log, self._replica)
        self._policy = policy or SnapshotPolicy()
        self._entry_end = 0
        self._snapshot_index = 0
        self._snapshot_ends: list[int] = []
        self._snapshots: asyncio.Task[None] | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._ready_epoch = 0
        self._catching_up: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Open the log, restore what it has, and follow it. Raises ``LogError``."""
        self._stopping = asyncio.get_running_loop().create_future()
        self.log.subscribe(self._led)
        await self.log.start()
        await self._replica.start()
        self._batcher.start()
        self._snapshots = spawn(self._keep_snapshots(), name="state snapshots")

    async def stop(self) -> None:
        """End every wait, then the log. Safe to call again."""
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        await cancel_and_wait(*filter(None, (self._snapshots, self._catching_up)))
        await self._batcher.stop()
        await self._replica.stop()
        await self.log.stop()

    @property
    def leads(self) -> bool:
        """Whether this server leads now, and knows everything that earlier leaders wrote."""
        leadership = self.log.leadership
        return leadership.leader == self.log.node_id and leadership.epoch == self._ready_epoch

    def _led(self, change: LeadershipChange) -> None:
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None
        if change.leader == self.log.node_id:
            self._catching_up = spawn(self._catch_up(change.epoch), name=f"catch up for epoch {change.epoch}")

    async def _catch_up(self, epoch: int) -> None:
        while self.log.leadership.epoch == epoch:
            try:
                await self._replica.barrier()
            except LogHaltedError:
                return
            except LogError as error:
                _log.warning("this server leads and can't see the end of the log yet: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._ready_epoch = epoch
                return

    @property
    def last_contact(self) -> float:
        """Seconds since this server last heard of the log; 0 on the leader, whose state is the newest."""
        return 0.0 if self.leads else self.log.contact_age()

    @property
    def halted(self) -> LogHaltedError | None:
        """Why nothing is applied any more, if so."""
        return self._replica.halted

    # Reading

    def authorizer(self, token: str) -> Authorizer:
        """The rights of ``token`` now. Raises :class:`MeshError` when there is no such token."""
        return self._authorizer_of(self.machine, token)

    def read_now(self, method: ReadMethod, name: str, body: Body, token: str) -> dict[str, Any] | None:
        """The reply as of now, or ``None`` when the body asks to wait for a change that hasn't come yet."""
        index, reply = self._read(method, name, body, token)
        wanted = body.get("MinQueryIndex") or 0
        if wanted and index <= wanted:
            return None
        return self._reply(index, reply)

    async def read(self, method: ReadMethod, name: str, body: Body, token: str) -> dict[str, Any]:
        """The reply, once its index is past ``MinQueryIndex`` or ``MaxQueryTime`` is over.

        With ``RequireConsistent`` it shows every write that was acknowledged before the call.
        """
        if body.get("RequireConsistent"):
            await self._replica.barrier()
        reply = self.read_now(method, name, body, token)
        if reply is not None:
            return reply
        wait = min(integer(body, "MaxQueryTime") / NANOSECONDS, MAX_BLOCK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while reply is None:
                    await self._changed(method.watches(body))
                    reply = self.read_now(method, name, body, token)
        if reply is None:
            reply = self._reply(*self._read(method, name, body, token))
        return reply

    def _reply(self, index: int, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, **self.facts(index), "FromMemory": True}

    def facts(self, index: int) -> dict[str, Any]:
        """What a reply says about the read: ``LastContact`` in nanoseconds."""
        contact = min(self.last_contact, MAX_CONTACT)
        known = bool(self.log.leadership.leader)
        return {"Index": index, "LastContact": int(contact * NANOSECONDS), "KnownLeader": known}

    def _read(self, method: ReadMethod, name: str, body: Body, token: str) -> tuple[int, dict[str, Any]]:
        """Many who wait for the same thing are woken at once: they share one look at the state."""
        key = (name, token, *(item for item in body.items() if item[0] not in _OPTIONS))
        try:
            known = self._memo.get(key)
        except TypeError:  # a list or a map in the body
            return method.read(self.machine, body, self.authorizer(token))
        if known is None:
            if len(self._memo) >= 512:
                self._memo.clear()
            known = self._memo[key] = method.read(self.machine, body, self.authorizer(token))
        return known

    # Waiting

    def watch(self, keys: Iterable[WatchKey], wake: Callable[[], None]) -> int:
        """Have ``wake`` called at the next change of ``keys``, and at each after it until :meth:`unwatch`."""
        waiter = self._watches.register(keys)
        self._wakes[waiter] = wake
        return waiter

    def unwatch(self, waiter: int) -> None:
        """Call it no more."""
        self._watches.remove(waiter)
        self._wakes.pop(waiter, None)

    async def _changed(self, keys: Sequence[WatchKey]) -> None:
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = self.watch(keys, lambda: None if changed.done() else changed.set_result(None))
        try:
            await changed
        finally:
            self.unwatch(waiter)

    # Writing

    async def write(self, method: WriteMethod, body: Body, token: str) -> Any:
        """Carry a write out; only the leader can. Raises ``LogError``, ``RpcError``, ``PermissionDeniedError``."""
        if not self.leads:
            raise NotLeaderError(self.log.leadership.leader)
        command = method.plan(self.machine, body, self.authorizer(token), Moment(self._wall(), self._new_id))
        return method.reply(self.machine, await self.submit(command))

    def begin(self, method: WriteMethod, body: Body, token: str) -> asyncio.Future[Written]:
        """Begin a write for who doesn't await; :attr:`Written.result` is for ``method.reply``. Raises as it does."""
        if not self.leads:
            raise NotLeaderError(self.log.leadership.leader)
        command = method.plan(self.machine, body, self.authorizer(token), Moment(self._wall(), self._new_id))
        return self._batcher.offer(serialize_command(command))

    async def submit(self, command: Command, *, epoch: int | None = None) -> Result:
        """Write a command; with ``epoch`` only under that leadership."""
        written = await self._batcher.append(serialize_command(command), epoch=epoch)
        result: Result = written.result
        return result

    async def barrier(self) -> int:
        """Catch up with every write that was acknowledged before this call."""
        return await self._replica.barrier()

    # The log's side

    def _apply(self, entry: Entry) -> list[Result]:
        machine = self.machine
        results = [
            machine.apply(entry.index + position, parse_command(command))
            for position, command in enumerate(entry.commands)
        ]
        self._entry_end = entry.last
        self._wake()
        return results

    def _restore(self, snapshot: Snapshot) -> None:
        self.machine.restore(snapshot.data)
        self._entry_end = self._snapshot_index = snapshot.index
        self._wake()

    def _wake(self) -> None:
        self._memo.clear()
        touched = self.machine.take_touched()
        for waiter in self._watches.touched(touched):
            wake = self._wakes.get(waiter)
            if wake is not None:
                wake()
        if self.on_applied is not None:
            self.on_applied(touched)

    async def _keep_snapshots(self) -> None:
        while True:
            await asyncio.sleep(self._policy.check_interval)
            if (
                self.leads
                and not self.machine.is_restoring
                and self._entry_end - self._snapshot_index >= self._policy.commands
            ):
                try:
                    await self.snapshot()
                except MeshError as error:
                    _log.warning("the state could not be written to a snapshot: %s", error)

    async def snapshot(self) -> Snapshot:
        """Write the state to the log as a snapshot, and drop the entries before it (leader only)."""
        index, chunks = self._entry_end, self.machine.snapshot()
        data = await asyncio.to_thread(b"".join, chunks)
        snapshot = Snapshot(index, data)
        await self.log.save_snapshot(snapshot)
        self._snapshot_index = index
        _log.info("state of index %d written as a snapshot of %d bytes", index, len(data))
        await self._compact(index)
        return snapshot

    async def _compact(self, index: int) -> None:
        # The trailing entries let a server that was away for a moment catch up without a snapshot.
        self._snapshot_ends.append(index)
        old = [end for end in self._snapshot_ends if end <= index - self._policy.trailing]
        if old:
            with contextlib.suppress(LogUnavailableError):
                await self.log.compact(old[-1])
            self._snapshot_ends = [end for end in self._snapshot_ends if end > old[-1]]


#: Fields that don't change what a read shows.
_OPTIONS: Final = frozenset(
    {
        "AllowStale",
        "MaxQueryTime",
        "MaxStaleDuration",
        "MinQueryIndex",
        "RequireConsistent",
        "Token",
        "Datacenter",
    }
)


def held(state: ClusterState | None) -> ClusterState:
    """``state``; raises :class:`RpcError` where there is none yet."""
    if state is None:
        raise RpcError("this server has no copy of the state")
    return state
