"""Upstream listeners against OpenSSL's server, and against instances that refuse, hang, reset or are somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Clock,
    Decisions,
    Instances,
    Pair,
    echo_server,
    make_sidecar,
    server,
    spiffe,
    start_pair,
    upstream,
    write,
)
from tests.support.waiting import until
from tests.support.wire import free_port

CA = Ca()


@contextlib.asynccontextmanager
async def web_sidecar(instances: Instances, **settings: object) -> AsyncIterator[tuple[Sidecar, Clock]]:
    clock = Clock()
    web, _ = make_sidecar(CA, "web", Decisions(), instances, clock=clock)
    await web.start(ProxyConfig("web", None, (upstream(**settings),)))
    try:
        yield web, clock
    finally:
        await web.stop(drain_timeout=0)


async def ask(sidecar: Sidecar, data: bytes = b"hello") -> bytes:
    """What comes back; nothing when the connection is reset."""
    port = sidecar.address("service:default/api").port
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionResetError:
        return b""
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.readexactly(len(data)), 20)
    except (ConnectionResetError, asyncio.IncompleteReadError):
        return b""
    finally:
        writer.close()


def instance(port: int, service: str = "api", **more: object) -> Instance:
    return Instance("127.0.0.1", port, spiffe(service), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@asynchronous
async def test_openssl_as_server_sees_our_leaf_and_echoes(version: str, tmp_path: Path) -> None:
    """``s_server -rev`` answers each line reversed."""
    port, (chain, key, roots) = free_port(), write(CA.leaf("api"), tmp_path, "api")
    process = subprocess.Popen(
        [
            *("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev", version, "-Verify", "3"),
            *("-verify_return_error", "-cert", chain, "-key", key, "-CAfile", roots),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        await until(lambda: _listens(port), "openssl listens")
        async with web_sidecar(Instances({"api": [instance(port)]})) as (web, _):
            for _ in range(2):
                assert await ask(web, b"olleh\n") == b"hello\n"
                await until(lambda: not len(web.ledger), "the connection has ended")
            counters = web.counters()
            assert (counters["upstream.full_handshakes"], counters["upstream.resumed"]) == (1, 1)
    finally:
        process.kill()
        output, _ = process.communicate()
    assert f"Protocol version: {version[1:].replace('tls1_', 'TLSv1.')}" in output.decode()


def _listens(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


@asynchronous
async def test_an_instance_that_refuses_is_passed_over_and_remembered() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        _put_first(pair, free_port())
        assert await ask(pair.web) == b"hello"
        assert pair.web.counters()["upstream.failed_attempts"] == 1
        assert await ask(pair.web) == b"hello"
        assert pair.web.counters()["upstream.failed_attempts"] == 1, "it was tried again at once"


def _put_first(pair: Pair, port: int) -> None:
    """A nearer instance, tried before the one that works."""
    pair.instances.known["api"] = [instance(port), instance(pair.public_port, distance=1.0)]


@asynchronous
async def test_an_instance_that_resets_or_ends_in_the_handshake_is_passed_over() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    bad = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with echo_server() as app, start_pair(app) as pair:
        _put_first(pair, bad.sockets[0].getsockname()[1])
        assert await ask(pair.web) == b"hello"
        assert pair.web.counters()["upstream.failed_attempts"] == 1
    bad.close()


@asynchronous
async def test_an_instance_that_hangs_is_given_up_in_time_and_another_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with echo_server() as app, start_pair(app) as pair:
            working = instance(pair.public_port, distance=1.0)
            hanging = instance(silent.getsockname()[1])
            async with web_sidecar(Instances({"api": [hanging, working]})) as (web, clock):
                await _trust_ours(pair)
                asking = asyncio.get_running_loop().create_task(ask(web))
                await until(lambda: web.handshakes() == 1, "it is under way")
                await until(lambda: _connected_to(silent), "the silent one is connected to")
                web.expire(clock.now + 4.99)
                assert web.handshakes() == 1
                clock.now += 5.0
                web.expire(clock.now)
                assert await asking == b"hello"
                assert web.counters()["upstream.failed_attempts"] == 1


def _connected_to(listening: socket.socket) -> bool:
    port = listening.getsockname()[1]
    return f":{port:04X} 01 " in re.sub(
        r"(\S+) (0100007F:[0-9A-F]{4}) ", r"\2 ", Path("/proc/net/tcp").read_text()
    )


@asynchronous
async def test_an_instance_that_is_somebody_else_gets_no_byte(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server() as app, start_pair(app) as pair:
        pair.instances.known["api"] = [instance(pair.public_port, "db")]
        assert await ask(pair.web) == b""
        assert f"the peer is {spiffe('api')}; expected is {spiffe('db')}" in caplog.text
        assert pair.api.ledger.totals("inbound").received == 0


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ([], "it has no instance"),
        ([instance(1, passing=False)], "none of its 1 instances is passing"),
    ],
)
@asynchronous
async def test_a_destination_without_a_passing_instance_is_named(
    known: list[Instance], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with web_sidecar(Instances({"api": known})) as (web, _):
        assert await ask(web) == b""
        assert said in caplog.text
        assert web.counters()["refused.no_instance"] == 1


@asynchronous
async def test_an_instance_whose_agent_is_being_restarted_is_reached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Gossip misses the agent after a few seconds; the sidecar and the service run on."""
    caplog.set_level("INFO", "meshnode.proxy")
    async with echo_server() as app, start_pair(app) as pair:
        pair.instances.known["api"] = [instance(pair.public_port, passing=False, agent_lost=True)]
        assert await ask(pair.web) == b"hello"
        assert caplog.text.count("those are tried whose agents alone are not heard of") == 1
        assert "refused.no_instance" not in pair.web.counters()


