"""HTTP checks of servers that answer late, badly, for ever, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.http_answer import MAX_HEAD_BYTES
from meshnode.local.check_status import OutputTail, Result
from meshnode.local.check_type import HttpCheck
from meshnode.runtime.checks import http_client
from meshnode.runtime.checks.http import check_http
from meshnode.runtime.checks.http_client import CheckAnswer, request_bytes
from meshnode.runtime.tasks import spawn
from tests.support.checks import no_tls, turns
from tests.support.rpc_lab import run
from tests.support.waiting import until
from tests.unit.meshnode.runtime.checks.web_servers import ask, loops, web


@contextlib.asynccontextmanager
async def raw_server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    serving: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(writer)
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.transport.abort()
        serving.discard(writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await until(lambda: not serving, "every connection is closed", interval=0.001)
        await asyncio.sleep(0)


def ask_raw(answer: bytes, loop: str = "asyncio", hold: bool = False, **more: Any) -> tuple[Result, str]:
    """What a check makes of these bytes; with ``hold`` the connection stays open afterwards."""

    async def main() -> tuple[Result, str]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await reader.read()  # until the check gives up

        async with raw_server(serve) as url:
            check = HttpCheck(url, **{"interval": 10, "timeout": 10, **more})
            return await check_http(check, no_tls), url

    return run(main, loop)


def test_head_has_no_body_to_wait_for() -> None:
    async def main() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        reading = spawn(CheckAnswer(OutputTail(9), bodiless=True).read(stream), name="read")
        await turns()
        assert reading.done()
        assert reading.result().status == 200

    run(main)
    # The time-out is longer than what a test may take.
    result, url = ask_raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hold=True, method="HEAD", timeout=90
    )
    assert result == ("passing", f"HTTP HEAD {url}: 200 OK Output: ")


@loops
def test_no_server_is_critical_in_gos_words(loop: str) -> None:
    with web() as server:
        url = server.base + "/"
    place = url.removeprefix("http://").rstrip("/")
    assert ask(url, loop=loop) == (
        "critical",
        f"Get {url}: dial tcp {place}: connect: connection refused",
    )


@loops
def test_an_answer_that_does_not_come_is_given_up(loop: str) -> None:
    result, url = ask_raw(b"HTTP/1.1 200", loop, hold=True, timeout=0.2)
    words = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
    assert result == ("critical", f"Get {url}: {words}")


@loops
@pytest.mark.parametrize("hold", [True, False])
def test_a_body_that_never_ends_or_breaks_off_does_not_change_the_status(loop: str, hold: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome"
    result, url = ask_raw(answer, loop, hold=hold, timeout=0.3)
    assert result == ("passing", f"HTTP GET {url}: 200 OK Output: some")


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (b"HTTP/1.1 200 \r\n\r\nuntil the end", "200  Output: until the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 OK Output: abc"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 No Content Output: "),
        (b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok", "200 Fine Output: ok"),
    ],
)
def test_every_framing_is_read(answer: bytes, output: str) -> None:
    result, url = ask_raw(answer)
    assert result == ("passing", f"HTTP GET {url}: {output}")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "EOF: the connection was closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP response b'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 200 OK\r\n", "EOF"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, "server response headers exceeded"),
    ],
)
def test_what_is_no_answer_is_critical_with_a_reason(answer: bytes, text: str) -> None:
    result, _ = ask_raw(answer)
    assert result.status == "critical"
    assert text in result.output


@pytest.mark.parametrize(("extra", "fine"), [(0, True), (1, False)])
def test_the_head_of_an_answer_is_bounded(extra: int, fine: bool) -> None:
    start, end = b"HTTP/1.1 200 OK\r\nA: ", b"\r\n\r\n"
    head = start + b"a" * (MAX_HEAD_BYTES - len(start) - len(end) + extra) + end
    reader = CheckAnswer(OutputTail(10))
    with contextlib.suppress(RemoteProtocolError):
        for number in range(len(head)):
            reader._feed(head[number : number + 1])
    assert (reader.head is not None) is fine


def test_a_body_is_read_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_BODY_BYTES", 100_000)

    async def main() -> None:
        stream, tail = asyncio.StreamReader(), OutputTail(3)
        stream.feed_data(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 99_999)
        reader = CheckAnswer(tail)
        reading = spawn(reader.read(stream), name="read")
        await turns()
        assert not reading.done()
        stream.feed_data(b"b")
        assert (await reading).status == 200
        assert tail.raw_text() == "aab"

    run(main)


def test_an_answer_of_the_100s_alone_is_none() -> None:
    result, url = ask_raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert result == ("critical", f"Get {url}: EOF: the connection was closed before an answer")


def test_a_request_with_a_line_break_is_not_made() -> None:
    with pytest.raises(ValueError, match="line break"):
        request_bytes("GET", "/", [("A", "b\r\nC: d")])
