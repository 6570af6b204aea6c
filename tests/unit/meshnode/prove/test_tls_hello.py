"""Names, versions and suites as both sides of real handshakes say them."""

from __future__ import annotations

import ssl

import pytest

from meshnode.prove.tls import TlsWalk
from meshnode.prove.tls_hello import MAX_NAME_CHARS, NULL_CIPHERS, Handshake, printable
from tests.support.handshake import handshake


def said(data: bytes) -> Handshake:
    walk = TlsWalk()
    walk.feed(data)
    return walk.handshake


def server_hello(cipher: int, random: bytes = bytes(32), extensions: bytes = b"") -> bytes:
    body = b"\x03\x03" + random + b"\0" + cipher.to_bytes(2, "big") + b"\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x02" + len(body).to_bytes(3, "big") + body


def client_hello(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def test_tls_13_shows_version_and_suite_and_hides_certificates() -> None:
    client, server = (said(data) for data in handshake(ssl.TLSVersion.TLSv1_3))
    assert client.side == "client"
    assert (server.side, server.version, server.certificate_names) == ("server", "TLS 1.3", ())
    assert server.cipher.startswith("TLS_")


def test_tls_12_shows_the_certificate_too() -> None:
    server = said(handshake(ssl.TLSVersion.TLSv1_2)[1])
    assert (server.version, server.certificate_names) == ("TLS 1.2", ("server.dc1.consul",))
    assert server.cipher.startswith("ECDHE-ECDSA-")


def test_sni_and_alpn_are_read() -> None:
    name, protocols = b"server.dc1.consul", b"\x02h2\x08http/1.1"
    sni = extension(0, (len(name) + 3).to_bytes(2, "big") + b"\0" + len(name).to_bytes(2, "big") + name)
    hello = Handshake()
    hello.read(client_hello(sni + extension(16, len(protocols).to_bytes(2, "big") + protocols)))
    assert (hello.server_name, hello.protocols) == ("server.dc1.consul", ("h2", "http/1.1"))


@pytest.mark.parametrize("cipher", sorted(NULL_CIPHERS))
def test_a_suite_that_does_not_encrypt_is_named(cipher: int) -> None:
    hello = Handshake()
    hello.read(server_hello(cipher))
    assert not hello.encrypts
    assert "does not encrypt" in hello.cipher


def test_a_request_for_another_hello_is_not_the_answer() -> None:
    retry = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    second = server_hello(0x1302, extensions=extension(43, b"\x03\x04"))
    records = [(22, server_hello(0x1301, retry)), (20, b"\x01"), (22, second), (23, bytes(range(99)))]
    hello = said(
        b"".join(bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body for kind, body in records)
    )
    assert (hello.version, hello.cipher) == ("TLS 1.3", "TLS_AES_256_GCM_SHA384")


def test_unknown_numbers_are_shown_as_such() -> None:
    hello = Handshake()
    hello.read(server_hello(0xABCD))
    assert (hello.version, hello.cipher, hello.encrypts) == ("TLS 1.2", "cipher 0xabcd", True)


@pytest.mark.parametrize(("text", "shown"), [("a\x1b[31mb\n", "a?[31mb?"), ("x" * 500, "x" * MAX_NAME_CHARS)])
def test_names_of_peers_can_be_printed(text: str, shown: str) -> None:
    assert printable(text) == shown
