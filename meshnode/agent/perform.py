"""Carries out what the HTTP handlers ask for: the one place where an API effect meets the running parts."""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from meshnode.agent.access import Access
from meshnode.agent.connect_role import ConnectRole
from meshnode.agent.local_effects import LocalPerformer
from meshnode.agent.log_stream import log_lines
from meshnode.agent.pool import Pool
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.user_events import UserEvents
from meshnode.base.errors import MeshError
from meshnode.control.body import block_time
from meshnode.control.log import NotLeaderError, StaleEpochError
from meshnode.control.user_event import UserEvent, serialize_event
from meshnode.gossip.serf.events import KeyResult
from meshnode.http.connect_effects import ConnectEffect
from meshnode.http.effects import (
    CallServer,
    Effect,
    FireEvent,
    ForceLeave,
    Join,
    KeyOperation,
    KeyringStatus,
    KeyVerb,
    Leave,
    Pieces,
    ReadServer,
    Reload,
    ResolveToken,
    SetAgentToken,
    StreamLog,
    WaitForEvents,
)
from meshnode.http.errors import HttpError, ServerCallError
from meshnode.http.local_view import LocalEffect
from meshnode.http.user_events import parse_filter
from meshnode.rpc.method import RpcError
from meshnode.runtime.http_host import NotDoneError, Pending
from meshnode.runtime.logs import LogHub
from meshnode.runtime.turns import Turns

if TYPE_CHECKING:
    from meshnode.agent.server_endpoints import ServerEndpoints
    from meshnode.agent.state_gateway import Begun

__all__ = ["Performer"]

_log = logging.getLogger("meshnode.agent")
#: How often a key operation is sent when nodes did not answer.
MAX_KEY_ATTEMPTS: Final = 3


