from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from meshnode.base.errors import ConfigError
from meshnode.runtime.tls import MAX_PEM_BYTES, TlsContexts, TlsSettings
from tests.support.certs import make_cert
from tests.support.rpc_lab import Mesh


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh.make(tmp_path)


def refused(settings: TlsSettings) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        TlsContexts(settings)
    return caught.value


def test_without_settings_nothing_is_encrypted() -> None:
    tls = TlsContexts(TlsSettings())
    assert (tls.incoming_rpc(), tls.incoming_https(), tls.outgoing_rpc()) == (None, None, None)
    assert tls.own_certificate is None
    assert tls.served_serial("rpc") is None


def test_a_certificate_offers_tls_and_each_listener_verifies_for_itself(mesh: Mesh) -> None:
    for rpc, https in ((False, False), (True, False), (False, True), (True, True)):
        tls = TlsContexts(mesh.settings("server", verify_incoming_rpc=rpc, verify_incoming_https=https))
        profiles = tls.incoming_rpc(), tls.incoming_https()
        modes = [profile.context.verify_mode for profile in profiles if profile]
        assert modes == [ssl.CERT_REQUIRED if verify else ssl.CERT_NONE for verify in (rpc, https)]


def test_outgoing_tls_always_verifies_the_ca_and_the_name_only_when_told(mesh: Mesh) -> None:
    assert TlsContexts(mesh.settings("client")).outgoing_rpc() is None
    plain = TlsContexts(mesh.settings("client", verify_outgoing=True, server_name="node-1")).outgoing_rpc(
        "dc2"
    )
    assert plain is not None
    assert (plain.context.verify_mode, plain.context.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert plain.server_hostname == "node-1"
    assert plain.side.expected_name == ""
    named = TlsContexts(
        mesh.settings("client", verify_server_hostname=True, datacenter="east", domain="mesh.test.")
    )
    for datacenter, name in (("", "server.east.mesh.test"), ("west", "server.west.mesh.test")):
        profile = named.outgoing_rpc(datacenter)
        assert profile is not None
        assert profile.context.check_hostname
        assert (profile.server_hostname, profile.side.expected_name) == (name, name)


def test_versions_and_server_preference_reach_the_contexts(mesh: Mesh) -> None:
    for prefer in (False, True):
        tls = TlsContexts(mesh.settings("server", min_version="tls13", prefer_server_ciphers=prefer))
        profile = tls.incoming_rpc()
        assert profile is not None
        assert profile.context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert bool(profile.context.options & ssl.OP_CIPHER_SERVER_PREFERENCE) is prefer


def test_a_directory_of_authorities_is_read_whole_when_there_is_no_file(mesh: Mesh, tmp_path: Path) -> None:
    directory = tmp_path / "cas"
    directory.mkdir()
    (directory / "a.pem").write_bytes(mesh.ca.pem)
    (directory / "b.crt").write_bytes(mesh.stranger.pem)
    tls = TlsContexts(TlsSettings(ca_path=str(directory), verify_outgoing=True))
    profile = tls.outgoing_rpc()
    assert profile is not None
    assert [authority.subject for authority in profile.side.expected] == ["CN=Mesh CA", "CN=Stranger CA"]
    assert len(profile.context.get_ca_certs()) == 2
    (directory / "c.pem").write_text("no certificate")
    assert "c.pem" in str(refused(TlsSettings(ca_path=str(directory), verify_outgoing=True)))


@pytest.mark.parametrize("key", ["verify_incoming_rpc", "verify_incoming_https", "verify_outgoing"])
def test_verification_without_an_authority_is_refused(mesh: Mesh, key: str) -> None:
    more: dict[str, Any] = {key: True}
    certificate, private = make_cert(["x"], mesh.ca).write(mesh.directory, "x")
    error = refused(TlsSettings(cert_file=certificate, key_file=private, **more))
    assert key in str(error)
    assert "ca_file or ca_path" in str(error)


def test_verifying_clients_without_a_certificate_of_our_own_is_refused(mesh: Mesh) -> None:
    error = refused(TlsSettings(ca_file=mesh.file("ca"), verify_incoming_rpc=True))
    assert "set cert_file and key_file" in str(error)


def test_what_is_wrong_with_a_file_is_said_with_its_key_and_path(mesh: Mesh, tmp_path: Path) -> None:
    certificate, private = make_cert(["x"], mesh.ca).write(tmp_path, "x")
    _, other = make_cert(["y"], mesh.ca).write(tmp_path, "y")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "huge").write_bytes(bytes(MAX_PEM_BYTES + 1))
    (tmp_path / "empty").mkdir()
    cases = [
        (TlsSettings(cert_file=certificate), "key_file", "key_file is not set"),
        (TlsSettings(key_file=private), "cert_file", "cert_file is not set"),
        (TlsSettings(cert_file=str(tmp_path / "none"), key_file=private), "cert_file", "No such file"),
        (TlsSettings(cert_file=str(tmp_path / "text"), key_file=private), "cert_file", "does not hold PEM"),
        (TlsSettings(cert_file=certificate, key_file=other), "key_file", "is not the key of"),
        (
            TlsSettings(cert_file=certificate, key_file=str(tmp_path / "text")),
            "key_file",
            "is not the key of",
        ),
        (TlsSettings(ca_file=str(tmp_path / "huge")), "ca_file", "longer than"),
        (TlsSettings(ca_path=str(tmp_path / "nope")), "ca_path", "can't be read"),
        (TlsSettings(ca_path=str(tmp_path / "empty")), "ca_path", "holds no certificate"),
        (TlsSettings(min_version="tls10"), "tls_min_version", "tls12"),
        (TlsSettings(cipher_suites=("X",)), "tls_cipher_suites", "known are"),
    ]
    for settings, key, words in cases:
        error = refused(settings)
        assert error.key == key, settings
        assert words in str(error)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(mesh: Mesh, tmp_path: Path) -> None:
    pair = make_cert(["x"], mesh.ca)
    certificate, private = pair.write(tmp_path, "x")
    encrypted = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    Path(private).write_bytes(encrypted)
    error = refused(TlsSettings(cert_file=certificate, key_file=private))
    assert "passphrase" in str(error)
    assert "secret" not in str(error)


