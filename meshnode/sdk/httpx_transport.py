"""httpx over the mesh: ``http://socat.mesh/path`` goes to an instance of ``socat`` by mutual TLS.

Needs httpx: ``pip install meshnode[sdk]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from meshnode.sdk.errors import DialError
from meshnode.sdk.hosts import parse_host

try:
    import httpcore
    import httpx
except ImportError as error:
    raise ImportError("MeshTransport needs httpx: pip install meshnode[sdk]") from error

if TYPE_CHECKING:
    from meshnode.sdk.service import Service

__all__ = ["MeshTransport"]

#: Seconds to connect, when the request's time-outs say nothing.
_CONNECT_TIMEOUT: Final = 5.0
_STREAM_LIMIT: Final = 2**16


class MeshTransport(httpx.AsyncBaseTransport):
    """``httpx.AsyncClient(transport=MeshTransport(service))``.

    Names: ``socat.mesh``, ``socat.service.consul``, ``socat.service.dc2.consul``, ``socat.connect.consul`` and, for a
    prepared query, ``socat.query.consul``. ``http`` and ``https`` mean the same: the mesh's mutual TLS. The port comes
    from the catalog, so a URL has none. Connections are kept open and used again, also over a rotation; httpx's own
    TLS settings don't count. Errors are httpx's: ``ConnectError`` when no instance can be connected to.
    """

    def __init__(
        self, service: Service, *, max_connections: int = 100, keepalive_expiry: float = 5.0
    ) -> None:
        """``keepalive_expiry``: seconds that an idle connection is kept for; at most 20 are."""
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=max_connections,
            max_keepalive_connections=20,
            keepalive_expiry=keepalive_expiry,
            network_backend=_MeshBackend(service),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; raises what :class:`httpx.AsyncHTTPTransport` does."""
        url = request.url
        if url.scheme not in {"http", "https"} or parse_host(url.host) is None:
            raise httpx.UnsupportedProtocol(
                f"{url.host!r:.100} names no service of the mesh: write http://NAME.mesh/, or NAME.service.consul",
                request=request,
            )
        if url.port is not None:
            raise httpx.UnsupportedProtocol(
                f"the port of {url.host} comes from the catalog: leave :{url.port} out", request=request
            )
        stream = request.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the request's body is not asynchronous: use httpx.AsyncClient")
        sent = httpcore.Request(
            method=request.method,
            # TLS is in the connection already; https here would be a second one inside it.
            url=httpcore.URL(scheme=b"http", host=url.raw_host, port=None, target=url.raw_path),
            headers=request.headers.raw,
            content=stream,
            extensions=request.extensions,
        )
        with _as_httpx(request):
            answer = await self._pool.handle_async_request(sent)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer, request),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, with httpx's errors."""

    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx(self._request):
            async for piece in self._answer.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        with _as_httpx(self._request):
            await self._answer.aclose()


@contextlib.contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """httpx has an error of the same name for each of httpcore's."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            same = getattr(httpx, kind.__name__, None)
            if kind.__module__.startswith("httpcore") and same is not None:
                raise same(str(error), request=request) from error
        raise


class _MeshBackend(httpcore.AsyncNetworkBackend):
    """Where httpcore asks for a TCP connection it gets one of the mesh."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del port, local_address, socket_options
        target = parse_host(host)
        if target is None:
            raise httpcore.ConnectError(f"{host!r:.100} names no service of the mesh")
        try:
            reader, writer = await self._service.dial(
                target.name,
                datacenter=target.datacenter,
                prepared_query=target.prepared_query,
                timeout=timeout or _CONNECT_TIMEOUT,
                limit=_STREAM_LIMIT,
            )
        except DialError as error:
            raise httpcore.ConnectError(str(error)) from error
        return _MeshStream(reader, writer)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("the mesh has no unix sockets")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _MeshStream(httpcore.AsyncNetworkStream):
    """A connection as httpcore wants it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(f"nothing came within {timeout:g} s") from error
        except OSError as error:
            raise httpcore.ReadError(str(error) or type(error).__name__) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                self._writer.write(buffer)
                await self._writer.drain()
        except TimeoutError as error:
            raise httpcore.WriteTimeout(f"nothing could be sent within {timeout:g} s") from error
        except OSError as error:
            raise httpcore.WriteError(str(error) or type(error).__name__) from error

    async def aclose(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("the connection speaks the mesh's TLS already")

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # Asked of an idle connection: bytes that nobody asked for, or its end.
            return self._reader.at_eof() or self._writer.is_closing()
        if info == "ssl_object":
            return self._writer.get_extra_info("ssl_object")
        if info in {"client_addr", "server_addr"}:
            return self._writer.get_extra_info("sockname" if info == "client_addr" else "peername")
        return self._writer.get_extra_info(info)
