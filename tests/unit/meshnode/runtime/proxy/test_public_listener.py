"""The public listener against OpenSSL's client, and against peers that are not who or what they should be."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    TRUST_DOMAIN,
    Ca,
    Clock,
    Decisions,
    Instances,
    echo_server,
    local,
    make_sidecar,
    server,
    spiffe,
    write,
)
from tests.support.waiting import until
from tests.support.wire import free_port

CA = Ca()


@dataclass
class Rig:
    api: Sidecar
    port: int
    decisions: Decisions
    clock: Clock

    def waits_for_the_application(self) -> bool:
        """Whether a connect to it is under way, and no handshake or decision."""
        host = self.api._host
        assert host is not None
        return [*host.deadlines._queues] == [1.0]

    def refused(self) -> list[str]:
        return [name for name in self.api.counters() if name.startswith("refused.")]


@contextlib.asynccontextmanager
async def public(app: Endpoint, **settings: object) -> AsyncIterator[Rig]:
    clock, decisions = Clock(), Decisions()
    api, _ = make_sidecar(CA, "api", decisions, Instances(), clock=clock)
    await api.start(ProxyConfig("api", PublicListener(local(0), app, **settings)))  # type: ignore[arg-type]
    try:
        yield Rig(api, api.address().port, decisions, clock)
    finally:
        await api.stop(drain_timeout=0)


@dataclass
class Client:
    """``openssl s_client`` with a certificate."""

    directory: Path
    extra: tuple[str, ...] = ()
    output: bytes = field(default=b"", init=False)

    async def exchange(self, port: int, material: TlsMaterial | None, data: bytes = b"hello\n") -> bytes:
        """Send ``data``, end, and return what came back."""
        command = [
            "openssl",
            "s_client",
            "-connect",
            f"127.0.0.1:{port}",
            "-quiet",
            "-verify_quiet",
            "-no_ign_eof",
        ]
        if material is not None:
            chain, key, roots = write(material, self.directory, "client")
            command += ["-cert", chain, "-key", key, "-CAfile", roots, "-verify_return_error"]
        process = await asyncio.create_subprocess_exec(
            *command, *self.extra, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        answer = await asyncio.wait_for(process.stdout.read(len(data)), 20)
        with contextlib.suppress(ConnectionError):
            process.stdin.close()
        await asyncio.wait_for(process.wait(), 20)
        return answer


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@asynchronous
async def test_openssl_with_a_leaf_of_ours_talks_to_the_application(version: str, tmp_path: Path) -> None:
    async with echo_server() as app, public(app) as rig:
        assert await Client(tmp_path, (version,)).exchange(rig.port, CA.leaf("web")) == b"hello\n"
        await until(lambda: rig.api.ledger.closed, "the connection has ended")
        assert rig.api.ledger.closed[0].source == spiffe("web")
        assert rig.refused() == []


WEB = [spiffe("web")]
OTHER = Ca("99999999-2222-3333-4444-555555555555.consul")


def case(name: str, material: TlsMaterial | None, refused: str, *extra: str) -> object:
    return pytest.param(material, refused, extra, id=name)


@pytest.mark.parametrize(
    ("material", "refused", "extra"),
    [
        case("no certificate", None, "handshake"),
        case("another root", OTHER.leaf("web"), "handshake"),
        case("another domain", CA.odd_leaf([spiffe("web", OTHER.trust_domain)]), "identity.trust_domain"),
        case("another datacenter", CA.odd_leaf([spiffe("web", TRUST_DOMAIN, "dc2")]), "identity.datacenter"),
        case("no SAN", CA.odd_leaf([]), "identity.no_uri"),
        case("a DNS name only", CA.odd_leaf([], dns=["web"]), "identity.no_uri"),
        case("two URIs", CA.odd_leaf([*WEB, spiffe("db")]), "identity.many_uris"),
        case("no SPIFFE ID", CA.odd_leaf(["https://web"]), "identity.not_spiffe"),
        case("expired", CA.odd_leaf(WEB, end=timedelta(seconds=-1)), "handshake"),
        case("not yet valid", CA.odd_leaf(WEB, start=timedelta(minutes=30)), "handshake"),
        case("for servers only", CA.odd_leaf(WEB, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "handshake"),
        case("TLS 1.1", CA.leaf("web"), "handshake", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        case("a suite without forward secrecy", CA.leaf("web"), "handshake", "-tls1_2", "-cipher", "AES128-GCM-SHA256"),
        case("denied", CA.leaf("db"), "denied"),
    ],
)  # fmt: skip
@asynchronous
async def test_a_bad_peer_is_refused_and_the_application_hears_nothing(
    material: TlsMaterial | None, refused: str, extra: tuple[str, ...], tmp_path: Path
) -> None:
    async with echo_server() as app, public(app, source_datacenters=frozenset({"dc1"})) as rig:
        rig.decisions.denied.add("db")
        assert await Client(tmp_path, extra).exchange(rig.port, material) == b""
        await until(rig.refused, "it is counted as refused")
        assert rig.refused() == [f"refused.{refused}"]
        assert rig.api.ledger.totals("inbound").opened == 0


@asynchronous
async def test_plaintext_is_answered_with_an_alert_and_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server() as app, public(app) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert (await asyncio.wait_for(reader.read(), 10))[:1] == b"\x15"
        writer.close()
        assert rig.refused() == ["refused.plaintext"]
        assert "connect through a sidecar" in caplog.text


def _first_flight() -> bytes:
    """A ClientHello."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("said", [0, 1, 100])
