"""An HTTP server on the test's own loop whose every answer is a coroutine: it can wait, and it can hang up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Asked", "HangUpError", "Reply", "ScriptedAgent", "reply", "scripted_agent"]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Reply:
    raw: bytes
    close: bool = False


class HangUpError(Exception):
    """Close the connection without an answer."""


def reply(value: Any = None, *, status: int = 200, **headers: str) -> Reply:
    """``X_Consul_Index="5"`` is that header; a value is JSON, bytes are as they are."""
    body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return Reply("\r\n".join([*lines, "", ""]).encode() + body)


@dataclass
class ScriptedAgent:
    address: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def drop_all(self) -> None:
        """Close every connection, as a restart does."""
        for writer in self.writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def scripted_agent(answer: Callable[[Asked], Awaitable[Reply]]) -> AsyncIterator[ScriptedAgent]:
    agent = ScriptedAgent()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent.connections += 1
        number = agent.connections
        agent.writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, HangUpError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode()
                    request, *lines = head.strip().split("\r\n")
                    method, target, _ = request.split(" ")
                    headers = dict(line.lower().split(": ", 1) for line in lines)
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
                    parts = urlsplit(target)
                    asked = Asked(
                        method,
                        parts.path,
                        parse_qsl(parts.query, keep_blank_values=True),
                        headers,
                        body,
                        number,
                    )
                    agent.asked.append(asked)
                    given = await answer(asked)
                    writer.write(given.raw)
                    await writer.drain()
                    if given.close:
                        break
        finally:
            agent.writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    agent.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield agent
    finally:
        server.close()
        agent.drop_all()
