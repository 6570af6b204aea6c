"""One connection on a real loopback socket: order, persistence, time-outs, back-pressure, disconnects."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import re
from typing import Any

import pytest

from meshnode.http.effects import Join, WaitForEvents
from meshnode.http.message import Request
from meshnode.http.router import Route
from meshnode.http.routes import ROUTES
from meshnode.http.view import HttpSettings
from tests.support.http_agent import EVENT_ID, FakeView, api_of, member
from tests.support.http_serving import closed, on_loop, run_curl, serving, within
from tests.unit.meshnode.runtime.http_dialling import LOOPS, WAIT, answer, get, gone


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
                                     ("PUT", "/v1/agent/self", 405), ("GET", "/x", 404),
                                     ("OPTIONS", "/v1/kv/a", 200)):  # fmt: skip
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