@asynchronous
async def test_a_client_that_says_nothing_or_too_little_is_given_up_in_time(
    said: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with echo_server() as app, public(app, handshake_timeout=10.0) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(_first_flight()[:said])
        await until(lambda: rig.api.handshakes() == 1, "it is accepted")
        await asyncio.sleep(0.05)  # lets what it said arrive: the sentence below has the count
        rig.api.expire(rig.clock.now + 9.99)
        assert rig.api.handshakes() == 1
        rig.api.expire(rig.clock.now + 10.0)
        assert rig.api.handshakes() == 0
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        assert rig.refused() == ["refused.handshake_timeout"]
        assert (f"sent {said} bytes" if said else "sent nothing") in caplog.text
        writer.close()


@asynchronous
async def test_a_byte_a_minute_does_not_buy_time() -> None:
    async with echo_server() as app, public(app, handshake_timeout=600.0) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for byte in _first_flight()[:9]:
            writer.write(bytes([byte]))
            await until(lambda: rig.api.handshakes() == 1, "it is accepted")
            rig.clock.now += 60.0
            rig.api.expire(rig.clock.now)
        assert rig.api.handshakes() == 1
        rig.clock.now += 60.0
        rig.api.expire(rig.clock.now)
        assert rig.api.handshakes() == 0
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()


@asynchronous
async def test_clients_that_say_nothing_keep_nobody_out(tmp_path: Path) -> None:
    """Ten times more of them than places: the oldest makes room, and a real client is served at once."""
    async with echo_server() as app, public(app, max_handshakes=20) as rig:
        silent = [socket.create_connection(("127.0.0.1", rig.port)) for _ in range(200)]
        try:
            await until(lambda: rig.api.counters().get("accepted.inbound") == 200, "all are accepted")
            assert rig.api.handshakes() == 20
            assert rig.api.counters()["refused.handshakes"] == 180
            assert await Client(tmp_path).exchange(rig.port, CA.leaf("web")) == b"hello\n"
        finally:
            for sock in silent:
                sock.close()


@asynchronous
async def test_one_connection_more_than_allowed_is_refused(tmp_path: Path) -> None:
    async with echo_server() as app, public(app, max_connections=1) as rig:
        chain, key, _ = write(CA.leaf("web"), tmp_path, "web")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(chain, key)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=context)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", rig.port, ssl=context)
        assert rig.refused() == ["refused.too_many"]
        writer.close()
        await until(lambda: not len(rig.api.ledger), "the place is free again")
        assert await Client(tmp_path).exchange(rig.port, CA.leaf("web")) == b"hello\n"


