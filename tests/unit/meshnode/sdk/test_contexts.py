"""The contexts alone, with programs that aren't ours on both ends: asyncio, blocking sockets, uvloop, OpenSSL."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from meshnode.base.errors import ConfigError
from meshnode.proxy.authorize import Expectation, Refusal, identify
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.sdk.contexts import MeshContext, MeshSslObject, PeerRefusedError, is_mesh_peer
from tests.support.proxy import TRUST_DOMAIN, Ca, spiffe, write


class Side:
    """A context whose material the test replaces."""

    def __init__(self, material: TlsMaterial, *, server: bool, uris: frozenset[str] = frozenset()) -> None:
        from datetime import UTC, datetime

        self.material = material
        self.refused: list[str] = []

        def judge(der: bytes | None) -> Refusal | None:
            found = identify(der, Expectation(TRUST_DOMAIN, uris=uris), datetime.now(UTC))
            return found if isinstance(found, Refusal) else None

        self.context = MeshContext.make(
            lambda: self.material, judge, server=server, on_refused=self.refused.append
        )


@contextlib.contextmanager
def blocking_server(context: ssl.SSLContext, connections: int = 1) -> Iterator[tuple[int, list[str]]]:
    """A server as of http.server: the listening socket is wrapped once, each connection says a word."""
    said: list[str] = []
    with context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listening:

        def serve() -> None:
            for _ in range(connections):
                try:
                    accepted, _ = listening.accept()
                except OSError as error:
                    said.append(str(error))
                    continue
                with contextlib.suppress(OSError), accepted:
                    said.append("served" if is_mesh_peer(accepted) else "unjudged")
                    accepted.sendall(b"word")
                    accepted.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1], said
        finally:
            thread.join(10)


def ask(context: ssl.SSLContext, port: int) -> tuple[bytes, bytes | None]:
    """The word, and the certificate of who said it."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname="whatever.mesh") as wrapped,
    ):
        return wrapped.recv(4), wrapped.getpeercert(binary_form=True)


def test_blocking_sockets_rotate_too_a_listening_one_included() -> None:
    ca = Ca()
    server = Side(ca.leaf("api"), server=True)
    client = Side(ca.leaf("web"), server=False, uris=frozenset({spiffe("api")}))
    with blocking_server(server.context, 3) as (port, said):
        word, first = ask(client.context, port)
        assert word == b"word"
        assert ask(client.context, port)[1] == first
        server.material, client.material = ca.leaf("api"), ca.leaf("web")
        assert ask(client.context, port)[1] != first
    assert said == ["served"] * 3


