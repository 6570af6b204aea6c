"""One connection to the agent on asyncio: a request, its answer, and again for as long as both sides keep it open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from meshnode.base.http_answer import AnswerReader, MalformedAnswer
from meshnode.client.answer import MAX_ANSWER_BYTES, AgentUnreachable, Answer
from meshnode.client.endpoint import Endpoint, broken_off, not_an_agent, oversized, unreachable

if TYPE_CHECKING:
    import ssl

__all__ = ["CONNECT_TIMEOUT", "StaleConnection", "Wire", "request_bytes"]

#: Seconds to connect, TLS included.
CONNECT_TIMEOUT: Final = 10.0


class StaleConnection(AgentUnreachable):
    """A connection that was kept open ended before the first byte of an answer: another one may do."""


def request_bytes(
    endpoint: Endpoint, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes | None
) -> bytes:
    """A request that leaves the connection open. Raises ``ValueError`` for a line break in it."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {endpoint.authority}", "User-Agent: meshnode"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None or method != "GET":
        lines.append(f"Content-Length: {len(body or b'')}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break in a request")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Wire(asyncio.Protocol):
    """To be made by :meth:`open`. ``usable``: idle, and nothing unasked-for has come."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._reader: AnswerReader | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._served = 0
        #: The owner's: TLS context that it was opened with, and seconds of its clock when it was last put aside.
        self.context: ssl.SSLContext | None = None
        self.idle_since = 0.0

    @classmethod
    async def open(cls, endpoint: Endpoint, context: ssl.SSLContext | None, server_name: str) -> Wire:
        """Connect; raises :class:`AgentUnreachable`, and ``TimeoutError`` only of the caller's own making."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if endpoint.path:
                    _, wire = await loop.create_unix_connection(lambda: cls(endpoint), endpoint.path)
                elif context is None:
                    _, wire = await loop.create_connection(
                        lambda: cls(endpoint), endpoint.host, endpoint.port
                    )
                else:
                    _, wire = await loop.create_connection(
                        lambda: cls(endpoint),
                        endpoint.host,
                        endpoint.port,
                        ssl=context,
                        server_hostname=server_name or endpoint.host,
                    )
        except UnicodeError:
            error = OSError(f"{endpoint.host!r} is no host name")
            raise unreachable(endpoint, error, connected=False) from None
        except (OSError, ValueError) as error:
            raise unreachable(endpoint, error, connected=False) from None
        return wire

    @property
    def usable(self) -> bool:
        """Whether another request can go over it."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    def close(self) -> None:
        """End it at once; an answer that is waited for fails."""
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes) -> Answer:
        """Send ``request`` and wait for its answer. Raises :class:`AgentUnreachable`; cancelled, it is closed."""
        if not self.usable:
            raise StaleConnection(f"the agent at {self._endpoint.text} has closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._reader, self._pieces, self._size = AnswerReader(), [], 0
        cast(asyncio.Transport, self._transport).write(request)
        try:
            answer = await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
        self._served += 1
        if not self._reader.reusable:
            self.close()
        self._reader, self._pieces = None, []
        return answer

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Some of an answer."""
        reader, answer = self._reader, self._answer
        if reader is None or answer is None:
            self.close()  # nobody asked
            return
        try:
            reader.feed(data)
        except MalformedAnswer as error:
            self._fail(not_an_agent(self._endpoint, error))
            return
        self._size += sum(map(len, reader.pieces))
        self._pieces += reader.pieces
        reader.pieces.clear()
        if self._size > MAX_ANSWER_BYTES:
            self._fail(oversized(self._endpoint, MAX_ANSWER_BYTES))
        elif reader.complete:
            self._succeed(reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; an answer without a length is whole by that."""
        reader, answer = self._reader, self._answer
        if reader is None or answer is None or answer.done():
            return
        where = self._endpoint.text
        if reader.ended():
            self._succeed(reader)
        elif self._served and not reader.status:
            self._fail(StaleConnection(f"the agent at {where} closed the connection"))
        elif exc is not None or (self._endpoint.secure and not reader.status):
            self._fail(unreachable(self._endpoint, exc or EOFError(), connected=True))
        else:
            self._fail(broken_off(self._endpoint))

    def _succeed(self, reader: AnswerReader) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(reader.status, reader.headers, b"".join(self._pieces)))

    def _fail(self, error: AgentUnreachable) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
