"""Calls to servers: one yamux session per server, dialled when first needed, shared by all calls, closed when idle.

    client = RpcClient(tls=contexts)
    leader = await client.call(Address("10.0.0.1", 8300), "Status.Leader", {}, timeout=5.0)
    await client.close()

Answers are raw (see :mod:`meshnode.rpc.codec`). ``RpcError``: the server answered with an error. Transport errors are
``ServerUnreachableError`` (nothing was sent), ``TlsRefusedError`` (nothing was executed), ``CallLostError`` and
``CallTimeoutError`` (the call may have been executed): whether to try another server is the caller's decision.
"""

from __future__ import annotations

import asyncio
from typing import Any

from meshnode.base.address import Address
from meshnode.rpc.method import RpcError
from meshnode.runtime.rpc_errors import (
    CallLostError,
    CallTimeoutError,
    ServerRefusedError,
    ServerUnreachableError,
    TlsRefusedError,
)
from meshnode.runtime.rpc_session import ClientConnection, ClientOptions, ServerKey
from meshnode.runtime.tls import TlsContexts

__all__ = [
    "CallLostError",
    "CallTimeoutError",
    "ClientOptions",
    "RpcClient",
    "ServerRefusedError",
    "ServerUnreachableError",
    "TlsRefusedError",
]


class RpcClient:
    """A pool of sessions. Use it from one event loop."""

    def __init__(self, *, tls: TlsContexts | None = None, options: ClientOptions | None = None) -> None:
        self._tls = tls
        self._options = options or ClientOptions()
        self._sessions: dict[ServerKey, ClientConnection] = {}
        self._live: set[ClientConnection] = set()
        self._closed = False

    @property
    def session_count(self) -> int:
        """Connections that exist or are being made."""
        return len(self._live)

    async def call(
        self, address: Address, method: str, body: object = None, *, timeout: float, datacenter: str = ""
    ) -> Any:
        """Call ``method`` and return the body of the answer.

        ``datacenter`` of the server (empty: our own) matters to ``verify_server_hostname``. ``timeout`` (seconds)
        covers dialling too. Raises what the top of this file lists, and ``LocalProtocolError`` for a body that can't
        be sent.
        """
        if self._closed:
            raise ServerUnreachableError("the RPC client is closed")
        loop = asyncio.get_running_loop()
        connection = self._connection(ServerKey(address, datacenter))
        call = connection.begin(method, body)
        handle = loop.call_later(timeout, call.give_up, timeout)
        try:
            response = await call.answer
        finally:
            handle.cancel()
            call.end()
        if response.error:
            raise RpcError(response.error)
        return response.body

    def drop(self, address: Address) -> None:
        """Give up the sessions with a server that is gone: its calls raise ``CallLostError`` instead of waiting."""
        for connection in [each for each in self._live if each.key.address == address]:
            connection.shut(CallLostError(f"server {address} has failed"))

    async def close(self) -> None:
        """Close every session; calls under way raise ``CallLostError``."""
        self._closed = True
        live = list(self._live)
        for connection in live:
            connection.shut(CallLostError("the RPC client was closed"))
        if live:
            await asyncio.wait([connection.ended for connection in live])

    def _connection(self, key: ServerKey) -> ClientConnection:
        connection = self._sessions.get(key)
        if connection is None or not connection.usable:
            profile = self._tls.outgoing_rpc(key.datacenter) if self._tls else None
            connection = ClientConnection(self, key, profile, self._options)
            self._sessions[key] = connection
            self._live.add(connection)
        return connection

    def forget(self, connection: ClientConnection, *, gone: bool) -> None:
        """A connection takes no new calls, or (``gone``) has ended."""
        if self._sessions.get(connection.key) is connection:
            del self._sessions[connection.key]
        if gone:
            self._live.discard(connection)
