"""One connection on a real loopback socket: time-outs, refusals, and who does not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket

import pytest

from meshnode.runtime.http_connection import MAX_BACKLOG_BYTES, PARSE_SLICE_BYTES, HttpConnection
from meshnode.runtime.http_server import HttpLimits
from meshnode.runtime.tasks import spawn
from tests.support.http_agent import FakeView, member
from tests.support.http_serving import closed, on_loop, serving, within
from tests.unit.meshnode.runtime.http_dialling import IMPATIENT, LOOPS, WAIT, answer, get, gone


@LOOPS
def test_a_client_that_does_not_read_is_not_read_from(uv: bool) -> None:
    async def main() -> None:
        view = FakeView(lan=tuple(member(f"n{i}") for i in range(200)))
        async with serving(view=view) as http:
            reader, writer = await http.connect()
            count = 6000
            writer.write(
                get("/v1/agent/members") * (count - 1) + get("/v1/agent/members", "Connection: close\r\n")
            )
            async with asyncio.timeout(20):
                while not http.server.host.connections:
                    await asyncio.sleep(0)
                (connection,) = http.server.host.connections
                assert isinstance(connection, HttpConnection)
                while connection._paused is None or connection._reading:
                    await asyncio.sleep(0)
            # What was parsed is one slice at most, what was not is the backlog and one read more.
            assert len(connection._queue) <= PARSE_SLICE_BYTES // len(get("/v1/agent/members"))
            assert len(connection._backlog) <= MAX_BACKLOG_BYTES + 256 * 1024
            assert await http.curl("/") == "Consul Agent"
            body = json.dumps([each.as_json() for each in view.lan], separators=(",", ":")).encode()
            data = await within(reader.read())
            assert data.count(b"HTTP/1.1 200 OK") == count
            assert data.endswith(body)
            await closed(writer)

    on_loop(main, uv=uv)


SLOW = {
    "nothing at all": (b"", b""),
    "half a request line": (b"GET /v1/st", b"HTTP/1.1 408"),
    "half a head": (b"GET / HTTP/1.1\r\nHost:", b"HTTP/1.1 408"),
    "half a body": (b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 408"),
    "chunks without end": (b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
                           b"HTTP/1.1 408"),
    "idle after an answer": (get("/"), b"HTTP/1.1 200"),
}  # fmt: skip


@LOOPS
@pytest.mark.parametrize(("wire", "answered"), SLOW.values(), ids=SLOW)
def test_a_client_that_does_not_finish_is_closed_in_time(uv: bool, wire: bytes, answered: bytes) -> None:
    async def main() -> None:
        async with serving(limits=IMPATIENT) as http:
            data = await http.raw(wire)
            assert data.startswith(answered)
            assert bool(data) is bool(answered)
            await gone(http)

    on_loop(main, uv=uv)


async def everything(reader: asyncio.StreamReader) -> bytes:
    """What arrives until the end; a server that cuts a client who is still sending ends with a reset."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(1 << 16):
            received += data
    return received


@pytest.mark.parametrize(
    ("start", "drip", "said"), [(b"GET / HTTP/1.1\r\nA: ", b"x", b"408"), (b"\r\n", b"\r\n", b"")]
)
def test_one_byte_at_a_time_does_not_buy_more_time(start: bytes, drip: bytes, said: bytes) -> None:
    async def main() -> None:
        async with serving(limits=IMPATIENT) as http:
            reader, writer = await http.connect()
            ended = spawn(everything(reader), name="drip")
            writer.write(start)
            async with asyncio.timeout(20):
                while not ended.done():
                    writer.write(drip)
                    await asyncio.wait([ended], timeout=0.01)
            await closed(writer)
            assert said in ended.result()

    on_loop(main)


def test_a_client_that_never_reads_its_answer_is_cut() -> None:
    async def main() -> None:
        view = FakeView(lan=tuple(member(f"n{i}") for i in range(20_000)))
        async with serving(limits=IMPATIENT, view=view) as http:
            sock = socket.create_connection(("127.0.0.1", http.port))
            sock.sendall(get("/v1/agent/members") * 20)
            async with asyncio.timeout(20):
                while not http.server.host.connections:
                    await asyncio.sleep(0)
            await gone(http)
            sock.close()

    on_loop(main)


def test_a_waiting_query_outlives_the_idle_time_out() -> None:
    async def main() -> None:
        async with serving(limits=IMPATIENT) as http:
            reader, writer = await http.connect()
            writer.write(WAIT)
            await within(http.shell.started.wait())
            assert await http.raw(b"") == b""  # three time-outs later
            assert await http.raw(b"") == b""
            http.shell.changed.set()
            http.view.now = 1000.0
            assert (await answer(reader))[0] == 200
            await closed(writer)

    on_loop(main)


@pytest.mark.parametrize(
    ("wire", "status"),
    [(b"\x00\x01\x02\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", 431),
     (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /s", 400)],
)  # fmt: skip
@LOOPS
def test_a_refusal_is_readable_and_is_the_end(uv: bool, wire: bytes, status: int) -> None:
    async def main() -> None:
        async with serving() as http:
            data = await http.raw(get("/v1/status/leader") + wire + get("/v1/agent/self"))
            first, second = data.split(b'"10.0.0.1:8300"')
            assert first.startswith(b"HTTP/1.1 200")
            assert second.startswith(f"HTTP/1.1 {status} ".encode())
            assert b"Connection: close" in second
            assert second.count(b"HTTP/1.1") == 1
            await gone(http)

    on_loop(main, uv=uv)


def test_connections_are_bounded_in_all_and_by_client() -> None:
    async def main() -> None:
        for limits in (HttpLimits(max_connections=2), HttpLimits(max_connections_per_client=2)):
            async with serving(limits=limits) as http:
                first = await http.connect()
                second = await http.connect()
                for reader, writer in (first, second):
                    writer.write(get("/"))
                    assert (await answer(reader))[0] == 200
                assert (await http.raw(b"")).startswith(b"HTTP/1.1 503")
                await closed(first[1])
                second[1].write(get("/"))
                assert (await answer(second[0]))[0] == 200
                await closed(second[1])
                await gone(http)
                assert (await http.raw(get("/", "Connection: close\r\n"))).startswith(b"HTTP/1.1 200")

    on_loop(main)
