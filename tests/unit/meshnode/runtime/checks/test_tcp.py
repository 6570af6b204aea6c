"""Connections over loopback: both families, names, refusals, silence; texts as Go writes them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.local.check_type import TcpCheck
from meshnode.runtime.checks import dial as dial_module
from meshnode.runtime.checks.dial import DialError, dial
from meshnode.runtime.checks.tcp import check_tcp
from tests.support.certs import make_ca, make_cert
from tests.support.checks import client_contexts, no_tls, server_context, settled
from tests.support.programs import skip
from tests.support.rpc_lab import LOOPS, run
from tests.support.wire import free_port

loops = pytest.mark.parametrize("loop", LOOPS)


@contextlib.contextmanager
def listening(host: str, family: int = socket.AF_INET, backlog: int = 5) -> Iterator[int]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((host, 0))
        except OSError:
            skip("IPv6" if ":" in host else "loopback")
        server.listen(backlog)
        yield server.getsockname()[1]


def check(address: str, timeout: float = 5.0) -> TcpCheck:
    return TcpCheck(address, interval=10, timeout=timeout)


@loops
@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1:{}"),
        ("::1", socket.AF_INET6, "[::1]:{}"),
        ("127.0.0.1", socket.AF_INET, "localhost:{}"),
        ("::1", socket.AF_INET6, "localhost:{}"),
        ("127.0.0.1", socket.AF_INET, ":{}"),
    ],
)
def test_a_listener_on_either_family_passes(loop: str, host: str, family: int, address: str) -> None:
    if address == "localhost:{}" and family == socket.AF_INET6:
        names = {info[0] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM)}
        if family not in names:
            skip("localhost")
    with listening(host, family) as port:
        asked = address.format(port)
        assert run(lambda: check_tcp(check(asked), no_tls), loop) == (
            "passing",
            f"TCP connect {asked}: Success",
        )


@loops
def test_a_refused_connection_is_critical_in_gos_words(loop: str) -> None:
    port = free_port()
    assert run(lambda: check_tcp(check(f"127.0.0.1:{port}"), no_tls), loop) == (
        "critical",
        f"dial tcp 127.0.0.1:{port}: connect: connection refused",
    )


@loops
def test_a_name_that_nobody_knows_is_critical(loop: str) -> None:
    result = run(lambda: check_tcp(check("no-such-host.invalid:80", timeout=20), no_tls), loop)
    assert result.status == "critical"
    assert result.output.startswith("dial tcp: lookup no-such-host.invalid: ")


@loops
@pytest.mark.parametrize("name", ["a" * 80 + ".example", "..", "\N{FULL BLOCK}"])
def test_a_name_that_is_none_is_critical_too(loop: str, name: str) -> None:
    output = run(lambda: check_tcp(check(f"{name}:80"), no_tls), loop).output
    assert output == f"dial tcp: lookup {name}: no such host"


@loops
def test_a_silent_address_is_given_up_in_time(loop: str) -> None:
    # A listener whose queue is full: the kernel drops what comes after.
    with listening("127.0.0.1", backlog=0) as port, contextlib.ExitStack() as stack:
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        result = run(lambda: check_tcp(check(f"127.0.0.1:{port}", timeout=0.3), no_tls), loop)
    assert result == ("critical", f"dial tcp 127.0.0.1:{port}: i/o timeout")


@loops
def test_the_other_family_is_tried_when_the_first_fails(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(_host: str, port: int) -> list[Any]:
        return [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(dial_module, "_resolve", both)
    with listening("127.0.0.1") as port:
        assert run(lambda: check_tcp(check(f"name:{port}"), no_tls), loop).status == "passing"
    gone = port

    async def refused() -> None:
        with pytest.raises(DialError, match=rf"^dial tcp \[::1\]:{gone}: connect: "):
            await dial("name", gone, 5.0)

    run(refused, loop)


@loops
def test_the_next_address_of_a_family_is_tried(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(_host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(dial_module, "_resolve", two)
    with listening("127.0.0.1") as port:
        assert run(lambda: check_tcp(check(f"name:{port}"), no_tls), loop).status == "passing"


@loops
def test_giving_up_in_the_middle_leaves_no_task(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(_host: str, port: int) -> list[Any]:
        return [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET6, ("::1", port, 0, 0))]

    async def silent(_family: int, _address: Any, _timeout: float) -> socket.socket:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(dial_module, "_resolve", both)
    monkeypatch.setattr(dial_module, "_connect", silent)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await dial("name", 80, 5.0)

    run(main, loop)


CA = make_ca()


@loops
@pytest.mark.parametrize(
    ("name", "skip", "words"),
    [
        ("", False, "x509: certificate is not valid for 127.0.0.1: set tls_server_name"),
        ("db.example", False, ""),
        ("", True, ""),
    ],
)
def test_with_tls_the_handshake_counts(loop: str, tmp_path: Path, name: str, skip: bool, words: str) -> None:
    tls = server_context(make_cert(["db.example"], CA), tmp_path)

    async def main() -> None:
        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        async with server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asked = TcpCheck(
                address, use_tls=True, tls_server_name=name, tls_skip_verify=skip, interval=10, timeout=5
            )
            result = await check_tcp(asked, client_contexts(CA))
            await settled()
        if words:
            assert result.status == "critical"
            assert words in result.output
        else:
            assert result == ("passing", f"TCP connect {address}: Success")

    run(main, loop)


@loops
def test_with_tls_a_listener_that_says_nothing_is_given_up_in_time(loop: str) -> None:
    with listening("127.0.0.1") as port:
        asked = TcpCheck(f"127.0.0.1:{port}", use_tls=True, interval=10, timeout=0.3)
        result = run(lambda: check_tcp(asked, client_contexts(CA)), loop)
    assert result.status == "critical"
    assert "the TLS handshake took more than 0.3 s: is it a TLS server?" in result.output


@loops
def test_with_tls_a_refused_connection_has_the_same_words_as_without(loop: str) -> None:
    port = free_port()
    asked = TcpCheck(f"127.0.0.1:{port}", use_tls=True, interval=10, timeout=5)
    result = run(lambda: check_tcp(asked, client_contexts(CA)), loop)
    assert result == ("critical", f"dial tcp 127.0.0.1:{port}: connect: connection refused")
