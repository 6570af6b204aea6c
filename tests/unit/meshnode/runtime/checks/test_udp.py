"""Datagrams over loopback: answered, refused, met with silence; a name is asked at all of its addresses."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from meshnode.local.check_type import UdpCheck
from meshnode.runtime.checks.udp import check_udp
from tests.support.rpc_lab import LOOPS, run

loops = pytest.mark.parametrize("loop", LOOPS)


@contextmanager
def answering(*, silent: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A socket of the standard library in a thread that sends each datagram back."""
    seen: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                data, peer = server.recvfrom(2048)
                if data == b"stop":
                    return
                seen.append(data)
                if not silent:
                    server.sendto(data, peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield port, seen
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"stop", ("127.0.0.1", port))
            thread.join(5)


def check(address: str, timeout: float = 5.0) -> UdpCheck:
    return UdpCheck(address, interval=10, timeout=timeout)


@loops
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_any_answer_passes_and_the_question_is_empty(loop: str, host: str) -> None:
    with answering() as (port, seen):
        result = run(lambda: check_udp(check(f"{host}:{port}")), loop)
    assert result == ("passing", f"UDP connect {host}:{port}: Success")
    assert seen == [b""]


@loops
def test_silence_is_critical_in_time(loop: str) -> None:
    with answering(silent=True) as (port, seen):
        result = run(lambda: check_udp(check(f"127.0.0.1:{port}", timeout=0.3)), loop)
    assert result == ("critical", f"read udp 127.0.0.1:{port}: i/o timeout: no answer in 0.3 s")
    assert seen == [b""]


@loops
def test_a_port_where_nobody_is_is_critical_at_once(loop: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    result = run(lambda: check_udp(check(f"127.0.0.1:{port}", timeout=60)), loop)
    assert result == ("critical", f"read udp 127.0.0.1:{port}: connection refused")


@loops
@pytest.mark.parametrize("name", ["no-such-host.invalid", "a" * 80 + ".example"])
def test_a_name_that_nobody_knows_is_critical(loop: str, name: str) -> None:
    result = run(lambda: check_udp(check(f"{name}:53", timeout=20)), loop)
    assert result.status == "critical"
    assert f"{name}" in result.output


@loops
def test_an_address_that_refuses_does_not_hide_the_one_that_answers(loop: str) -> None:
    async def main(port: int) -> tuple[str, str]:
        real = asyncio.get_running_loop().getaddrinfo

        async def both(_host: str, wanted: int, **kwargs: Any) -> list[Any]:
            return [*await real("127.0.0.9", wanted, **kwargs), *await real("127.0.0.1", wanted, **kwargs)]

        asked = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(asked), "getaddrinfo", lambda _self, *args, **kwargs: both(*args, **kwargs))
            return await check_udp(check(f"twice.example:{port}"))

    with answering() as (port, _):
        assert run(lambda: main(port), "asyncio")[0] == "passing"