def test_reload_changes_what_new_connections_get_and_leaves_old_contexts_alone(mesh: Mesh) -> None:
    tls = mesh.server()
    before, serial = tls.incoming_rpc(), tls.own_certificate
    renewed = make_cert(["server.dc1.consul"], mesh.ca)
    renewed.write(mesh.directory, "server.dc1.consul")
    assert tls.incoming_rpc() is before, "nothing changes until asked"
    tls.reload()
    assert tls.incoming_rpc() is not before
    assert tls.own_certificate is not None
    assert tls.own_certificate.serial == renewed.serial
    assert serial is not None
    assert serial.serial != renewed.serial


def test_a_reload_that_fails_changes_nothing(mesh: Mesh) -> None:
    tls = mesh.server()
    before = tls.incoming_rpc(), tls.incoming_https(), tls.own_certificate, tls.settings
    file = Path(tls.settings.key_file)
    good = file.read_bytes()
    file.write_bytes(make_cert(["other"], mesh.ca).key_pem)
    with pytest.raises(ConfigError, match="is not the key of"):
        tls.reload()
    with pytest.raises(ConfigError, match="known are"):
        tls.reload(TlsSettings(cipher_suites=("X",)))
    assert (tls.incoming_rpc(), tls.incoming_https(), tls.own_certificate, tls.settings) == before
    file.write_bytes(good)
    tls.reload()
    assert tls.incoming_rpc() is not before[0]


def test_checks_verify_by_the_system_and_our_authorities_unless_told_not_to(mesh: Mesh) -> None:
    tls = mesh.client()
    context = tls.checks_client()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert any("Mesh CA" in str(authority["subject"]) for authority in context.get_ca_certs())
    loose = tls.checks_client(skip_verify=True, present_certificate=True)
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_NONE, False)


def test_a_failed_https_handshake_is_explained_without_an_object_too(mesh: Mesh) -> None:
    tls = mesh.server(verify_incoming_https=True)
    line = tls.explain_https(None, EOFError(), "10.0.0.3:99")
    assert "10.0.0.3:99" in line
    assert "CN=Mesh CA" in line
