"""What a data plane makes of a request: behind it an application answers with the bytes that it got.

An outcome is a text, so that it can be compared, kept as data, and read in ``docs/http-conformance.md``: each status
that was answered with what had reached the application, then what became of the connection. What a data plane adds by
itself to each request is left out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from typing import Final

from meshnode.proxy.config import Endpoint

__all__ = ["CLOSED", "NEXT", "PATIENCE", "WAITS", "ask_http1", "connect", "echo_application", "shown_message"]

#: Sent behind each case: where this one is answered, the case was taken to end where its bytes do.
SENTINEL: Final = b"GET /sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
#: Seconds until what doesn't answer is taken to wait for more.
PATIENCE: Final = 15.0
NEXT: Final = "next"
CLOSED: Final = "closed"
WAITS: Final = "waits"
_LIMIT: Final = 1024 * 1024
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: What a data plane tells applications besides.
_ALWAYS: Final = {
    "": (),
    "builtin": ("x-forwarded-for", "x-forwarded-proto", "x-request-id"),
    "envoy": ("x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms"),
}
_ADDED: Final = {
    "x-forwarded-proto": re.compile("https"),
    "x-forwarded-for": re.compile(r"127\.0\.0\.1"),
    "x-request-id": _UUID,
    "x-envoy-expected-rq-timeout-ms": re.compile("15000"),
}
_LONG: Final = 48
_SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@contextlib.asynccontextmanager
async def echo_application() -> AsyncIterator[Endpoint]:
    """An application of HTTP/1.1 that reads no more than what proxies send, and answers with each message's bytes."""
    open_: list[tuple[asyncio.StreamWriter, asyncio.Task[None] | None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.append((writer, asyncio.current_task()))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _message(reader)
                if b"\r\nupgrade: websocket\r\n" in message.lower():
                    writer.write(_SWITCHING + message)
                    break
                if message.startswith(b"HEAD "):
                    writer.write(b"HTTP/1.1 200 OK\r\nX-Got: %s\r\n\r\n" % base64.b64encode(message))
                else:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message))
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_LIMIT)
    try:
        yield Endpoint("127.0.0.1", listening.sockets[0].getsockname()[1])
    finally:
        listening.close()
        for writer, _ in open_:
            writer.transport.abort()
        await asyncio.gather(*(task for _, task in open_ if task is not None))


async def _message(reader: asyncio.StreamReader) -> bytes:
    message = await reader.readuntil(b"\r\n\r\n")
    head = message.lower()
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        while not message.endswith(b"\r\n0\r\n"):
            size = await reader.readuntil(b"\r\n")
            message += size
            if length := int(size, 16):
                message += await reader.readexactly(length + 2)
        while not message.endswith(b"\r\n\r\n"):
            message += await reader.readuntil(b"\r\n")
    elif found := re.search(rb"\r\ncontent-length: (\d+)\r\n", head):
        message += await reader.readexactly(int(found[1]))
    return message


def shown_message(data: bytes, plane: str = "") -> str:
    """A message that reached the application: first line, fields in the order of the alphabet, body, trailers.

    What ``plane`` should have added and didn't is told.
    """
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return "(nothing)"
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    shown = [method, _short(target)] + ([version] if version != "HTTP/1.1" else [])
    shown += sorted(_shown_fields(lines))
    there = {line.partition(":")[0].lower() for line in lines}
    shown += [f"without {name}" for name in _ALWAYS[plane] if name not in there]
    chunked = any(line.lower() == "transfer-encoding: chunked" for line in lines)
    text, trailers = _unchunked(body) if chunked else (body, [])
    if text:
        shown.append(f"body {_short(text.decode('latin-1'))}")
    return " ".join([*shown, *(f"trailer {line}" for line in sorted(_shown_fields(trailers)))])


def _shown_fields(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        name, _, value = line.partition(": ")
        usual = _ADDED.get(name.lower())
        if usual is None or not usual.fullmatch(value):
            value = value.lower() if name.lower() == "connection" else value
            found.append(f"{name.lower()}={_short(value)}")
    if len(found) > 20:
        return [f"{len(found)} fields"]
    return found


def _short(text: str) -> str:
    return ascii(text)[1:-1] if len(text) <= _LONG else f"({len(text)} bytes)"


def _unchunked(body: bytes) -> tuple[bytes, list[str]]:
    text = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return text, [line for line in body.decode("latin-1").split("\r\n") if line]
        text, body = text + body[:length], body[length + 2 :]


async def connect(to: Endpoint, *protocols: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Over TLS, believing whoever answers; ``protocols`` are offered by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return await asyncio.open_connection(to.host, to.port, ssl=context, limit=_LIMIT)


async def ask_http1(to: Endpoint, data: bytes, plane: str = "") -> str:
    """The outcome of ``data`` with the sentinel behind it, over TLS."""
    reader, writer = await connect(to, "http/1.1")
    answers: list[str] = []
    end = CLOSED
    try:
        writer.write(data + SENTINEL)
        async with asyncio.timeout(PATIENCE):
            while True:
                answers.append(await _answer(reader, plane))
    except TimeoutError:
        end = WAITS
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.transport.abort()
    if any(" /sentinel" in answer for answer in answers):
        answers = [answer for answer in answers if " /sentinel" not in answer]
        end = NEXT
    return "; ".join([*answers, end])


async def _answer(reader: asyncio.StreamReader, plane: str) -> str:
    """One response: its status, and the message that the application got."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode()
    if found := re.search(rb"\r\nx-got: (\S+)", head, re.IGNORECASE):
        return f"{status} {shown_message(base64.b64decode(found[1]), plane)}"
    if status == "101":
        return f"101 {shown_message(await reader.read(), plane)}"
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(length[1])) if length else b""
    return f"{status} {shown_message(body, plane)}" if status == "200" else status
