"""Both directions and both versions, in memory: what OpenSSL refuses, and the sentence that is made of it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from meshnode.runtime.tls import TlsContexts, TlsSettings
from meshnode.runtime.tls_certificate import summarize
from meshnode.runtime.tls_channel import TlsChannel, TlsProfile
from meshnode.runtime.tls_explain import HandshakeFailure
from tests.support.certs import CLIENT_AUTH, SERVER_AUTH, make_ca, make_cert
from tests.support.rpc_lab import Mesh

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LONG_AGO = datetime.now(UTC) - timedelta(days=20)
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(hours=20)


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh.make(tmp_path)


def channel(profile: TlsProfile | None, version: str) -> TlsChannel:
    assert profile is not None
    profile.context.minimum_version = profile.context.maximum_version = VERSIONS[version]
    return TlsChannel(profile)


def shake(server: TlsChannel, client: TlsChannel) -> dict[str, Exception]:
    """Carry bytes until both fall silent; returns what each side raised."""
    errors: dict[str, Exception] = {}
    sides = {"client": client, "server": server}
    to = {"client": b"", "server": b""}
    for _ in range(12):
        for name, other in (("client", "server"), ("server", "client")):
            if name not in errors:
                try:
                    sides[name].receive(to[name])
                except ssl.SSLError as error:
                    errors[name] = error
            to[name] = b""
            to[other] += sides[name].to_send()
    return errors


def failures(
    mesh: Mesh, version: str, server: TlsContexts, client: TlsContexts
) -> dict[str, HandshakeFailure]:
    here, there = channel(server.incoming_rpc(), version), channel(client.outgoing_rpc(), version)
    errors = shake(here, there)
    return {
        name: (here if name == "server" else there).explain(error, "10.0.0.9:4242")
        for name, error in errors.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_two_members_of_a_mesh_shake_hands_and_know_each_other(mesh: Mesh, version: str) -> None:
    server_tls = mesh.server()
    server = channel(server_tls.incoming_rpc(), version)
    client = channel(mesh.client(verify_server_hostname=True).outgoing_rpc(), version)
    assert shake(server, client) == {}
    assert server.established
    assert client.established
    assert server.description()[0] == f"TLSv{version}"
    assert server.peer_certificate() is not None
    assert server_tls.served_serial("rpc") == server_tls.own_certificate.serial  # type: ignore[union-attr]
    client.send(b"hello")
    assert server.receive(client.to_send()) == b"hello"
    client.finish()
    server.receive(client.to_send())
    assert server.ended


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        ({"ca": "stranger"}, "other_ca", ["not trusted", 'issued by "CN=Stranger CA"']),
        ({"not_before": LONG_AGO, "not_after": YESTERDAY}, "expired", ["has expired", 'issued by "CN=Mesh CA"']),
        ({"not_before": TOMORROW}, "not_yet_valid", ["not valid yet", "clocks"]),
        ({"eku": (SERVER_AUTH,)}, "purpose", ["not meant for a client", "clientAuth"]),
    ],
)  # fmt: skip
def test_a_server_refuses_a_client_and_says_who_expected_what_and_saw_what(
    mesh: Mesh, version: str, made: dict[str, Any], kind: str, words: list[str]
) -> None:
    made = {**made, "ca": mesh.stranger if "ca" in made else mesh.ca}
    failed = failures(mesh, version, mesh.server(), mesh.client(make_cert(["client-7"], **made)))
    failure, line = failed["server"], str(failed["server"])
    assert failure.kind == kind
    assert mesh_ca_in(line, mesh)
    assert '"CN=client-7"' in line
    assert "10.0.0.9:4242" in line
    assert "fix: " in line
    assert "\n" not in line
    assert all(word in line for word in words), line
    assert failed["client"].kind == "alert"
    assert 'our "CN=client-7"' in str(failed["client"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        ({"ca": "stranger"}, "other_ca", ["not trusted", 'issued by "CN=Stranger CA"']),
        ({"not_before": LONG_AGO, "not_after": YESTERDAY}, "expired", ["has expired"]),
        ({"not_before": TOMORROW}, "not_yet_valid", ["not valid yet"]),
        ({"eku": (CLIENT_AUTH,)}, "purpose", ["not meant for a server", "serverAuth"]),
        ({"names": ["server.dc2.consul"]}, "name", ["for server.dc2.consul", 'DNS name "server.dc1.consul"']),
        ({"names": ["10.0.0.1"]}, "name", ["no DNS name"]),
    ],
)  # fmt: skip
def test_a_client_refuses_a_server_and_says_who_expected_what_and_saw_what(
    mesh: Mesh, version: str, made: dict[str, Any], kind: str, words: list[str]
) -> None:
    names = made.get("names", ["server.dc1.consul"])
    made = {k: v for k, v in made.items() if k != "names"} | {
        "ca": mesh.stranger if "ca" in made else mesh.ca
    }
    server = mesh.server(make_cert(names, **made))
    failed = failures(mesh, version, server, mesh.client(verify_server_hostname=True))
    failure, line = failed["client"], str(failed["client"])
    assert failure.kind == kind
    assert mesh_ca_in(line, mesh)
    assert 'for the name "server.dc1.consul"' in line
    assert f'"CN={names[0]}"' in line
    assert all(word in line for word in words), line
    assert failed["server"].kind == "alert"


def mesh_ca_in(line: str, mesh: Mesh) -> bool:
    summary = summarize(mesh.ca.certificate)
    assert summary is not None
    return f'expected: a certificate from CA "CN=Mesh CA" (sha256 {summary.fingerprint[:16]})' in line


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_a_certificate_is_refused(mesh: Mesh, version: str) -> None:
    client = TlsContexts(TlsSettings(ca_file=mesh.file("ca"), verify_outgoing=True))
    failed = failures(mesh, version, mesh.server(), client)
    assert failed["server"].kind == "no_certificate"
    assert "shown: no certificate;" in str(failed["server"])
    assert "set cert_file and key_file" in str(failed["client"])


@pytest.mark.parametrize("version", VERSIONS)
def test_without_name_verification_any_server_of_the_ca_will_do(mesh: Mesh, version: str) -> None:
    assert failures(mesh, version, mesh.server(make_cert(["whatever"], mesh.ca)), mesh.client()) == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_verifies_nobody_asks_for_no_certificate(mesh: Mesh, version: str) -> None:
    server = channel(mesh.server(verify_incoming_rpc=False).incoming_rpc(), version)
    client = channel(mesh.client(make_cert(["x"], mesh.stranger)).outgoing_rpc(), version)
    assert shake(server, client) == {}
    assert server.peer_certificate() is None


def test_a_name_in_the_common_name_only_is_not_enough(mesh: Mesh) -> None:
    pair = make_cert(["server.dc1.consul"], mesh.ca)
    builder = (
        x509.CertificateBuilder()
        .subject_name(pair.certificate.subject)
        .issuer_name(mesh.ca.certificate.subject)
    )
    bare = (
        builder.public_key(pair.key.public_key())
        .serial_number(7)
        .not_valid_before(YESTERDAY)
        .not_valid_after(TOMORROW)
        .sign(mesh.ca.key, hashes.SHA256())
    )
    failed = failures(
        mesh, "1.3", mesh.server(type(pair)(bare, pair.key)), mesh.client(verify_server_hostname=True)
    )
    assert failed["client"].kind == "name"


@pytest.mark.parametrize(
    ("received", "kind"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not_tls"),
        (b"\x04" + bytes(40), "not_tls"),
        (b"\x00" * 40, "not_tls"),
        (b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff", "other"),
    ],
)
def test_garbage_is_refused_in_words(mesh: Mesh, received: bytes, kind: str) -> None:
    server = channel(mesh.server().incoming_rpc(), "1.3")
    with pytest.raises(ssl.SSLError) as caught:
        server.receive(received)
    failure = server.explain(caught.value, "1.2.3.4:5")
    assert failure.kind == kind
    assert not server.established


def test_versions_and_ciphers_that_do_not_meet_are_named(mesh: Mesh) -> None:
    server = channel(mesh.server(min_version="tls13").incoming_rpc(), "1.3")
    client = channel(mesh.client().outgoing_rpc(), "1.2")
    errors = shake(server, client)
    assert server.explain(errors["server"], "p").kind == "version"
    assert client.explain(errors["client"], "p").kind == "version"
    server = channel(
        mesh.server(cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",)).incoming_rpc(), "1.2"
    )
    client = channel(
        mesh.client(cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)).outgoing_rpc(), "1.2"
    )
    errors = shake(server, client)
    assert server.explain(errors["server"], "p").kind == "ciphers"
    assert client.explain(errors["client"], "p").kind == "ciphers"


def test_the_refusal_does_not_depend_on_the_recorder(mesh: Mesh) -> None:
    profile = mesh.server().incoming_rpc()
    assert profile is not None
    profile.context.sslobject_class = ssl.SSLObject
    ssl.SSLContext.__mro__[1]._msg_callback.__set__(profile.context, None)  # type: ignore[attr-defined]
    server = channel(profile, "1.3")
    client = channel(mesh.client(make_cert(["evil"], mesh.stranger)).outgoing_rpc(), "1.3")
    errors = shake(server, client)
    failure = server.explain(errors["server"], "p")
    assert failure.kind == "other_ca"
    assert not server.established
    assert failure.shown == "no certificate"


def test_a_client_of_an_old_ca_is_refused_by_new_connections_after_a_reload(mesh: Mesh) -> None:
    server, client = mesh.server(), mesh.client()
    assert failures(mesh, "1.3", server, client) == {}
    Path(mesh.file("ca")).write_bytes(make_ca("New CA").pem)
    server.reload()
    assert failures(mesh, "1.3", server, client)["server"].kind == "other_ca"