class Performer:
    """``leave`` (did it?) and ``reload`` are the agent's own; ``endpoints`` is ``None`` on a client."""

    def __init__(
        self,
        *,
        datacenter: str,
        lan: Pool,
        wan: Pool | None,
        endpoints: ServerEndpoints | None,
        calls: ServerCalls,
        events: UserEvents,
        logs: LogHub,
        access: Access,
        local: LocalPerformer,
        connect: ConnectRole,
        leave: Callable[[], Awaitable[bool]],
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self._datacenter = datacenter
        self._lan = lan
        self._wan = wan
        self._endpoints = endpoints
        self._calls = calls
        self._events = events
        self._logs = logs
        self._access = access
        self._local = local
        self._connect = connect
        self._turns = Turns()
        self._leave = leave
        self._reload = reload

    async def perform(self, effect: Effect[Any]) -> Any:
        """Perform ``effect`` and return its outcome; raises :class:`MeshError` for what is expected to fail."""
        match effect:
            case CallServer(method, body, datacenter, token):
                token = token or self._access.tokens.for_requests
                fields = {**body, "Token": token} if token else body
                return await self.call(method, fields, datacenter, repeatable=isinstance(effect, ReadServer))
            case LocalEffect():
                return await self._local.perform(effect)
            case ConnectEffect():
                return await self._connect.perform(effect)
            case ResolveToken(token):
                return await self._access.resolve(token)
            case SetAgentToken(name, token):
                return self._access.tokens.set(name, token)
            case Join(addresses, wan):
                return await self._join(addresses, wan=wan)
            case Leave():
                if not await self._leave():
                    raise MeshError("the leave was not finished in time: the agent stops without it")
                return None
            case ForceLeave(name, prune):
                return self._force_leave(name, prune=prune)
            case Reload():
                return await self._reload()
            case KeyOperation():
                return await self._keys(effect)
            case FireEvent(event, datacenter, token):
                return await self._fire(event, datacenter, token)
            case WaitForEvents(generation, timeout):
                return await self._events.wait(generation, timeout)
            case StreamLog(level):
                return log_lines(self._logs, level)
            case Pieces(pieces):
                return self._turns.each(pieces)
        raise MeshError(f"this agent can't perform {type(effect).__name__}")

    def begin(self, effect: Effect[Any]) -> Pending | None:
        """Begin a write that this agent carries out by itself; ``None``: :meth:`perform` is for it."""
        if type(effect) is not CallServer or self._endpoints is None:
            return None
        if effect.datacenter not in ("", self._datacenter):
            return None
        token = effect.token or self._access.tokens.for_requests
        begun = self._endpoints.begin(
            effect.method, {**effect.body, "Token": token} if token else effect.body
        )
        return None if begun is None else Pending(begun.written, partial(_finish, begun))

    async def call(
        self, method: str, body: Mapping[str, object], datacenter: str = "", *, repeatable: bool = True
    ) -> Any:
        """Call a server, this one if it is one. Raises :class:`MeshError`."""
        if self._endpoints is not None and datacenter in ("", self._datacenter):
            try:
                return await self._endpoints.call(method, body)
            except RpcError as error:
                raise ServerCallError(str(error)) from None
        wait = block_time(body)
        if self._endpoints is None and datacenter not in ("", self._datacenter):
            # Only servers know other datacenters: ours passes it on.
            body = {**body, "Datacenter": datacenter}
            return await self._calls.call(method, body, repeatable=repeatable, wait=wait)
        return await self._calls.call(method, body, datacenter, repeatable=repeatable, wait=wait)

    async def _join(self, addresses: tuple[str, ...], *, wan: bool) -> int:
        pool = self._wan if wan else self._lan
        if pool is None:
            raise MeshError("WAN join needs a server agent: this agent is a client")
        _log.info("(%s) joining: %s", "WAN" if wan else "LAN", ", ".join(addresses))
        result = await pool.shell.join(list(addresses))
        if result.joined == 0:
            raise MeshError("; ".join(result.errors) or "no address answered")
        return result.joined

    def _force_leave(self, name: str, *, prune: bool) -> None:
        known = {member.name for member in self._lan.members}
        if name not in known:
            raise HttpError(500, f"agent: no node named {name!r} is known in the LAN pool")
        _log.info("force leaving node: %s", name)
        self._lan.shell.force_leave(name, prune=prune)
        if self._wan is not None:
            wan_name = f"{name}.{self._datacenter}"
            if any(member.name == wan_name for member in self._wan.members):
                self._wan.shell.force_leave(wan_name, prune=prune)

    async def _keys(self, operation: KeyOperation) -> tuple[KeyringStatus, ...]:
        key = _decode_key(operation.key) if operation.key else None
        known = [pool for pool in (self._wan, self._lan) if pool is not None]
        pools = [pool for pool in known if operation.wan in (None, pool.wan)]
        if not pools:
            raise MeshError("this server has no WAN pool: `ports.serf_wan` is -1")
        answers = []
        for pool in pools:
            if pool.shell.serf.keyring is None:
                raise MeshError("gossip encryption is not enabled: set `encrypt` in the configuration")
            answers.append(self._status(pool, await _ask_all(pool, operation, key)))
        return tuple(answers)

    def _status(self, pool: Pool, result: KeyResult) -> KeyringStatus:
        missing = result.num_nodes - result.num_responses
        reasons = (
            [f"{result.num_errors}/{result.num_nodes} nodes reported failure"] if result.num_errors else []
        )
        reasons += [f"{missing}/{result.num_nodes} nodes did not answer"] if missing > 0 else []
        return KeyringStatus(
            wan=pool.wan,
            datacenter=self._datacenter,
            keys=dict(result.keys),
            num_nodes=result.num_nodes,
            messages=dict(result.messages),
            error="; ".join(reasons),
        )

    async def _fire(self, event: UserEvent, datacenter: str, token: str) -> UserEvent:
        for pattern in (event.node_filter, event.service_filter, event.tag_filter):
            if pattern:
                parse_filter(pattern)
        identified = replace(event, event_id=str(uuid.uuid4()))
        body = {
            "Datacenter": datacenter or self._datacenter,
            "Name": identified.name,
            "Payload": serialize_event(identified),
            "Token": token or self._access.tokens.for_requests,
        }
        await self.call("Internal.EventFire", body, datacenter, repeatable=False)
        return identified


async def _ask_all(pool: Pool, operation: KeyOperation, key: bytes | None) -> KeyResult:
    """Ask until every node has answered: gossip may miss one. A removal is not repeated: the second one is an error."""
    attempt = MAX_KEY_ATTEMPTS if operation.verb is KeyVerb.REMOVE else 1
    while True:
        result = await pool.shell.key_operation(operation.verb.value, key, operation.relay_factor)
        missed = result.num_nodes - result.num_responses
        if missed <= 0 or result.num_errors or attempt == MAX_KEY_ATTEMPTS:
            return result
        attempt += 1
        _log.info("%s keys: %d nodes did not answer, asking again", operation.verb.value, missed)


def _decode_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise HttpError(400, "the key is not valid base64") from None
    if len(key) not in (16, 24, 32):
        raise HttpError(400, f"the key has {len(key)} bytes: keys have 16, 24 or 32")
    return key


def _finish(begun: Begun) -> Any:
    try:
        return begun.reply()
    except (NotLeaderError, StaleEpochError):
        raise NotDoneError from None
    except MeshError as error:
        raise ServerCallError(str(error)) from None
