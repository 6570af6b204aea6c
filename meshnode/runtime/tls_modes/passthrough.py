"""TLS that nobody opens: the client's first message is read, its bytes go on as they came.

What is no TLS is closed, and so is who asks for a name that is not let in, as an Envoy with a TLS inspector does it:
without a word, since an alert would be one of ours and not of the service's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.proxy.client_hello import MAX_CLIENT_HELLO_BYTES, read_server_name
from meshnode.proxy.config import DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_HANDSHAKES, Endpoint
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.proxy.dial import listen
from meshnode.runtime.proxy.host import peer_name
from meshnode.runtime.tasks import cancel_and_wait
from meshnode.runtime.tls_modes.engine import log
from meshnode.tls_modes.model import TlsListener, listener_name

__all__ = ["Passthrough"]

BACKLOG: Final = 1024
#: Taken from a connection at a time, and kept for one that doesn't read.
READ_BYTES: Final = 128 * 1024


@dataclass(slots=True)
class _Client:
    """One connection; ``server_name`` is what it asked for."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: str
    server_name: str = ""
    received: int = 0
    sent: int = 0


class Passthrough:
    """One listener of mode ``passthrough``."""

    def __init__(self, settings: TlsListener) -> None:
        self._settings = settings
        #: Where it listens: the port is the one that the system chose if 0 was asked for.
        self.address: Endpoint = settings.bind
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        #: Those whose first message isn't whole, oldest first.
        self._waiting: dict[asyncio.Task[None], None] = {}

    async def start(self) -> None:
        """Listen; raises :class:`ConfigError`."""
        one = self._settings
        try:
            sock = listen(one.bind, backlog=BACKLOG, shared=False)
        except OSError as error:
            raise ConfigError(
                f"listener.{one.name}.bind: can't listen on {one.bind}: {error.strerror or error}"
            ) from None
        if not one.bind.path:
            self.address = Endpoint(one.bind.host, sock.getsockname()[1])
            self._server = await asyncio.start_server(
                self._accept, sock=sock, backlog=BACKLOG, limit=READ_BYTES
            )
        else:
            self._server = await asyncio.start_unix_server(
                self._accept, sock=sock, backlog=BACKLOG, limit=READ_BYTES
            )

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Accept nobody, let connections end for so long, cut what is left."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await cancel_and_wait(*self._waiting)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=drain_timeout)
        await cancel_and_wait(*self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = _Client(reader, writer, peer_name(writer.get_extra_info("peername")))
        if len(self._tasks) >= DEFAULT_MAX_CONNECTIONS:
            self._refuse(client, f"{len(self._tasks)} connections are open")
            return
        if len(self._waiting) >= DEFAULT_MAX_HANDSHAKES:
            next(iter(self._waiting)).cancel()
        self._tasks.add(task)
        self._waiting[task] = None
        try:
            await self._serve(client, task)
        except asyncio.CancelledError:
            # Its task is the stream's: whoever cancelled it waits for the end of it and nothing else.
            writer.transport.abort()
        except OSError as error:
            self._refuse(client, _reason(error))
        finally:
            self._waiting.pop(task, None)
            self._tasks.discard(task)

    def _refuse(self, client: _Client, reason: str) -> None:
        client.writer.transport.abort()
        log.warning("%s refuses %s: %s", self._settings.name, client.peer, reason)

    async def _serve(self, client: _Client, task: asyncio.Task[None]) -> None:
        one = self._settings
        try:
            async with asyncio.timeout(one.handshake_timeout):
                first = await self._hello(client)
        except TimeoutError:
            self._refuse(client, f"its first message is not whole after {one.handshake_timeout:g} s")
            return
        except RemoteProtocolError as error:
            self._refuse(client, str(error))
            return
        self._waiting.pop(task, None)
        if not first:
            client.writer.close()
            return
        if one.server_names and listener_name(one.server_names, client.server_name) is None:
            asked = f"for {client.server_name:.253}" if client.server_name else "for no name (no SNI)"
            self._refuse(client, f"it asks {asked}, and server_names are {', '.join(one.server_names)}")
            return
        to = one.upstream.address
        try:
            async with asyncio.timeout(one.upstream.connect_timeout):
                reader, writer = await asyncio.open_connection(to.host, to.port, limit=READ_BYTES)
        except TimeoutError:
            self._refuse(client, f"{to} has not answered within {one.upstream.connect_timeout:g} s")
            return
        except OSError as error:
            self._refuse(client, f"{to} can't be reached: {_reason(error)}")
            return
        await self._relay(client, first, reader, writer)

    async def _hello(self, client: _Client) -> bytes:
        """The first bytes, once the name is known; empty for a client that left without a word."""
        data = b""
        while True:
            piece = await client.reader.read(MAX_CLIENT_HELLO_BYTES)
            if not piece:
                if data:
                    raise RemoteProtocolError("it ended before its first message was whole")
                return b""
            data += piece
            if (found := read_server_name(data)) is not None:
                client.server_name = found
                return data

    async def _relay(
        self, client: _Client, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        begun, why = time.monotonic(), "cut"
        client.received = len(first)
        writer.write(first)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(client.reader, writer, client, inwards=True))
                group.create_task(self._pump(reader, client.writer, client, inwards=False))
            why = "both sides ended"
            for end in (client.writer, writer):
                end.close()
        except* OSError as errors:
            first_error = errors.exceptions[0]
            why = _reason(first_error) if isinstance(first_error, OSError) else str(first_error)
        finally:
            for end in (client.writer, writer):
                if not end.is_closing():
                    end.transport.abort()
            log.info(
                "access %s: %s for %s, %d bytes in, %d bytes out, %d ms to %s: %s",
                self._settings.name, client.peer, client.server_name or "no name",
                client.received, client.sent, (time.monotonic() - begun) * 1000, self._settings.upstream.address, why,
            )  # fmt: skip

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: _Client, *, inwards: bool
    ) -> None:
        """Everything, then the end of it; the other direction goes on."""
        while data := await reader.read(READ_BYTES):
            if inwards:
                client.received += len(data)
            else:
                client.sent += len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def _reason(error: OSError) -> str:
    """The system's words: asyncio puts others, with the address, in their place."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