@asynchronous
async def test_a_node_that_is_dead_costs_who_connects_one_attempt(caplog: pytest.LogCaptureFixture) -> None:
    dead = instance(free_port(), passing=False, agent_lost=True)
    async with web_sidecar(Instances({"api": [dead]})) as (web, clock):
        for failures in ((1, 0), (1, 1)):
            assert await ask(web) == b""
            counters = web.counters()
            found = counters["upstream.failed_attempts"], counters.get("refused.no_instance", 0)
            assert found == failures
        assert "none of its 1 instances is passing" in caplog.text
        clock.now += 1.0
        assert await ask(web) == b""
        assert web.counters()["upstream.failed_attempts"] == 2


@asynchronous
async def test_what_has_come_in_time_counts_although_nobody_looked_until_the_time_was_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A machine so busy that the proxy does not run for longer than a time-out."""
    with socket.create_server(("127.0.0.1", 0)) as instance_:
        port = instance_.getsockname()[1]
        async with web_sidecar(Instances({"api": [instance(port)]})) as (web, clock):
            asking = asyncio.get_running_loop().create_task(ask(web))
            await until(lambda: web.handshakes() == 1 and _connected_to(instance_), "it is connected")
            accepted, _ = instance_.accept()
            # From here on the proxy doesn't run: it is this thread that would run it.
            accepted.recv(16 * 1024)
            accepted.shutdown(socket.SHUT_WR)
            _wait_for_the_end_of_what_was_sent_to(port)
            web.expire(clock.now + 5.0)
            assert await asking == b""
            accepted.close()
    assert "it closed the connection during the handshake" in caplog.text
    assert "no finished handshake" not in caplog.text


def _wait_for_the_end_of_what_was_sent_to(port: int) -> None:
    """Until the other side's socket is in CLOSE_WAIT."""
    while f"0100007F:{port:04X} 08 " not in Path("/proc/net/tcp").read_text():
        pass


@asynchronous
async def test_the_last_known_instances_serve_while_nobody_answers() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        await _trust_ours(pair)
        instances = Instances({"api": [instance(pair.public_port)]})
        async with web_sidecar(instances) as (web, clock):
            assert await ask(web) == b"hello"
            instances.fail = True
            clock.now += 60.0
            assert await ask(web) == b"hello"


async def _trust_ours(pair: Pair) -> None:
    """The pair has a CA of its own; its server side moves to ours."""
    before = pair.api.identity.serial
    pair.certificates["api"].replace(CA.leaf("api"))
    await until(lambda: pair.api.identity.serial != before, "the leaf of our CA is in force")


@asynchronous
async def test_every_instance_failing_is_told_with_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    ports = [free_port(), free_port()]
    async with web_sidecar(Instances({"api": [instance(port) for port in ports]})) as (web, _):
        assert await ask(web) == b""
        for port in ports:
            assert f"127.0.0.1:{port}: Connection refused" in caplog.text
        assert web.handshakes() == 0


@asynchronous
async def test_an_instance_registered_under_a_name_is_resolved() -> None:
    async with echo_server() as app, start_pair(app) as pair:
        pair.instances.known["api"] = [Instance("localhost", pair.public_port, spiffe("api"))]
        assert await ask(pair.web) == b"hello"


@asynchronous
async def test_a_certificate_that_is_replaced_during_a_handshake_spoils_no_later_one() -> None:
    """A session belongs to the contexts of its handshake; with others OpenSSL's wrapper refuses it."""
    gate = asyncio.Event()

    async with echo_server() as app, start_pair(app) as pair:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            to, back = await asyncio.open_connection("127.0.0.1", pair.public_port)
            await asyncio.gather(_pour(reader, back), _pour(to, writer))

        async with server(relay) as slow:
            pair.instances.known["api"] = [instance(slow.port)]
            asking = asyncio.get_running_loop().create_task(ask(pair.web))
            await until(lambda: pair.web.handshakes() == 1, "it is under way")
            before = pair.web.identity.serial
            pair.certificates["web"].replace(pair.ca.leaf("web"))
            await until(lambda: pair.web.identity.serial != before, "the new leaf is in force")
            gate.set()
            assert await asking == b"hello"
            for _ in range(3):
                assert await ask(pair.web) == b"hello"
            assert pair.web.counters()["upstream.resumed"] == 2


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.mark.parametrize("side", ["web", "api"])
@asynchronous
async def test_an_error_of_ours_ends_the_connection_and_no_other(
    side: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with echo_server() as app, start_pair(app) as pair:
        failing = pair.web if side == "web" else pair.api

        def identify(*_: object, **__: object) -> None:
            raise RuntimeError("not foreseen")

        with monkeypatch.context() as patched:
            patched.setattr(type(failing._ready_host()), "identify", identify)
            assert await asyncio.wait_for(ask(pair.web), 10) == b""
        assert "a proxied connection failed" in caplog.text
        assert (pair.web.handshakes(), pair.api.handshakes()) == (0, 0)
        assert await ask(pair.web) == b"hello"


@asynchronous
async def test_an_error_of_ours_before_the_handshake_ends_the_connection_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with echo_server() as app, start_pair(app) as pair:
        with monkeypatch.context() as patched:
            patched.setattr("meshnode.runtime.proxy.attempt.TlsEnd", None)
            for _ in range(2):  # the first asks for instances, the second knows them
                assert await asyncio.wait_for(ask(pair.web), 10) == b""
        assert pair.web.handshakes() == 0
        assert await ask(pair.web) == b"hello"
