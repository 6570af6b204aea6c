"""Connecting without waiting, and what an accepted connection takes over from its listener."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.proxy.config import Endpoint
from meshnode.runtime.proxy.deadlines import Deadlines
from meshnode.runtime.proxy.dial import Dial, listen
from meshnode.runtime.proxy.reactor import WRITE, Reactor
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.support.wire import free_port

LOCAL = "127.0.0.1"


class Outcome:
    """A dial and how it ended."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.reactor, self.deadlines = Reactor(), Deadlines()
        self.ended: list[tuple[socket.socket | None, str]] = []
        self.dial = Dial(
            self.reactor, self.deadlines, endpoint, timeout=5.0, now=0.0,
            on_done=lambda sock, reason: self.ended.append((sock, reason)),
        )  # fmt: skip
        self.dial.start()

    def close(self) -> None:
        self.dial.cancel()
        for sock, _ in self.ended:
            if sock is not None:
                sock.close()
        self.reactor.close()


@contextlib.contextmanager
def full() -> Iterator[Endpoint]:
    """A listener whose queue is full: who connects hears nothing."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind((LOCAL, 0))
        listening.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield Endpoint(LOCAL, listening.getsockname()[1])


@asynchronous
async def test_an_address_of_this_machine_is_connected_to_at_once() -> None:
    with listen(Endpoint(LOCAL, 0), backlog=8, shared=False) as listening:
        outcome = Outcome(Endpoint(LOCAL, listening.getsockname()[1]))
        [(sock, reason)] = outcome.ended
        assert sock is not None
        assert (sock.getpeername(), reason, len(outcome.deadlines)) == (listening.getsockname(), "", 0)
        outcome.close()


@asynchronous
async def test_an_address_that_refuses_is_named_at_once() -> None:
    port = free_port()
    outcome = Outcome(Endpoint(LOCAL, port))
    assert outcome.ended == [(None, f"{LOCAL}:{port}: Connection refused")]
    outcome.close()


@asynchronous
async def test_what_is_under_way_is_not_taken_for_connected_by_an_event_of_another() -> None:
    with full() as endpoint:
        outcome = Outcome(endpoint)
        assert (outcome.ended, len(outcome.deadlines)) == ([], 1)
        outcome.dial._ready(WRITE)
        assert (outcome.ended, len(outcome.deadlines)) == ([], 1)
        outcome.deadlines.expire(5.0)
        assert outcome.ended == [(None, f"{endpoint}: no answer within 5 s")]
        outcome.close()


@asynchronous
async def test_what_is_under_way_is_told_when_it_is_connected() -> None:
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind((LOCAL, 0))
        listening.listen(0)
        outcomes = [Outcome(Endpoint(LOCAL, listening.getsockname()[1])) for _ in range(4)]
        assert not all(outcome.ended for outcome in outcomes)
        listening.setblocking(False)

        def accept() -> bool:
            with contextlib.suppress(BlockingIOError):
                waiting.enter_context(listening.accept()[0])
            return all(outcome.ended for outcome in outcomes)

        await until(accept, "all are connected")
        assert [reason for outcome in outcomes for _, reason in outcome.ended] == [""] * 4
        for outcome in outcomes:
            outcome.close()


@pytest.mark.parametrize("host", [LOCAL, "::1"])
@asynchronous
async def test_what_a_listener_accepts_waits_for_no_more_to_send_and_notices_a_vanished_peer(
    host: str,
) -> None:
    with listen(Endpoint(host, 0), backlog=8, shared=False) as listening:
        client = socket.create_connection(listening.getsockname()[:2])
        await asyncio.sleep(0)
        accepted, _ = listening.accept()
        with client, accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@asynchronous
async def test_a_unix_socket_is_connected_to_and_one_that_is_missing_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    outcome = Outcome(Endpoint(path=path))
    assert outcome.ended == [(None, f"unix:{path}: No such file or directory")]
    outcome.close()
    with listen(Endpoint(path=path), backlog=8, shared=False):
        outcome = Outcome(Endpoint(path=path))
        assert outcome.ended[0][0] is not None
        outcome.close()
