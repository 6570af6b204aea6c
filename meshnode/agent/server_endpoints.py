"""What a server answers to a call: here, at the leader, or in another datacenter."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.agent.pool import Pool
from meshnode.agent.server_calls import ServerCalls
from meshnode.agent.state_gateway import Begun, StateGateway
from meshnode.agent.wan_map import datacenter_coordinates, datacenters
from meshnode.base.errors import MeshError
from meshnode.control.body import Body, block_time, text
from meshnode.control.primary import NOT_PRIMARY, place_of
from meshnode.control.status import STATUS_METHODS, ClusterView, StatusHandler
from meshnode.control.user_event import EVENT_PREFIX
from meshnode.control.wire import from_wire
from meshnode.rpc.codec import Request
from meshnode.rpc.method import MethodTable, RpcError
from meshnode.runtime.rpc_server import PeerInfo

__all__ = ["ServerEndpoints", "text_field"]

#: Field of a body: a secondary datacenter takes us for the primary.
_FOR_PRIMARY: Final = "ForPrimary"


class ServerEndpoints:
    """What this server does on each RPC. ``fire`` sends a user event to the LAN pool; ``primary`` is a datacenter."""

    def __init__(
        self,
        view: Callable[[], ClusterView],
        fire: Callable[[str, bytes], None],
        datacenter: str,
        *,
        gateway: StateGateway,
        calls: ServerCalls,
        rights: Callable[[str], Authorizer],
        stats: Callable[[], Awaitable[dict[str, Any]]],
        wan: Pool | None,
        primary: str = "",
    ) -> None:
        self._view = view
        self._fire = fire
        self._datacenter = datacenter
        self._primary = primary or datacenter
        self._gateway = gateway
        self._calls = calls
        self._rights = rights
        self._wan = wan
        self._methods: MethodTable[Callable[[Any], Any]] = MethodTable(
            {
                "Internal.EventFire": self._fire_event,
                "Status.RaftStats": lambda _: stats(),
                "Catalog.ListDatacenters": self._list_datacenters,
                "Coordinate.ListDatacenters": self._list_coordinates,
            }
        )
        self._methods.add({name: self._status(handler) for name, handler in STATUS_METHODS.items()})

    def _status(self, handler: StatusHandler) -> Callable[[Any], Any]:
        return lambda body: handler(self._view(), body)

    async def handle(self, request: Request, peer: PeerInfo) -> Any:
        """Answer a request that came over the network."""
        del peer
        if request.method in self._gateway:
            return await self.call(request.method, _argument(request))
        return await self.call(request.method, request.body)

    def begin(self, method: str, body: Body) -> Begun | None:
        """See :meth:`StateGateway.begin`."""
        if self.place_of(method, body.get("Datacenter", "")) != self._datacenter:
            return None
        return self._gateway.begin(method, body)

    def place_of(self, method: str, wanted: str) -> str:
        """The datacenter that answers when ``wanted`` (empty: ours) was asked for."""
        return place_of(method, wanted, self._datacenter, self._primary)

    async def call(self, method: str, body: Any) -> Any:
        """Answer a call; raises :class:`RpcError` with the text for the caller."""
        try:
            if method in self._gateway:
                return await self._carried_out(method, body)
            answer = self._methods.find(method)(body)
            return await answer if inspect.isawaitable(answer) else answer
        except RpcError:
            raise
        except MeshError as error:
            raise RpcError(str(error)) from None

    async def _carried_out(self, method: str, body: Body) -> Any:
        wanted = text(body, "Datacenter")
        place = self.place_of(method, wanted)
        if place == self._datacenter:
            return await self._gateway.call(method, body)
        if body.get(_FOR_PRIMARY):
            # Two that name each other would pass it to and fro.
            raise RpcError(f"{NOT_PRIMARY}: {self._datacenter} has primary_datacenter {place}")
        ours = {_FOR_PRIMARY: True} if wanted in ("", self._datacenter) else {}
        return await self._calls.call(
            method,
            {**body, "Datacenter": place, **ours},
            place,
            repeatable=self._gateway.is_read(method),
            wait=block_time(body),
        )

    def _list_datacenters(self, body: Any) -> list[str]:
        """The datacenters that the WAN pool knows, ours first, the others by their distance."""
        del body
        return datacenters(self._wan, self._datacenter)

    def _list_coordinates(self, body: Any) -> list[dict[str, Any]]:
        del body
        return datacenter_coordinates(self._wan, self._datacenter)

    async def _fire_event(self, body: Any) -> Any:
        name, payload = text_field(body, "Name"), bytes_field(body, "Payload")
        if not name:
            raise RpcError("Must provide event name")
        wanted = text_field(body, "Datacenter")
        if wanted and wanted != self._datacenter:
            passed = {
                "Datacenter": wanted,
                "Name": name,
                "Payload": payload,
                "Token": text_field(body, "Token"),
            }
            return await self._calls.call("Internal.EventFire", passed, wanted, repeatable=False)
        require(self._rights(text_field(body, "Token")), Resource.EVENT, name, Access.WRITE)
        self._fire(EVENT_PREFIX + name, payload)
        return {"Datacenter": self._datacenter}


def text_field(body: Any, name: str) -> str:
    """A field of a decoded msgpack map as text; empty when absent. Raises :class:`RpcError` when it isn't text."""
    try:
        return bytes_field(body, name).decode()
    except UnicodeDecodeError:
        raise RpcError(f"{name} is not UTF-8") from None


def bytes_field(body: Any, name: str) -> bytes:
    """A field of a decoded msgpack map as bytes; empty when absent or nil."""
    value = body.get(name.encode(), body.get(name)) if isinstance(body, dict) else None
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise RpcError(f"{name} is not a byte string")
    return value


def _argument(request: Request) -> Body:
    """The argument of a call of the state; none stands for one without fields. Raises :class:`RpcError`."""
    body = from_wire(request.body)
    if body is None:
        return {}
    if not isinstance(body, Mapping):
        raise RpcError(f"{request.method}: its argument must be a struct, not {type(body).__name__}")
    return body