@asynchronous
async def test_nobody_is_let_in_while_nobody_can_be_asked(tmp_path: Path) -> None:
    async with echo_server() as app, public(app) as rig:
        rig.decisions.fail = True
        assert await Client(tmp_path).exchange(rig.port, CA.leaf("web")) == b""
        assert rig.refused() == ["refused.denied"]


@asynchronous
async def test_a_known_source_is_let_in_without_an_answer_until_the_decision_is_too_old(
    tmp_path: Path,
) -> None:
    async with echo_server() as app, public(app) as rig:
        web, client = CA.leaf("web"), Client(tmp_path)
        assert await client.exchange(rig.port, web) == b"hello\n"
        assert await client.exchange(rig.port, web) == b"hello\n"
        assert len(rig.decisions.asked) == 1
        rig.decisions.fail = True
        rig.clock.now += 299.0
        assert await client.exchange(rig.port, web) == b"hello\n"
        rig.clock.now += 2.0
        assert await client.exchange(rig.port, web) == b""
        assert rig.refused() == ["refused.denied"]


@asynchronous
async def test_an_application_that_is_down_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = local(free_port())
    async with public(app) as rig:
        assert await Client(tmp_path).exchange(rig.port, CA.leaf("web")) == b""
        assert f"the local application can't be reached: {app}: Connection refused" in caplog.text


@asynchronous
async def test_an_application_that_accepts_nobody_is_given_up_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its backlog is full: the kernel answers no further client."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as hanging, contextlib.ExitStack() as filling:
        app = local(hanging.getsockname()[1])
        for _ in range(4):
            sock = filling.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", app.port))
        async with public(app, local_connect_timeout=1.0) as rig:
            asking = asyncio.get_running_loop().create_task(
                Client(tmp_path).exchange(rig.port, CA.leaf("web"))
            )
            await until(lambda: rig.decisions.asked and rig.api.handshakes() == 1, "it is connected to")
            await until(lambda: _expired(rig, 0.99) == 0 and rig.waits_for_the_application(), "it waits")
            rig.api.expire(rig.clock.now + 1.0)
            assert await asking == b""
        assert f"the local application can't be reached: {app}: no answer within 1 s" in caplog.text


def _expired(rig: Rig, after: float) -> int:
    """How many are refused once so many seconds have gone by."""
    rig.api.expire(rig.clock.now + after)
    return len(rig.refused())


@asynchronous
async def test_the_end_of_tls_without_close_notify_is_not_a_clean_end(tmp_path: Path) -> None:
    ended: asyncio.Future[BaseException | bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as error:
            ended.set_result(error)

    async with server(listen) as app, public(app) as rig:
        chain, key, _ = write(CA.leaf("web"), tmp_path, "web")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(chain, key)
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, ssl=context)
        writer.write(b"half of it")
        await until(lambda: [e for e in rig.api.ledger.live() if e.received == 10], "it is passed on")
        sock = writer.get_extra_info("socket")
        sock.shutdown(socket.SHUT_WR)
        assert isinstance(await asyncio.wait_for(ended, 10), ConnectionResetError)
        assert rig.api.ledger.closed[0].close_cause == "the peer ended without close_notify"
        writer.transport.abort()


@asynchronous
async def test_who_connects_and_leaves_without_a_word_is_only_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TCP checks do that all day: they fill neither the log nor the memory of what was refused."""
    async with echo_server() as app, public(app) as rig:
        with caplog.at_level("INFO", "meshnode.proxy"):
            for _ in range(3):
                socket.create_connection(("127.0.0.1", rig.port)).close()
            await until(lambda: rig.api.counters().get("refused.closed_early") == 3, "all are counted")
        assert caplog.messages == []
        assert rig.api.report()["Refused"] == []


@asynchronous
async def test_what_is_refused_is_remembered_with_who_and_why(tmp_path: Path) -> None:
    async with echo_server() as app, public(app) as rig:
        with socket.create_connection(("127.0.0.1", rig.port)) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            peer = "{}:{}".format(*sock.getsockname())
            await until(lambda: rig.api.report()["Refused"], "it is refused")
        (row,) = rig.api.report()["Refused"]
        assert (row["ID"], row["Peer"], row["Kind"], row["Source"], row["Rule"]) == (
            1,
            peer,
            "plaintext",
            "",
            "",
        )
