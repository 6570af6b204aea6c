from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from meshnode.proxy.balance import Instance
from meshnode.sdk.httpx_transport import MeshTransport
from tests.support.asynchronous import asynchronous
from tests.support.proxy import spiffe
from tests.support.sdk import ServicePair, pair
from tests.support.waiting import until
from tests.support.wire import free_port


class WebServer:
    """The least that answers HTTP/1.1: what was asked, and how many connections there were."""

    def __init__(self) -> None:
        self.connections = 0
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (
                        int(line[15:])
                        for line in head.split("\r\n")
                        if line.lower().startswith("content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                await self.slow.wait()
                said = (
                    head.split("\r\n")[0].encode()
                    + b" "
                    + head.lower().partition("host: ")[2].split("\r\n")[0].encode()
                )
                said += b" " + body
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


async def serving(two: ServicePair) -> WebServer:
    web = WebServer()
    server = await two.api.service.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    two.web.instances.known["api"] = [Instance("127.0.0.1", port, spiffe("api"))]
    return web


def client(two: ServicePair, **options: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=MeshTransport(two.web.service, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["http://api.mesh/path?q=1", "https://api.service.consul/path?q=1", "https://API.mesh/path?q=1"]
)
@asynchronous
async def test_a_url_of_the_mesh_goes_to_an_instance(url: str) -> None:
    async with pair() as two:
        await serving(two)
        async with client(two) as http:
            answer = await http.get(url)
            assert answer.status_code == 200
            assert answer.text == f"GET /path?q=1 HTTP/1.1 {httpx.URL(url).host} "
            assert (await http.post(url, content=b"abc")).text.endswith(" abc")


@asynchronous
async def test_a_body_that_comes_in_pieces_is_sent() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with pair() as two:
        await serving(two)
        async with client(two) as http:
            answer = await http.post("http://api.mesh/", content=pieces(), headers={"Content-Length": "7"})
            assert answer.text.endswith(" one two")


@asynchronous
async def test_connections_are_used_again_until_they_are_cut() -> None:
    async with pair() as two:
        web = await serving(two)
        async with client(two) as http:
            for _ in range(3):
                await http.get("http://api.mesh/")
            assert web.connections == 1
            two.api.service.live.cut_all("a test")
            await until(lambda: len(two.api.service.live) == 0, "it is cut")
            assert (await http.get("http://api.mesh/")).status_code == 200
            assert web.connections == 2


@asynchronous
async def test_a_denied_client_gets_an_error_of_httpx() -> None:
    async with pair() as two:
        await serving(two)
        two.api.decisions.denied.add("web")
        async with client(two) as http:
            with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
                await http.get("http://api.mesh/")


@asynchronous
async def test_nobody_to_connect_to_is_a_connect_error_with_the_reason() -> None:
    async with pair() as two, client(two) as http:
        with pytest.raises(httpx.ConnectError, match=r"service:default/nobody\?dc=dc2: it has no instance"):
            await http.get("http://nobody.service.dc2.consul/")
        two.web.instances.known["api"] = [Instance("127.0.0.1", free_port(), spiffe("api"))]
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1:"):
            await http.get("http://api.mesh/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/", "names no service of the mesh"),
        ("http://127.0.0.1/", "names no service"),
        ("ftp://api.mesh/", "names no service"),
        ("http://api.mesh:8080/", "leave :8080 out"),
    ],
)
@asynchronous
async def test_a_url_that_is_not_of_the_mesh_goes_nowhere(url: str, words: str) -> None:
    async with pair() as two, client(two) as http:
        with pytest.raises(httpx.UnsupportedProtocol, match=words):
            await http.get(url)


@asynchronous
async def test_time_outs_are_httpxs() -> None:
    async with pair() as two:
        web = await serving(two)
        web.slow.clear()
        async with client(two) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get("http://api.mesh/", timeout=httpx.Timeout(5, read=0.1))


@asynchronous
async def test_a_rotation_fails_no_request() -> None:
    async with pair() as two:
        await serving(two)
        stop, answers = asyncio.Event(), []

        async def load(http: httpx.AsyncClient) -> None:
            while not stop.is_set():
                answers.append((await http.get("http://api.mesh/")).status_code)

        async with client(two, keepalive_expiry=0.0) as http:
            from meshnode.runtime.tasks import spawn

            tasks = [spawn(load(http), name="load") for _ in range(3)]
            for _ in range(5):
                before = len(answers)
                for side, name in ((two.api, "api"), (two.web, "web")):
                    serial = side.service.identity.serial
                    side.certificates.replace(two.ca.leaf(name))
                    await until(
                        lambda side=side, old=serial: side.service.identity.serial != old, "a new leaf"
                    )
                await until(lambda before=before: len(answers) > before + 10, "requests go on")
            stop.set()
            await asyncio.gather(*tasks)
        assert set(answers) == {200}


def test_without_httpx_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['httpx'] = None; import meshnode.sdk; import meshnode.sdk.httpx_transport"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.stderr.strip().splitlines()[-1]
        == "ImportError: MeshTransport needs httpx: pip install meshnode[sdk]"
    )