def test_the_handshake_of_a_blocking_client_fails_with_anybody_else() -> None:
    ca = Ca()
    server = Side(ca.leaf("other"), server=True)
    client = Side(ca.leaf("web"), server=False, uris=frozenset({spiffe("api")}))
    with (
        blocking_server(server.context) as (port, _),
        pytest.raises(PeerRefusedError, match=r"the peer is .*svc/other; expected is .*svc/api"),
    ):
        ask(client.context, port)
    assert len(client.refused) == 1


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(
    ("service", "fits"), [("api", True), ("other", False)], ids=["the right one", "somebody else"]
)
def test_asyncio_and_uvloop_judge_the_peer_and_use_what_is_new(
    new_loop: type[asyncio.AbstractEventLoop], service: str, fits: bool
) -> None:
    ca = Ca()
    server = Side(ca.leaf(service), server=True)
    client = Side(ca.leaf("web"), server=False, uris=frozenset({spiffe("api")}))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            assert isinstance(writer.get_extra_info("ssl_object"), MeshSslObject)
            writer.write(b"word")
            await reader.read()
        writer.close()

    async def dial(port: int) -> bytes | None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client.context, server_hostname=""
        )
        assert await reader.readexactly(4) == b"word"
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return found

    async def run() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server.context)
        port = listening.sockets[0].getsockname()[1]
        if fits:
            first = await dial(port)
            server.material = ca.leaf(service)
            assert await dial(port) != first
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="expected is"):
                await dial(port)
        listening.close()
        await listening.wait_closed()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_of_a_root_that_went_is_not_resumed(version: str, tmp_path: Path) -> None:
    ca, other = Ca(), Ca(name="Consul CA 8")
    server = Side(ca.leaf("api"), server=True)
    certificate, key, _ = write(ca.leaf("web"), tmp_path, "web")
    saved = str(tmp_path / "session")

    def openssl(*session: str) -> str:
        port = listening.getsockname()[1]
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
        done = subprocess.run(
            [*command, version, "-ign_eof", *session], input=b"", capture_output=True, timeout=20, check=False
        )
        return done.stdout.decode(errors="replace")

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            with contextlib.suppress(OSError), accepted:
                accepted.sendall(b"word")
                accepted.unwrap()

    listening = server.context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    threading.Thread(target=serve, daemon=True).start()
    try:
        assert "word" in openssl("-sess_out", saved)
        assert "Reused, " in openssl("-sess_in", saved)
        server.material = other.leaf("api")
        after = openssl("-sess_in", saved)
        assert "Reused, " not in after
        assert "word" not in after
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.parametrize(
    ("material", "because"),
    [
        (lambda ca: ca.odd_leaf(["https://x.example/"]), "scheme"),
        (lambda ca: ca.odd_leaf([], dns=["web.example"]), "no URI"),
        (lambda ca: ca.odd_leaf([spiffe("web"), spiffe("api")]), "exactly one"),
        (lambda ca: Ca("0-0.consul").leaf("web"), "does not verify"),
    ],
)
def test_a_server_refuses_in_the_handshake_who_is_no_service_of_the_mesh(
    material: object, because: str, tmp_path: Path
) -> None:
    ca = Ca()
    server = Side(ca.leaf("api"), server=True)
    given: TlsMaterial = material(ca)  # type: ignore[operator]
    certificate, key, _ = write(given, tmp_path, "odd")
    with blocking_server(server.context) as (port, said):
        subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", certificate, "-key", key],
            input=b"", capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    assert "served" not in said
    assert because in server.refused[0]


def test_a_server_refuses_who_shows_nothing() -> None:
    server = Side(Ca().leaf("api"), server=True)
    with blocking_server(server.context) as (port, said):
        subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"],
            input=b"", capture_output=True, timeout=20, check=False,
        )  # fmt: skip
    assert "served" not in said
    assert server.refused == ["it showed no certificate"]


def test_who_connects_and_leaves_is_no_refusal() -> None:
    server = Side(Ca().leaf("api"), server=True)
    with blocking_server(server.context) as (port, said):
        socket.create_connection(("127.0.0.1", port), 10).close()
    assert "served" not in said
    assert server.refused == []


def test_application_protocols_hold_for_what_is_made_later() -> None:
    ca = Ca()
    server, client = Side(ca.leaf("api"), server=True), Side(ca.leaf("web"), server=False)
    for side in (server, client):
        side.context.set_alpn_protocols(["http/1.1"])
    server.material = ca.leaf("api")
    with (
        blocking_server(server.context) as (port, _),
        socket.create_connection(("127.0.0.1", port), 10) as raw,
    ):
        wrapped = client.context.wrap_socket(raw)
        assert wrapped.selected_alpn_protocol() == "http/1.1"
        wrapped.close()


def test_material_that_cannot_be_used_is_refused_without_its_key() -> None:
    ca = Ca()
    mixed = TlsMaterial(ca.leaf("a").chain_pem, ca.leaf("a").key_pem, ca.root.certificate_pem)
    with pytest.raises(ConfigError) as caught:
        Side(mixed, server=True)
    assert "PRIVATE" not in str(caught.value)


def test_a_peer_refused_says_why_as_openssls_errors_do() -> None:
    error = PeerRefusedError("because")
    assert isinstance(error, ssl.CertificateError)
    assert (error.verify_message, error.verify_code) == ("because", 1)
    assert "because" in str(error)
