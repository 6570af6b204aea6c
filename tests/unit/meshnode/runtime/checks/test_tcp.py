"""Connections over loopback: both families, names, refusals, silence; texts as Go writes them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from meshnode.local.check_type import TcpCheck
from meshnode.runtime.checks import dial as dial_module
from meshnode.runtime.checks.dial import DialError, dial
from meshnode.runtime.checks.tcp import check_tcp
from tests.support.rpc_lab import LOOPS, run

loops = pytest.mark.parametrize("loop", LOOPS)


@contextlib.contextmanager
def listening(host: str, family: int = socket.AF_INET, backlog: int = 5) -> Iterator[int]:
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        server.listen(backlog)
        yield server.getsockname()[1]


def free_port() -> int:
    with listening("127.0.0.1") as port:
        return port


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
            pytest.skip("localhost has one family here")
    with listening(host, family) as port:
        asked = address.format(port)
        assert run(lambda: check_tcp(check(asked)), loop) == ("passing", f"TCP connect {asked}: Success")


@loops
def test_a_refused_connection_is_critical_in_gos_words(loop: str) -> None:
    port = free_port()
    assert run(lambda: check_tcp(check(f"127.0.0.1:{port}")), loop) == (
        "critical",
        f"dial tcp 127.0.0.1:{port}: connect: connection refused",
    )


@loops
def test_a_name_that_nobody_knows_is_critical(loop: str) -> None:
    result = run(lambda: check_tcp(check("no-such-host.invalid:80", timeout=20)), loop)
    assert result.status == "critical"
    assert result.output.startswith("dial tcp: lookup no-such-host.invalid: ")


@loops
@pytest.mark.parametrize("name", ["a" * 80 + ".example", "..", "\N{FULL BLOCK}"])
def test_a_name_that_is_none_is_critical_too(loop: str, name: str) -> None:
    output = run(lambda: check_tcp(check(f"{name}:80")), loop).output
    assert output == f"dial tcp: lookup {name}: no such host"


@loops
def test_a_silent_address_is_given_up_in_time(loop: str) -> None:
    # A listener whose queue is full: the kernel drops what comes after.
    with listening("127.0.0.1", backlog=0) as port, contextlib.ExitStack() as stack:
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        result = run(lambda: check_tcp(check(f"127.0.0.1:{port}", timeout=0.3)), loop)
    assert result == ("critical", f"dial tcp 127.0.0.1:{port}: i/o timeout")


@loops
def test_the_other_family_is_tried_when_the_first_fails(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(_host: str, port: int) -> list[Any]:
        return [(socket.AF_INET6, ("::1", port, 0, 0)), (socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(dial_module, "_resolve", both)
    with listening("127.0.0.1") as port:
        assert run(lambda: check_tcp(check(f"name:{port}")), loop).status == "passing"
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
        assert run(lambda: check_tcp(check(f"name:{port}")), loop).status == "passing"


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
