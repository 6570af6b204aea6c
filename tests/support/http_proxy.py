"""The HTTP listener's surroundings: applications that show what reached them, a listener in front, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import h11
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event

from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.contexts import load_pair
from meshnode.runtime.proxy.http_listener import HttpListener, HttpServer, serve_http
from meshnode.runtime.proxy.interfaces import TlsMaterial
from tests.support.proxy import Ca, local, server, spiffe

__all__ = [
    "CA",
    "GET",
    "LEAF",
    "Http2Peer",
    "answering",
    "certificate_files",
    "exchange",
    "http2_peer",
    "listening",
    "raw",
    "said",
    "server_context",
    "show_app",
    "trusting_context",
]

GET = b"GET /a?b=1 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n"
CA = Ca()
#: Of ``localhost`` and 127.0.0.1 only in the first's case.
LEAF = CA.odd_leaf([spiffe("api")], dns=["localhost"])


def server_context(leaf: TlsMaterial = LEAF) -> ssl.SSLContext:
    """TLS without a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(context, leaf.chain_pem, leaf.key_pem)
    return context


def trusting_context(ca: Ca = CA) -> ssl.SSLContext:
    """A client's that verifies the chain and leaves the name to others."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=ca.root.certificate_pem)
    return context


@contextlib.asynccontextmanager
async def listening(upstream: Endpoint, **settings: Any) -> AsyncIterator[HttpServer]:
    """A listener in front of ``upstream``; cut at the end."""
    clock: Callable[[], float] | None = settings.pop("clock", None)
    listener = HttpListener("front", local(0), upstream, **settings)
    started = await (serve_http(listener, clock=clock) if clock else serve_http(listener))
    try:
        yield started
    finally:
        await started.stop(drain_timeout=0)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Show each request as JSON: method, path, headers, body, trailers."""
    connection = h11.Connection(h11.SERVER)
    while True:
        request, body, trailers = None, b"", []
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
                if connection.they_are_waiting_for_100_continue:
                    writer.write(
                        connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = list(event.headers)
                break
            else:
                return
        assert request is not None
        shown = {
            "method": request.method.decode(),
            "path": request.target.decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers],
            "body": body.decode("latin-1"),
            "trailers": [[name.decode(), value.decode()] for name, value in trailers],
        }
        data = json.dumps(shown).encode()
        fields = [("content-type", "application/json"), ("content-length", str(len(data))), ("x-app", "show")]
        writer.write(connection.send(h11.Response(status_code=200, headers=fields)) or b"")
        if request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=data)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        if connection.our_state is h11.MUST_CLOSE:
            return
        connection.start_next_cycle()


def show_app() -> contextlib.AbstractAsyncContextManager[Endpoint]:
    """An application of HTTP/1.1 that answers with what it was asked."""
    return server(_serve)


class Http2Peer:
    """A client of HTTP/2 by hand: what it sends is the test's business."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()

    def ask(self, path: str = "/", *, ended: bool = True) -> int:
        """The head of a request; the number of its stream."""
        stream = self.h2.get_next_available_stream_id()
        head = {":method": "GET" if ended else "POST", ":scheme": "http", ":authority": "a", ":path": path}
        self.h2.send_headers(stream, list(head.items()), end_stream=ended)
        return stream

    def flush(self) -> None:
        """Send what was said."""
        self.writer.write(self.h2.data_to_send())

    async def events(self, until: type[Event]) -> list[Event]:
        """What comes, up to the first event of that kind or to the end of the connection."""
        found: list[Event] = []
        self.flush()
        while not any(isinstance(event, until) for event in found):
            data = await asyncio.wait_for(self._reader.read(65536), 10)
            if not data:
                break
            found += self.h2.receive_data(data)
            self.flush()
        return found


@contextlib.asynccontextmanager
async def http2_peer(port: int) -> AsyncIterator[Http2Peer]:
    """Connected in the clear, by prior knowledge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Http2Peer(reader, writer)
    finally:
        writer.close()


async def raw(port: int, data: bytes, *, wait: float = 10.0) -> bytes:
    """Send bytes, end, and read everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), wait)
    finally:
        writer.close()


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and JSON of one raw request that says ``Connection: close``."""
    answer = await raw(port, request)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    return status, json.loads(body) if body.startswith(b"{") else {"text": body.decode()}


def certificate_files(directory: Path, leaf: TlsMaterial = LEAF) -> tuple[str, str]:
    """The root's and the leaf's file, for programs."""
    root, chain = directory / "root.pem", directory / "leaf.pem"
    root.write_text(leaf.roots_pem)
    chain.touch(mode=0o600)
    chain.write_text(leaf.chain_pem + leaf.key_pem)
    return str(root), str(chain)


def said(answer: bytes) -> tuple[int, str]:
    """Status and body of one response of ours."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body.decode()


def answering(data: bytes, *, then_close: bool = True) -> contextlib.AbstractAsyncContextManager[Endpoint]:
    """An application that answers every connection's first bytes with the same ones."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(data)
        await writer.drain()
        if then_close:
            writer.close()
        else:
            await reader.read()

    return server(serve)
