"""Takes a call on the cluster's state to where it is answered: here, or at the leader.

Consul's rules: a write and a default read go to the leader, a stale read is answered by any server, and while there
is no leader a call waits for one for ``performance.rpc_hold_timeout``.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from meshnode.agent.server_calls import NO_LEADER
from meshnode.base.errors import MeshError
from meshnode.control.body import NANOSECONDS, Body, block_time, integer, text
from meshnode.control.log import (
    LeadershipChange,
    LogHaltedError,
    LogUnavailableError,
    NotLeaderError,
    StaleEpochError,
)
from meshnode.control.method import Method, ReadMethod, WriteMethod
from meshnode.control.servers import ServerInfo
from meshnode.control.wire import from_wire
from meshnode.rpc.method import RpcError
from meshnode.runtime.cluster_state import ClusterState
from meshnode.runtime.log_batcher import Written
from meshnode.runtime.rpc_client import (
    CallLostError,
    RpcClient,
    ServerRefusedError,
    ServerUnreachableError,
    TlsRefusedError,
)

__all__ = ["NO_LEADER", "Begun", "LeaderMethod", "StateGateway", "StateHolder"]

_log = logging.getLogger("meshnode.state")
#: Field of a body that was passed on once already: it is answered where it arrives, or not at all.
_FORWARDED: Final = "Forwarded"
#: Seconds between looks for a leader: at least, and at most.
_RETRY: Final = (0.05, 0.2)
#: Seconds that a leader whose term is over has left to answer what it was asked before.
_GRACE: Final = 1.0

#: Calls beside the reads that any server with the state may answer when ``AllowStale`` is set.
_STALE_FINE: Final = frozenset({"Operator.RaftGetConfiguration", "Snapshot.Save"})

#: Something that only the leader can do, which is more than a command: (body, token) -> reply.
LeaderMethod = Callable[[Body, str], Awaitable[Any]]


class _TermOverError(CallLostError):
    """Another server leads since, and the one that was asked says nothing."""


class StateHolder(Protocol):
    """Who knows the leader, and has the state if this server has it."""

    #: Told of each change of who leads, by the log.
    on_change: Callable[[LeadershipChange], None] | None

    @property
    def state(self) -> ClusterState | None:
        """This server's copy of the state; ``None`` on a server that has none."""

    def leader(self) -> ServerInfo | None:
        """The leader, if there is one and gossip sees it."""


class Begun(NamedTuple):
    """A write that is under way: once ``written`` is done, :meth:`reply` is what :meth:`StateGateway.call` gives."""

    written: asyncio.Future[Written]
    state: ClusterState
    method: WriteMethod

    def reply(self) -> Any:
        """The reply; raises what ``call`` raises, and :class:`NotLeaderError` when it was not carried out at all."""
        return self.method.reply(self.state.machine, self.written.result().result)


