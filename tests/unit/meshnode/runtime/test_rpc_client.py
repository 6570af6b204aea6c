"""The client over loopback: sharing, refusals in both directions, loss, limits. No task is left by any test."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError
from meshnode.rpc.codec import Request, Response, serialize_response
from meshnode.rpc.method import RpcError
from meshnode.rpc.yamux import Limits
from meshnode.runtime.rpc_client import (
    CallLostError,
    CallTimeoutError,
    ClientOptions,
    RpcClient,
    ServerRefusedError,
    ServerUnreachableError,
    TlsRefusedError,
)
from meshnode.runtime.rpc_server import PeerInfo, RpcServer, ServerOptions
from meshnode.runtime.rpc_wire import WireTimes
from meshnode.runtime.tls import TlsContexts, TlsSettings
from tests.support.certs import make_cert
from tests.support.rpc_lab import LOOPS, Mesh, client_of, echo, prefixing_relay, run, serving
from tests.support.waiting import until

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
LONG_AGO = YESTERDAY - timedelta(days=9)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_many_calls_share_one_connection_and_few_streams(tmp_path: Path, loop: str, encrypted: bool) -> None:
    async def main() -> None:
        mesh = Mesh.make(tmp_path)
        server_tls, client_tls = (mesh.server(), mesh.client()) if encrypted else (None, None)
        async with serving(tls=server_tls) as (server, address), client_of(client_tls) as client:
            answers = await asyncio.gather(*(client.call(address, "A.B", n, timeout=10) for n in range(500)))
            assert answers == list(range(500))
            for n in range(100):
                assert await client.call(address, "A.B", n, timeout=10) == n
            assert (server.counters["accept_conn"], client.session_count) == (1, 1)
            (connection,) = server._connections
            await until(lambda: len(connection._streams) <= 32, "32 streams are kept", interval=0.001)

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("encrypted", [False, True])
def test_bodies_larger_than_every_window_go_both_ways(tmp_path: Path, loop: str, encrypted: bool) -> None:
    async def main() -> None:
        mesh = Mesh.make(tmp_path)
        server_tls, client_tls = (mesh.server(), mesh.client()) if encrypted else (None, None)
        bodies = [random.Random(n).randbytes(3_000_000 + n) for n in range(4)]
        async with serving(tls=server_tls) as (_, address), client_of(client_tls) as client:
            answers = await asyncio.gather(
                *(client.call(address, "A.B", body, timeout=20) for body in bodies)
            )
            assert answers == bodies

    run(main, loop)


def test_a_body_over_the_bound_is_refused_here_and_nothing_is_sent() -> None:
    async def main() -> None:
        async with serving() as (server, address), client_of() as client:
            with pytest.raises(LocalProtocolError, match="over the bound"):
                await client.call(address, "A.B", bytes(33 * 1024 * 1024), timeout=5)
            assert await client.call(address, "A.B", 1, timeout=5) == 1
            assert server.counters["request"] == 1

    run(main)


def test_an_answer_over_the_bound_is_an_error_of_that_call_only() -> None:
    async def big(request: Request, peer: PeerInfo) -> Any:
        return bytes(33 * 1024 * 1024) if request.body else 1

    async def main() -> None:
        async with serving(big) as (_, address), client_of() as client:
            with pytest.raises(RpcError, match="over the bound"):
                await client.call(address, "A.B", True, timeout=5)
            assert await client.call(address, "A.B", False, timeout=5) == 1

    run(main)


def test_a_call_that_times_out_ends_on_the_server_and_spares_the_connection() -> None:
    cancelled = asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        if request.body:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return "quick"

    async def main() -> None:
        async with serving(slow) as (server, address), client_of() as client:
            with pytest.raises(CallTimeoutError, match=f"A.B: no answer from {address} within 0.05 s"):
                await client.call(address, "A.B", True, timeout=0.05)
            await cancelled.wait()
            assert await client.call(address, "A.B", False, timeout=5) == b"quick"
            assert server.counters["accept_conn"] == 1

    run(main)


def test_a_caller_that_is_cancelled_frees_its_stream() -> None:
    started = asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with serving(slow) as (server, address), client_of() as client, asyncio.TaskGroup() as group:
            task = group.create_task(client.call(address, "A.B", None, timeout=20))
            await started.wait()
            task.cancel()
            (connection,) = server._connections
            await until(lambda: not connection._streams, "the stream is gone", interval=0.001)

    run(main)


def test_a_server_that_is_not_there_is_unreachable_for_all_who_wait() -> None:
    async def main() -> None:
        server = RpcServer(echo)
        address = await server.start("127.0.0.1", 0)
        await server.stop()
        async with client_of() as client:
            calls = [client.call(address, "A.B", None, timeout=5) for _ in range(3)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in errors} == {ServerRefusedError}
            assert str(address) in str(errors[0])
            assert "refused" in str(errors[0])

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_that_comes_back_is_dialled_again(loop: str) -> None:
    async def main() -> None:
        first = RpcServer(echo)
        address = await first.start("127.0.0.1", 0)
        async with client_of() as client:
            assert await client.call(address, "A.B", 1, timeout=5) == 1
            await first.stop()
            await until(lambda: client.session_count == 0, "the old session ends", interval=0.001)
            with pytest.raises(ServerUnreachableError):
                await client.call(address, "A.B", 2, timeout=5)
            second = RpcServer(echo)
            await second.start(*address)
            assert await client.call(address, "A.B", 3, timeout=5) == 3
            await client.close()
            await second.stop()

    run(main, loop)


def test_a_connection_lost_during_a_call_says_that_it_may_have_been_executed() -> None:
    async def main() -> None:
        async def cut(request: Request, peer: PeerInfo) -> Any:
            for connection in list(server._connections):
                connection._transport.abort()  # type: ignore[union-attr]

        async with serving(cut) as (server, address), client_of() as client:
            with pytest.raises(CallLostError, match=str(address)):
                await client.call(address, "A.B", None, timeout=5)

    run(main)


def test_closing_the_client_ends_its_calls_and_refuses_new_ones() -> None:
    started = asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        started.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with serving(slow) as (_, address):
            client = RpcClient()
            async with asyncio.TaskGroup() as group:

                async def doomed() -> None:
                    with pytest.raises(CallLostError, match="was closed"):
                        await client.call(address, "A.B", None, timeout=20)

                group.create_task(doomed())
                await started.wait()
                await client.close()
            with pytest.raises(ServerUnreachableError, match="closed"):
                await client.call(address, "A.B", None, timeout=5)

    run(main)


def test_an_idle_session_is_closed() -> None:
    async def main() -> None:
        async with (
            serving() as (server, address),
            client_of(options=ClientOptions(idle_timeout=0.05)) as client,
        ):
            await client.call(address, "A.B", None, timeout=5)
            await until(lambda: client.session_count == 0, "idle", interval=0.005)
            await until(lambda: server.connection_count == 0, "closed", interval=0.005)
            await client.call(address, "A.B", None, timeout=5)
            assert server.counters["accept_conn"] == 2

    run(main)


def test_more_calls_than_allowed_wait_for_their_turn() -> None:
    running = most = 0

    async def counting(request: Request, peer: PeerInfo) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return request.body

    async def main() -> None:
        options = ClientOptions(max_calls=5, yamux=Limits(accept_backlog=3))
        async with serving(counting) as (_, address), client_of(options=options) as client:
            answers = await asyncio.gather(*(client.call(address, "A.B", n, timeout=10) for n in range(50)))
            assert answers == list(range(50))
        assert 1 < most <= 5

    run(main)


# -- refusals, seen from here


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", ["tls12", "tls13"])
def test_a_server_of_another_ca_is_refused_and_both_cas_are_named(
    tmp_path: Path, loop: str, version: str
) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        server_tls = mesh.server(make_cert(["server.dc1.consul"], mesh.stranger), min_version=version)
        async with serving(tls=server_tls) as (server, address), client_of(mesh.client()) as client:
            with pytest.raises(TlsRefusedError) as caught:
                await client.call(address, "A.B", None, timeout=5)
            line = str(caught.value)
            assert str(address) in line
            assert 'expected: a certificate from CA "CN=Mesh CA"' in line
            assert 'shown: "CN=server.dc1.consul" issued by "CN=Stranger CA"' in line
            await until(lambda: server.counters["refused.tls_alert"], "the server knows too", interval=0.001)
            assert server.counters["request"] == 0

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("version", ["tls12", "tls13"])
@pytest.mark.parametrize("which", ["stranger", "expired", "none"])
def test_a_client_that_is_refused_learns_why_in_either_version(
    tmp_path: Path, loop: str, version: str, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    mesh = Mesh.make(tmp_path)
    tls = {
        "stranger": lambda: mesh.client(make_cert(["evil"], mesh.stranger)),
        "expired": lambda: mesh.client(make_cert(["old"], mesh.ca, not_before=LONG_AGO, not_after=YESTERDAY)),
        "none": lambda: TlsContexts(TlsSettings(ca_file=mesh.file("ca"), verify_outgoing=True)),
    }[which]()
    kind = {"stranger": "other_ca", "expired": "expired", "none": "no_certificate"}[which]

    async def main() -> None:
        server_tls = mesh.server()
        profile = server_tls.incoming_rpc()
        assert profile is not None
        if version == "tls12":
            profile.context.maximum_version = profile.context.minimum_version
        async with serving(tls=server_tls) as (server, address), client_of(tls) as client:
            with pytest.raises(TlsRefusedError, match="the peer refused our certificate"):
                await client.call(address, "A.B", None, timeout=5)
            assert server.counters[f"refused.tls_{kind}"] == 1
            assert server.counters["request"] == 0

    run(main, loop)
    (record,) = [record for record in caplog.records if record.name == "meshnode.rpc"]
    assert 'expected: a certificate from CA "CN=Mesh CA"' in record.getMessage()


def test_the_name_of_a_server_is_verified_by_datacenter(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        tls = mesh.client(verify_server_hostname=True)
        async with serving(tls=mesh.server()) as (_, address), client_of(tls) as client:
            assert await client.call(address, "A.B", 1, timeout=5) == 1
            with pytest.raises(
                TlsRefusedError, match=r"its certificate is for server\.dc1\.consul"
            ) as caught:
                await client.call(address, "A.B", 1, timeout=5, datacenter="dc2")
            assert 'DNS name "server.dc2.consul"' in str(caught.value)

    run(main)


def test_a_client_certificate_alone_does_not_make_a_server(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        tls = mesh.client(verify_server_hostname=True)
        server_tls = mesh.server(make_cert(["client.dc1.consul"], mesh.ca))
        async with serving(tls=server_tls) as (_, address), client_of(tls) as client:
            with pytest.raises(TlsRefusedError, match=r"for client\.dc1\.consul"):
                await client.call(address, "A.B", None, timeout=5)

    run(main)


def test_plaintext_to_a_server_that_wants_tls_gets_a_hint(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        async with serving(tls=mesh.server()) as (_, address), client_of() as client:
            with pytest.raises(CallLostError, match="set verify_outgoing"):
                await client.call(address, "A.B", None, timeout=5)

    run(main)


def test_tls_to_a_server_without_tls_is_refused_in_words(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        async with serving() as (server, address), client_of(mesh.client()) as client:
            with pytest.raises(TlsRefusedError, match="closed the connection during the handshake"):
                await client.call(address, "A.B", None, timeout=5)
            assert server.counters["refused.tls"] == 1

    run(main)


def test_a_server_that_never_answers_the_handshake_is_given_up(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)
    options = ClientOptions(times=WireTimes(handshake_timeout=0.05))

    async def main() -> None:
        async with (
            serving(options=ServerOptions(first_byte_timeout=30)) as (_, silent),
            prefixing_relay(silent, b"\x00", drop=10**6) as relay,
            client_of(mesh.client(), options) as client,
        ):
            with pytest.raises(TlsRefusedError, match="did not finish the handshake in time"):
                await client.call(relay, "A.B", None, timeout=5)

    run(main)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x00\x00\x00\x00\x01" + (100).to_bytes(4, "big")
        + serialize_response(Response("A.B", 99, "", None)).ljust(100, b"\xc0"),
    ],
)  # fmt: skip
def test_a_server_that_talks_nonsense_loses_the_connection(answer: bytes) -> None:
    async def main() -> None:
        async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        address = Address(*server.sockets[0].getsockname())
        async with client_of() as client:
            began = time.monotonic()
            with pytest.raises(CallLostError):
                await client.call(address, "A.B", None, timeout=20)
            assert time.monotonic() - began < 10, "by the error, not by the timeout"
        server.close()
        await until(lambda: len(asyncio.all_tasks()) == 1, "its tasks end", interval=0.001)

    run(main)
