"""Certificates, keys and CAs from files: good ones make contexts, bad ones an error that names key and file."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.proxy.config import Endpoint
from meshnode.runtime.tls_modes.material import read_material, watched_files
from meshnode.tls_modes.model import (
    Authorities,
    Certificate,
    CertificateFiles,
    CertificateSecret,
    CertificateText,
    Mode,
    TlsListener,
    TlsProxyConfig,
    TlsUpstream,
)
from tests.support.tls_modes import Files

NOW = datetime.now(UTC)
TO = Endpoint("127.0.0.1", 1)


def listener(mode: Mode, certificate: Certificate | None, upstream: TlsUpstream) -> TlsListener:
    return TlsListener("x", Endpoint("127.0.0.1", 2), mode, upstream, certificate)


def shown(certificate: Certificate) -> TlsListener:
    return listener(Mode.TERMINATE, certificate, TlsUpstream(TO))


def checking(authorities: Authorities | None) -> TlsListener:
    upstream = TlsUpstream(TO, authorities, insecure_skip_verify=authorities is None)
    return listener(Mode.ORIGINATE, None, upstream)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_pair_of_files_and_the_same_as_text_make_a_server(files: Files) -> None:
    cert, key = files.pair("a", "localhost")
    text = CertificateText(Path(cert).read_text(), Path(key).read_text())
    for certificate in (CertificateFiles(cert, key), text):
        found = read_material(shown(certificate), NOW)
        assert found.server is not None
        assert (found.server.minimum_version, found.client, found.warnings) == (
            ssl.TLSVersion.TLSv1_2,
            None,
            (),
        )


def test_a_secret_of_envoy_s_is_envoy_s_to_read() -> None:
    assert read_material(shown(CertificateSecret("/none", "x")), NOW).server is None


def test_an_upstream_is_verified_unless_it_is_said_otherwise(files: Files) -> None:
    pem = Authorities(ca_pem=Path(files.ca_file).read_text())
    for authorities in (Authorities(files.ca_file), pem):
        found = read_material(checking(authorities), NOW).client
        assert found is not None
        assert (found.verify_mode, len(found.get_ca_certs())) == (ssl.CERT_REQUIRED, 1)
    believing = read_material(checking(None), NOW).client
    assert believing is not None
    assert believing.verify_mode is ssl.CERT_NONE


def test_what_is_watched_is_what_is_read(files: Files) -> None:
    cert, key = files.pair("a", "localhost")
    upstream = TlsUpstream(TO, Authorities(files.ca_file))
    one = listener(Mode.BRIDGE, CertificateFiles(cert, key), upstream)
    assert watched_files(TlsProxyConfig((one,))) == (cert, key, files.ca_file)
    text = shown(CertificateText("C", "K"))
    assert watched_files(TlsProxyConfig((text,))) == ()


def test_what_can_t_be_used_is_named_with_its_key_and_its_file(files: Files, tmp_path: Path) -> None:
    cert, key = files.pair("a", "localhost")
    _, other = files.pair("b", "localhost")
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    where = "listener.x.certificate"
    cases = {
        (str(tmp_path / "none"), key): f"^{where}.cert_file: {tmp_path}/none can't be read: No such file",
        (str(bad), key): f"^{where}.cert_file: {bad}: this is not an X.509 certificate",
        (cert, str(bad)): f"^{where}.key_file: {bad}: this is not a private key",
        (cert, str(encrypted)): f"^{where}.key_file: {encrypted}: the private key is encrypted",
        (cert, other): f"^{where}.key_file: {other}: it is not the key of {where}.cert_file: {cert}",
    }
    for pair, said in cases.items():
        with pytest.raises(ConfigError, match=said):
            read_material(shown(CertificateFiles(*pair)), NOW)
    for authorities, said in (
        (Authorities(str(tmp_path / "none")), r"^listener.x.upstream.ca_file: .*/none can't be read"),
        (Authorities(str(bad)), r"^listener.x.upstream.ca_file: .*/bad.pem"),
        (Authorities(ca_pem="nothing"), r"^listener.x.upstream.ca_pem: the text"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_material(checking(authorities), NOW)


def test_no_error_holds_a_line_of_a_key(files: Files) -> None:
    cert, _ = files.pair("a", "localhost")
    _, other = files.pair("b", "localhost")
    with pytest.raises(ConfigError) as caught:
        read_material(shown(CertificateText(Path(cert).read_text(), Path(other).read_text())), NOW)
    assert not [line for line in Path(other).read_text().splitlines()[1:-1] if line in str(caught.value)]


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW + timedelta(days=2), "the certificate has expired on "),
        (NOW - timedelta(days=2), "on: look at the clock"),
    ],
)
def test_a_certificate_out_of_its_time_is_shown_all_the_same_with_a_warning(
    files: Files, at: datetime, said: str
) -> None:
    (warning,) = read_material(shown(CertificateFiles(*files.pair("a", "localhost"))), at).warnings
    assert warning.startswith("listener.x.certificate.cert_file: ")
    assert said in warning


def test_a_certificate_without_a_name_is_warned_about(files: Files) -> None:
    (warning,) = read_material(shown(CertificateFiles(*files.pair("a"))), NOW).warnings
    assert "names no host" in warning
