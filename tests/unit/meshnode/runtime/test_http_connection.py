"""One connection on a real loopback socket: order, persistence, time-outs, back-pressure, disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import re
import socket
from typing import Any

import pytest

from meshnode.http.effects import Join, StreamLog, WaitForEvents
from meshnode.http.message import Request
from meshnode.http.router import Route
from meshnode.http.routes import ROUTES
from meshnode.http.view import HttpSettings
from meshnode.runtime.http_connection import MAX_BACKLOG_BYTES, PARSE_SLICE_BYTES, HttpConnection
from meshnode.runtime.http_server import HttpLimits
from meshnode.runtime.tasks import spawn
from tests.support.http_agent import EVENT_ID, FakeView, api_of, member
from tests.support.http_serving import Serving, closed, on_loop, run_curl, serving, within

LOOPS = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
WAIT = b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: a\r\n\r\n"


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one answer with a length."""
    head = (await within(reader.readuntil(b"\r\n\r\n"))).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return (
        int(head[0].split()[1]),
        headers,
        await within(reader.readexactly(int(headers.get("Content-Length", 0)))),
    )


@LOOPS
def test_curl_reads_an_answer(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            out = await http.curl("/v1/status/leader", "-i")
            assert out.startswith("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            assert re.search(r"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", out)
            assert out.endswith('\r\n\r\n"10.0.0.1:8300"')

    on_loop(main, uv=uv)


@LOOPS
def test_curl_keeps_its_connection_and_gets_gzip_and_configured_headers(uv: bool) -> None:
    async def main() -> None:
        view = FakeView(lan=tuple(member(f"n{i}") for i in range(50)))
        view.settings = HttpSettings(response_headers={"X-Mesh": "yes"})
        async with serving(view=view) as http:
            url = f"http://127.0.0.1:{http.port}/v1/agent/members"
            code, out, err = await run_curl("-v", "--compressed", url, url)
            assert code == 0
            assert len(json.loads(out.split("][")[0] + "]")) == 50
            assert err.count("< Content-Encoding: gzip") == 2
            assert "Re-using existing connection" in err
            assert "< X-Mesh: yes" in err

    on_loop(main, uv=uv)


@pytest.mark.parametrize("option", ["--http1.0", "--http1.1", "--http2"])
def test_curl_in_each_version_that_it_offers_in_clear_is_answered(option: str) -> None:
    async def main() -> None:
        async with serving() as http:
            assert await http.curl("/v1/status/leader", option) == '"10.0.0.1:8300"'

    on_loop(main)


def test_curl_puts_bodies_by_length_by_chunks_and_after_100_continue() -> None:
    async def main() -> None:
        async with serving() as http:
            body = "x" * 3000
            for options in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue", "-v"]):
                out = await http.curl("/v1/event/fire/deploy", "-X", "PUT", "--data-binary", body, *options)
                assert json.loads(out)["ID"] == EVENT_ID
            assert {effect.event.payload for effect in http.shell.performed} == {body.encode()}
            code, _, err = await run_curl(
                "-v", "-X", "PUT", "-d", body, "-H", "Expect: 100-continue",
                f"http://127.0.0.1:{http.port}/v1/event/fire/x",
            )  # fmt: skip
            assert code == 0
            assert "HTTP/1.1 100 Continue" in err

    on_loop(main)


def test_a_body_too_large_is_refused_before_it_is_sent() -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            writer.write(b"PUT /v1/event/fire/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                         b"Content-Length: 524289\r\n\r\n")  # fmt: skip
            status, headers, _ = await answer(reader)
            assert (status, headers["Connection"]) == (413, "close")
            assert await within(reader.read()) == b""
            await closed(writer)
            for size, expected in ((512 * 1024, 200), (512 * 1024 + 1, 413)):
                request = (f"PUT /v1/event/fire/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}"
                           "\r\n\r\n").encode() + b"x" * size  # fmt: skip
                assert (await http.raw(request)).startswith(f"HTTP/1.1 {expected}".encode())

    on_loop(main)


def test_the_standard_librarys_client_reuses_its_connection() -> None:
    def talk(port: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        local = None
        for method, path, status in (("GET", "/v1/agent/self", 200), ("HEAD", "/v1/agent/self", 200),
                                     ("PUT", "/v1/agent/self", 405), ("GET", "/x", 404), ("OPTIONS", "/v1/kv/a", 200),
                                     ("GET", "/v1/agent/connect/proxy/a", 501)):  # fmt: skip
            client.request(method, path)
            response = client.getresponse()
            body = response.read()
            assert response.status == status
            if method == "HEAD":
                assert body == b""
                assert int(response.headers["Content-Length"]) > 100
            assert local in (None, client.sock.getsockname())
            local = client.sock.getsockname()
        client.close()

    async def main() -> None:
        async with serving() as served:
            await asyncio.to_thread(talk, served.port)

    on_loop(main)


@LOOPS
def test_pipelined_requests_are_answered_in_order_although_some_must_wait(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            paths = ["/v1/status/leader", "/v1/event/list?index=1", "/v1/status/peers", "/v1/agent/nothing"]
            writer.write(
                b"".join(get(path) for path in paths) + b"PUT /v1/agent/join/x HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            assert (await answer(reader))[2] == b'"10.0.0.1:8300"'
            await within(http.shell.started.wait())
            writer.write(get("/", "Connection: close\r\n"))
            http.shell.changed.set()
            http.view.now = 1000.0
            assert (await answer(reader))[1]["X-Consul-Index"] == "1"
            assert (await answer(reader))[2] == b'["10.0.0.1:8300"]'
            assert (await answer(reader))[0] == 404
            assert (await answer(reader))[0] == 200
            assert (await answer(reader))[2] == b"Consul Agent"
            assert await within(reader.read()) == b""
            await closed(writer)
            assert [type(effect) for effect in http.shell.performed] == [WaitForEvents, Join]

    on_loop(main, uv=uv)


@LOOPS
def test_five_thousand_pipelined_requests_are_all_answered(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            wire = get("/v1/status/leader") * 4999 + get("/", "Connection: close\r\n")
            data = await http.raw(wire)
            assert data.count(b"HTTP/1.1 200 OK") == 5000
            assert data.endswith(b"Consul Agent")

    on_loop(main, uv=uv)


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


@LOOPS
def test_a_client_that_goes_away_ends_its_wait(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            _, writer = await http.connect()
            writer.write(WAIT)
            await within(http.shell.started.wait())
            writer.close()
            await within(http.shell.cancelled.wait())
            await closed(writer)
            await gone(http)

    on_loop(main, uv=uv)


@LOOPS
def test_a_client_that_goes_away_does_not_stop_a_leave_half_way(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            _, writer = await http.connect()
            writer.write(b"PUT /v1/agent/leave HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(http.shell.started.wait())
            await closed(writer)
            http.shell.release.set()
            await within(http.shell.finished.wait())
            await gone(http)

    on_loop(main, uv=uv)


@LOOPS
def test_a_client_that_only_half_closes_still_gets_its_answer(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            data = await http.raw(get("/v1/status/leader"), eof=True)
            assert data.endswith(b'"10.0.0.1:8300"')
            http.shell.release.set()
            data = await http.raw(b"PUT /v1/agent/leave HTTP/1.1\r\nHost: a\r\n\r\n" + get("/"), eof=True)
            assert data.count(b"HTTP/1.1 200 OK") == 2

    on_loop(main, uv=uv)


async def gone(http: Serving) -> None:
    """Until the server has no connection left."""
    http.server.host.emptied = asyncio.Event()
    if http.server.host.connections:
        await within(http.server.host.emptied.wait())


@LOOPS
def test_a_thousand_idle_blocking_queries_are_woken_by_one_event(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            clients = [await http.connect() for _ in range(1000)]
            for _, writer in clients:
                writer.write(WAIT)
            async with asyncio.timeout(20):
                while http.shell.waiting < 1000:
                    await asyncio.sleep(0)
            assert await http.curl("/v1/status/leader") == '"10.0.0.1:8300"'
            await http.curl("/v1/event/fire/deploy", "-X", "PUT")
            for reader, _ in clients:
                _, headers, body = await answer(reader)
                assert headers["X-Consul-Index"] != "1"
                assert json.loads(body)[0]["Name"] == "deploy"
            assert http.shell.waiting == 0
            for _, writer in clients:
                await closed(writer)

    on_loop(main, uv=uv)


@LOOPS
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_log_is_streamed_until_the_client_goes(uv: bool, version: str) -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            writer.write(f"GET /v1/agent/monitor HTTP/{version}\r\nHost: a\r\n\r\n".encode())
            head = await within(reader.readuntil(b"\r\n\r\n"))
            assert (b"Transfer-Encoding: chunked" in head) is (version == "1.1")
            expected = b"4\r\none\n\r\n4\r\ntwo\n\r\n" if version == "1.1" else b"one\ntwo\n"
            assert await within(reader.readexactly(len(expected))) == expected
            await closed(writer)
            await within(http.shell.cancelled.wait())
            await gone(http)
            assert http.shell.performed == [StreamLog("INFO")]

    on_loop(main, uv=uv)


def test_a_stream_that_ends_is_closed_with_an_empty_chunk_and_the_connection_goes_on() -> None:
    async def main() -> None:
        async with serving() as http:
            http.shell.release.set()
            assert await http.curl("/v1/agent/monitor") == "one\ntwo\n"
            data = await http.raw(get("/v1/agent/monitor") + get("/", "Connection: close\r\n"))
            assert b"0\r\n\r\nHTTP/1.1 200 OK" in data
            head = await http.raw(b"HEAD /v1/agent/monitor HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head.endswith(b"chunked\r\n\r\n")

    on_loop(main)


def test_a_slow_reader_of_a_stream_holds_back_its_source() -> None:
    async def main() -> None:
        async with serving() as http:
            produced = 0

            async def endless() -> Any:
                nonlocal produced
                while True:
                    produced += 1
                    yield b"x" * 65536

            http.shell._lines = endless  # type: ignore[method-assign]
            sock = socket.create_connection(("127.0.0.1", http.port))
            sock.sendall(get("/v1/agent/monitor"))
            (connection,) = http.server.host.connections or {None}
            async with asyncio.timeout(20):
                while connection is None or connection._paused is None:
                    await asyncio.sleep(0)
                    (connection,) = http.server.host.connections or {None}
            before = produced
            assert await http.curl("/v1/status/leader") == '"10.0.0.1:8300"'
            assert produced == before
            sock.close()
            await gone(http)

    on_loop(main)


def test_a_stream_goes_on_after_its_reader_was_slow_for_a_while() -> None:
    async def main() -> None:
        async with serving(limits=IMPATIENT) as http:

            async def bursts() -> Any:
                for _ in range(300):
                    yield b"x" * 65536
                http.shell.started.set()
                await http.shell.release.wait()
                yield b"the end"

            http.shell._lines = bursts  # type: ignore[method-assign]
            reader, writer = await http.connect()
            writer.write(b"GET /v1/agent/monitor HTTP/1.0\r\n\r\n")
            await within(reader.readuntil(b"\r\n\r\n"))
            await within(reader.readexactly(300 * 65536))
            await within(http.shell.started.wait())
            assert await http.raw(b"") == b""  # longer than any time-out
            http.shell.release.set()
            assert await within(reader.read()) == b"the end"
            await closed(writer)

    on_loop(main)


IMPATIENT = HttpLimits(header_timeout=0.2, body_timeout=0.2, idle_timeout=0.2, write_timeout=0.2)
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


@LOOPS
def test_a_bug_in_a_handler_is_500_without_its_details_and_the_connection_goes_on(
    uv: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_context: Any, _request: Request) -> Any:
        raise ZeroDivisionError("secret detail")

    def broken_later(_context: Any, _request: Request) -> Any:
        yield WaitForEvents(0, 0.0)
        raise ZeroDivisionError("secret detail")

    async def main() -> None:
        view = FakeView()
        routes = (Route("/at-once", {"GET": broken}), Route("/later", {"GET": broken_later}), *ROUTES)
        api = type(api_of(view))(view, api_of(view).context.rng, routes)
        async with serving(view=view, api=api) as http:
            data = await http.raw(get("/at-once") + get("/later") + get("/", "Connection: close\r\n"))
            assert data.count(b"HTTP/1.1 500") == 2
            assert b"secret" not in data
            assert data.endswith(b"Consul Agent")

    on_loop(main, uv=uv)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "GET /at-once failed: secret detail", "GET /later failed: secret detail"]  # fmt: skip


def test_request_lines_are_logged_at_debug_with_their_tokens_hidden(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving() as http:
            with caplog.at_level(logging.DEBUG, "meshnode.http"):
                await http.curl("/v1/agent/self?token=s3cret", "-H", "X-Consul-Token: s3cret")
                await http.curl("/v1/agent/join/x?token=s3cret", "-X", "PUT")

    on_loop(main)
    assert "s3cret" not in caplog.text
    assert re.search(
        r"Request GET /v1/agent/self\?token=<hidden> 200 \(\d+\.\d+ms\) from=127\.0\.0\.1:\d+", caplog.text
    )
    assert "Request PUT /v1/agent/join/x?token=<hidden> 200" in caplog.text


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
