"""Listeners and their errors, unix sockets, and stopping."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError
from meshnode.runtime.http_server import HttpServer, TcpListener, UnixListener
from meshnode.runtime.tasks import spawn
from tests.support.http_agent import FakeShell, FakeView, api_of
from tests.support.http_serving import closed, on_loop, run_curl, serving, within

LOOPS = pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
LOCAL = Address("127.0.0.1", 0)


def server() -> HttpServer:
    view = FakeView()
    return HttpServer(api_of(view), FakeShell(view).perform)


@LOOPS
def test_curl_talks_to_a_unix_socket_of_the_configured_mode(uv: bool, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"

    async def main() -> None:
        listener = UnixListener(path, mode="0640", user=str(os.getuid()), group=str(os.getgid()))
        async with serving(listener) as http:
            assert http.where == [path]
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o640
            code, out, err = await run_curl("--unix-socket", str(path), "http://agent/v1/status/leader")
            assert (code, out) == (0, '"10.0.0.1:8300"'), err
        assert not path.exists()

    on_loop(main, uv=uv)


def test_a_stale_socket_is_replaced_and_one_in_use_or_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(str(path))
    left_over.close()
    (tmp_path / "file").write_text("precious")

    async def main() -> None:
        async with serving(UnixListener(path)):
            with pytest.raises(ConfigError, match="another program listens on unix://"):
                await server().listen(UnixListener(path))
            assert (await run_curl("--unix-socket", str(path), "http://agent/"))[1] == "Consul Agent"
        with pytest.raises(ConfigError, match="is there and is no socket"):
            await server().listen(UnixListener(tmp_path / "file"))

    on_loop(main)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mode": "rwx"}, "invalid literal"),
        ({"user": "no such user"}, "no such user"),
        ({"group": "nobodies!"}, "nobodies!"),
    ],
)
def test_a_wrong_mode_or_owner_is_named(changes: dict[str, str], reason: str, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match=reason) as caught:
            await server().listen(UnixListener(tmp_path / "s", config_key="addresses.http", **changes))
        assert caught.value.key == "addresses.http"

    on_loop(main)


def test_several_addresses_are_served_at_once() -> None:
    async def main() -> None:
        async with serving(TcpListener(LOCAL), TcpListener(LOCAL), TcpListener(Address("::1", 0))) as http:
            for address in http.where:
                assert (await run_curl("-g", f"http://{address}/"))[1] == "Consul Agent"

    on_loop(main)


def test_a_taken_port_names_address_port_and_key_and_opens_nothing() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            taken = TcpListener(Address("127.0.0.1", port), config_key="ports.https")
            http = server()
            with pytest.raises(ConfigError) as caught:
                await http.listen(TcpListener(LOCAL), taken)
            text = (
                f"ports.https: can't listen on 127.0.0.1:{port}: TCP port {port} is taken by another program"
            )
            assert str(caught.value) == f"{text}: stop it, or change ports.https"
            assert caught.value.key == "ports.https"
            await http.stop(0)

    on_loop(main)


def test_an_address_of_another_machine_is_explained() -> None:
    async def main() -> None:
        with pytest.raises(
            ConfigError, match=r"192\.0\.2\.1:8500: this machine has no such address"
        ) as caught:
            await server().listen(TcpListener(Address("192.0.2.1", 8500)))
        assert caught.value.key == "addresses.http"

    on_loop(main)


@LOOPS
def test_stopping_closes_idle_connections_ends_waits_and_finishes_the_rest(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            idle, waiting, leaving = [await http.connect() for _ in range(3)]
            idle[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(idle[0].readuntil(b"Consul Agent"))
            waiting[1].write(b"GET /v1/event/list?index=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(http.shell.started.wait())
            http.shell.started.clear()
            leaving[1].write(
                b"PUT /v1/agent/leave HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            await within(http.shell.started.wait())
            stopping = spawn(http.server.stop(20), name="stop")
            assert await within(idle[0].read()) == b""
            assert (await within(waiting[0].read())).startswith(b"HTTP/1.1 503")
            assert not stopping.done()
            http.shell.release.set()
            data = await within(leaving[0].read())
            assert data.startswith(b"HTTP/1.1 200 OK\r\n")
            assert data.count(b"HTTP/1.1") == 1
            assert b"Connection: close" in data
            await within(stopping)
            for _, writer in (idle, waiting, leaving):
                await closed(writer)
            with pytest.raises(ConnectionRefusedError):
                await http.connect()

    on_loop(main, uv=uv)


@LOOPS
def test_stopping_ends_a_stream_in_good_form(uv: bool) -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            writer.write(b"GET /v1/agent/monitor HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(http.shell.started.wait())
            await within(http.server.stop(20))
            assert (await within(reader.read())).endswith(b"4\r\ntwo\n\r\n0\r\n\r\n")
            assert http.shell.cancelled.is_set()
            await closed(writer)

    on_loop(main, uv=uv)


@LOOPS
def test_what_does_not_end_by_the_deadline_is_cut(uv: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving() as http:
            reader, writer = await http.connect()
            writer.write(b"PUT /v1/agent/leave HTTP/1.1\r\nHost: a\r\n\r\n")
            await within(http.shell.started.wait())
            await within(http.server.stop(0.05))
            with contextlib.suppress(ConnectionError):
                assert await within(reader.read()) == b""
            await closed(writer)

    on_loop(main, uv=uv)
    assert "1 HTTP connections were cut after 0.05s" in caplog.text
