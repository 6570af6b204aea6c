from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.client.endpoint import TlsFiles, parse_endpoint, tls_context, unreachable
from tests.support.certs import make_ca, make_cert


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.1:8500", ("10.0.0.1", 8500, "", False)),
        ("https://node.example:10443", ("node.example", 10443, "", True)),
        ("https://node.example", ("node.example", 443, "", True)),
        ("http://[::1]:8500", ("::1", 8500, "", False)),
        ("unix:///run/consul.sock", ("", 0, "/run/consul.sock", False)),
    ],
)
def test_addresses_that_can_be_used(text: str, expected: tuple[str, int, str, bool]) -> None:
    found = parse_endpoint(text)
    assert (found.host, found.port, found.path, found.secure) == expected


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "ftp://a:1",
        "http://a:99999",
        "http://a:b",
        "http://[::1",
        "unix://",
        "http://a b:1",
        "http://a\n:1",
    ],
)
def test_addresses_that_cannot_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"-http-addr: .* write "):
        parse_endpoint(text)


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    ca = make_ca()
    cert, key = make_cert(["agent"], ca).write(tmp_path, "one")
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "text").write_text("no PEM")
    _, other = make_cert(["other"], ca).write(tmp_path, "two")
    return {
        "ca": str(tmp_path / "ca.pem"),
        "cert": str(cert),
        "key": str(key),
        "other": str(other),
        "text": str(tmp_path / "text"),
        "none": str(tmp_path / "none.pem"),
    }


@pytest.mark.parametrize(
    ("ca_file", "certificate", "key", "fault"),
    [
        ("none", "", "", "{none}: No such file or directory"),
        ("ca", "cert", "none", "{none}: No such file or directory"),
        ("text", "", "", "{text} holds no certificate in PEM form"),
        ("ca", "cert", "", "{cert} has no key with it: set -client-key or CONSUL_CLIENT_KEY to its file"),
        ("ca", "cert", "other", "{other} is not the key of {cert}: give the two of one pair"),
        ("ca", "cert", "text", "{cert} is no certificate, or {text} no key, in PEM form"),
        ("ca", "text", "key", "{text} is no certificate, or {key} no key, in PEM form"),
    ],
)
def test_the_tls_file_at_fault_is_named_with_what_to_do(
    paths: dict[str, str], ca_file: str, certificate: str, key: str, fault: str
) -> None:
    names = dict(paths, **{"": ""})
    with pytest.raises(ConfigError) as refused:
        tls_context(TlsFiles(ca_file=names[ca_file], certificate=names[certificate], key=names[key]))
    assert str(refused.value).endswith(": " + fault.format(**paths))


def test_a_sentence_of_openssl_gets_one_full_stop() -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_message = "IP address mismatch, certificate is not valid for '127.0.0.2'."
    said = str(unreachable(parse_endpoint("https://127.0.0.2:8501"), error, connected=False))
    assert "for '127.0.0.2'. Set CONSUL_CACERT" in said
