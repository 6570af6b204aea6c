"""The first bytes of a connection to the server: what they ask for, TLS, refusals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.rpc.codec import Request, Response, serialize_request
from meshnode.runtime.rpc_server import PeerInfo
from tests.support.certs import make_cert
from tests.support.rpc_lab import LOOPS, Mesh, client_of, run, serving
from tests.unit.meshnode.runtime.rpc_dialling import QUICK, dialled, responses, to_the_end

REFUSED_BYTES = [
    (b"\x01", "raft", "this cluster's log is not raft"),
    (b"\x02", "multiplex", "multiplex v1"),
    (b"\x03\x16\x03\x01", "tls", "no certificate"),
    (b"\x05", "snapshot", "snapshot"),
    (b"GET / HTTP/1.1\r\n\r\n", "garbage", "8500"),
    (b"\x16\x03\x01\x02\x00", "garbage", "ClientHello"),
    (b"\xff" * 100, "garbage", "0xff"),
]


@pytest.mark.parametrize(("sent", "counter", "words"), REFUSED_BYTES)
def test_what_is_not_served_is_refused_with_a_line(
    sent: bytes, counter: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> str:
        async with serving() as (server, address), dialled(address) as (reader, writer):
            writer.write(sent)
            assert await to_the_end(reader) == b""
            assert server.counters[f"refused.{counter}"] == 1
            return str(Address(*writer.get_extra_info("sockname")))

    who = run(main)
    (record,) = [record for record in caplog.records if record.name == "meshnode.rpc"]
    assert words in record.getMessage()
    assert who in record.getMessage()


@pytest.mark.parametrize("sent", [b"\x00", b"\x01", b"\x02", b"\x04", b"\x05"])
def test_plaintext_to_a_server_that_wants_tls_is_refused(
    tmp_path: Path, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    called = []

    async def handler(request: Request, peer: PeerInfo) -> Any:
        called.append(request)

    async def main() -> None:
        async with serving(handler, Mesh.make(tmp_path).server()) as (server, address):
            async with dialled(address) as (reader, writer):
                writer.write(sent + serialize_request(Request("A.B", 1, None)))
                assert await to_the_end(reader) == b""
            assert server.counters["refused.plaintext"] == 1

    run(main)
    assert not called
    assert "speaks plaintext: verify_incoming is set" in caplog.text


def test_plaintext_is_served_while_tls_is_only_offered(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def who(request: Request, peer: PeerInfo) -> Any:
        return [peer.encrypted, peer.certificate is not None]

    async def main() -> None:
        async with serving(who, mesh.server(verify_incoming_rpc=False)) as (_, address):
            for tls, encrypted in ((None, False), (mesh.client(), True)):
                async with client_of(tls) as client:
                    assert await client.call(address, "A.B", None, timeout=5) == [encrypted, False]

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_handler_learns_who_calls_over_mutual_tls(tmp_path: Path, loop: str) -> None:
    mesh = Mesh.make(tmp_path)
    peers: list[PeerInfo] = []

    async def handler(request: Request, peer: PeerInfo) -> Any:
        peers.append(peer)

    async def main() -> None:
        server_tls, client_tls = mesh.server(), mesh.client(verify_server_hostname=True)
        async with serving(handler, server_tls) as (_, address), client_of(client_tls) as client:
            await client.call(address, "A.B", None, timeout=5)
            assert server_tls.own_certificate is not None
            assert server_tls.served_serial("rpc") == server_tls.own_certificate.serial

    run(main, loop)
    assert peers[0].tls_version == "TLSv1.3"
    assert peers[0].cipher
    assert b"client" in (peers[0].certificate or b"")


@pytest.mark.parametrize("already", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_peer_that_never_finishes_the_handshake_is_cut(
    tmp_path: Path, already: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(tls=Mesh.make(tmp_path).server(), options=QUICK) as (server, address):
            async with dialled(address) as (reader, writer):
                writer.write(b"\x03" + already)
                await to_the_end(reader)
            assert server.counters["refused.tls_timeout"] == 1

    run(main)
    assert "did not finish the handshake in time" in caplog.text
    assert "CN=Mesh CA" in caplog.text


def test_a_peer_that_is_silent_inside_tls_is_cut(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        async with serving(tls=mesh.server(), options=QUICK) as (server, address):
            profile = mesh.client().outgoing_rpc()
            assert profile is not None
            async with dialled(address) as (reader, writer):
                writer.write(b"\x03")
                await writer.start_tls(profile.context, server_hostname="ignored")
                assert await to_the_end(reader) == b""
            assert server.counters["refused.silent"] == 1

    run(main)


def test_tls_inside_tls_and_raft_inside_tls_are_refused(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        async with serving(tls=mesh.server()) as (server, address):
            profile = mesh.client().outgoing_rpc()
            assert profile is not None
            for byte, counter in ((b"\x03", "garbage"), (b"\x01", "raft")):
                async with dialled(address) as (reader, writer):
                    writer.write(b"\x03")
                    await writer.start_tls(profile.context, server_hostname="ignored")
                    writer.write(byte)
                    assert await to_the_end(reader) == b""
                assert server.counters[f"refused.{counter}"] == 1

    run(main)


def test_the_second_byte_may_ask_for_plain_net_rpc(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        async with serving(tls=mesh.server()) as (_, address), dialled(address) as (reader, writer):
            profile = mesh.client().outgoing_rpc()
            assert profile is not None
            writer.write(b"\x03")
            await writer.start_tls(profile.context, server_hostname="ignored")
            writer.write(b"\x00" + serialize_request(Request("A.B", 4, "x")))
            assert await responses(reader, 1) == [Response("A.B", 4, "", b"x")]

    run(main)


def test_a_reloaded_certificate_is_presented_to_the_next_connection(tmp_path: Path) -> None:
    mesh = Mesh.make(tmp_path)

    async def main() -> None:
        tls = mesh.server()
        async with serving(tls=tls) as (_, address), client_of(mesh.client()) as old:
            await old.call(address, "A.B", None, timeout=5)
            before = tls.served_serial("rpc")
            renewed = make_cert(["server.dc1.consul"], mesh.ca)
            renewed.write(tmp_path, "server.dc1.consul")
            tls.reload()
            assert tls.served_serial("rpc") == before, "what was presented, not what is on disk"
            async with client_of(mesh.client()) as new:
                await new.call(address, "A.B", None, timeout=5)
            assert tls.served_serial("rpc") == renewed.serial
            await old.call(address, "A.B", None, timeout=5)

    run(main)


@pytest.fixture(autouse=True)
def _at_warning(caplog: pytest.LogCaptureFixture) -> Callable[[], None]:
    caplog.set_level(logging.WARNING)
    return lambda: None