class StateGateway:
    """``hold_timeout`` gives seconds: to wait for a leader, and for a forwarded call that doesn't block."""

    def __init__(
        self,
        holder: StateHolder,
        methods: Mapping[str, Method],
        leader_methods: Mapping[str, LeaderMethod],
        *,
        client: RpcClient,
        datacenter: str,
        hold_timeout: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._holder = holder
        self._methods = methods
        self._leader_methods = leader_methods
        self._client = client
        self._datacenter = datacenter
        self._hold_timeout = hold_timeout
        self._rng = rng
        #: Forwarded calls under way, and the epoch of the leader that each was forwarded to.
        self._forwarded: dict[asyncio.Timeout, int] = {}
        holder.on_change = self._led

    def __contains__(self, name: object) -> bool:
        return name in self._methods or name in self._leader_methods

    def is_read(self, name: str) -> bool:
        """Whether that method may be called twice: it changes nothing."""
        return isinstance(self._methods.get(name), ReadMethod)

    def read_now(self, name: str, body: Body, token: str) -> Mapping[str, Any] | None:
        """The reply to a read if it can be told from memory at once; raises what :meth:`call` raises."""
        method, state = self._methods.get(name), self._holder.state
        if not isinstance(method, ReadMethod) or state is None or body.get("RequireConsistent"):
            return None
        if not (state.leads or self._stale_is_fine(state, body)):
            return None
        return state.read_now(method, name, body, token)

    def begin(self, name: str, body: Body) -> Begun | None:
        """Begin a write that this server, which leads, can carry out by itself; ``None``: :meth:`call` is for it.

        Errors are :meth:`call`'s to tell, and so is a write that turns out to be another leader's.
        """
        method, state = self._methods.get(name), self._holder.state
        if (
            not isinstance(method, WriteMethod)
            or state is None
            or not state.leads
            or state.halted is not None
        ):
            return None
        if name in self._leader_methods:
            return None
        try:
            return Begun(state.begin(method, body, text(body, "Token")), state, method)
        except MeshError:
            return None

    async def call(self, name: str, body: Body) -> Any:
        """The reply to a call. Raises ``RpcError``, ``LogError``, ``PermissionDeniedError``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._hold_timeout()
        while True:
            try:
                state = self._holder.state
                epoch = state.log.leadership.epoch if state is not None else 0
                if state is not None and (state.leads or self._stale_read(state, name, body)):
                    return await self._here(state, name, body)
                leader = self._holder.leader()
                # Ourselves: we lead and are still catching up.
                elsewhere = leader is not None and (state is None or leader.node_id != state.log.node_id)
                if leader is not None and elsewhere and not body.get(_FORWARDED):
                    return await self._at(leader, epoch, name, body)
            except (NotLeaderError, StaleEpochError, ServerUnreachableError, TlsRefusedError) as error:
                _log.debug("%s: %s", name, error)
                if isinstance(error, ServerRefusedError) and state is not None:
                    await self._depose(state, epoch)
            except CallLostError as error:
                # A read may be made twice; so Consul does (agent/consul/client.go, canRetry).
                if not isinstance(self._methods.get(name), ReadMethod):
                    raise
                if isinstance(error, _TermOverError):
                    deadline = loop.time() + self._hold_timeout()
                elif body.get(_FORWARDED) or loop.time() >= deadline:
                    raise
            except RpcError as error:
                if str(error) != NO_LEADER:
                    raise
            if body.get(_FORWARDED) or loop.time() >= deadline:
                raise RpcError(NO_LEADER)
            await asyncio.sleep(self._rng.uniform(*_RETRY))

    def _led(self, change: LeadershipChange) -> None:
        """A frozen leader answers nothing: who waits for it needn't wait for longer than it leads."""
        if change.leader:
            end = asyncio.get_running_loop().time() + _GRACE
            for limit in [each for each, epoch in self._forwarded.items() if epoch != change.epoch]:
                del self._forwarded[limit]
                limit.reschedule(end)

    async def _depose(self, state: ClusterState, epoch: int) -> None:
        try:
            await state.log.depose(epoch)
        except LogUnavailableError as error:
            _log.debug("the leader's term was not ended: %s", error)

    def _stale_read(self, state: ClusterState, name: str, body: Body) -> bool:
        readable = isinstance(self._methods.get(name), ReadMethod) or name in _STALE_FINE
        return readable and self._stale_is_fine(state, body)

    def _stale_is_fine(self, state: ClusterState, body: Body) -> bool:
        if not body.get("AllowStale") or state.halted is not None:
            return False
        allowed = integer(body, "MaxStaleDuration")
        return not allowed or state.last_contact * NANOSECONDS <= allowed

    async def _here(self, state: ClusterState, name: str, body: Body) -> Any:
        if isinstance(state.halted, LogHaltedError):
            raise state.halted
        token = text(body, "Token")
        special = self._leader_methods.get(name)
        if special is not None:
            return await special(body, token)
        method = self._methods[name]
        if isinstance(method, WriteMethod):
            return await state.write(method, body, token)
        return await state.read(method, name, body, token)

    async def _at(self, leader: ServerInfo, epoch: int, name: str, body: Body) -> Any:
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._forwarded[limit] = epoch
                reply = await self._client.call(
                    leader.rpc,
                    name,
                    {**body, _FORWARDED: True},
                    timeout=self._hold_timeout() + block_time(body),
                    datacenter=self._datacenter,
                )
        except TimeoutError:
            raise _TermOverError(
                f"{name}: {leader.name} doesn't answer and leads no more; it may have been carried out or not"
            ) from None
        finally:
            self._forwarded.pop(limit, None)
        answer = from_wire(reply)
        if isinstance(answer, dict):
            answer.pop("FromMemory", None)  # it was the leader's memory
        return answer
