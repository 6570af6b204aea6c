"""The handshake of TLS as far as it travels in clear: hellos, and up to TLS 1.2 the certificates (RFC 5246, 8446)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

__all__ = ["Handshake", "printable"]

_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE, _CERTIFICATE_REQUEST, _CERTIFICATE_VERIFY = 1, 2, 11, 13, 15
_SERVER_NAME, _ALPN, _PRE_SHARED_KEY, _EARLY_DATA, _SUPPORTED_VERSIONS = 0, 16, 41, 42, 43
_HELLO_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
#: Longest name of a peer that is shown, and most of them.
MAX_NAME_CHARS: Final = 120
MAX_NAMES: Final = 16
_VERSIONS: Final = {
    0x0300: "SSL 3.0",
    0x0301: "TLS 1.0",
    0x0302: "TLS 1.1",
    0x0303: "TLS 1.2",
    0x0304: "TLS 1.3",
}
_CIPHERS: Final = {
    0x002F: "AES128-SHA",
    0x0035: "AES256-SHA",
    0x009C: "AES128-GCM-SHA256",
    0x009D: "AES256-GCM-SHA384",
    0x009E: "DHE-RSA-AES128-GCM-SHA256",
    0x009F: "DHE-RSA-AES256-GCM-SHA384",
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0x1304: "TLS_AES_128_CCM_SHA256",
    0x1305: "TLS_AES_128_CCM_8_SHA256",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC013: "ECDHE-RSA-AES128-SHA",
    0xC014: "ECDHE-RSA-AES256-SHA",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
    0xC024: "ECDHE-ECDSA-AES256-SHA384",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0xC028: "ECDHE-RSA-AES256-SHA384",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
}
#: Suites that authenticate and do not encrypt (IANA's registry, the names with NULL; RFC 9150).
_NULL_TLS12: Final = (0x00, 0x01, 0x02, 0x2C, 0x2D, 0x2E, 0x3B, 0xB0, 0xB1, 0xB4, 0xB5, 0xB8, 0xB9)
_NULL_ECC: Final = (0xC001, 0xC006, 0xC00B, 0xC010, 0xC015, 0xC039, 0xC03A, 0xC03B)
_NULL_TLS13: Final = (0xC0B4, 0xC0B5)
NULL_CIPHERS: Final = frozenset((*_NULL_TLS12, *_NULL_ECC, *_NULL_TLS13))


def printable(text: str) -> str:
    """A peer's text that may be shown on a terminal: short, and without control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_NAME_CHARS])


@dataclass(slots=True)
class Handshake:
    """What one direction says in clear. ``side`` is client, server, or empty when no hello was seen.

    ``asks_certificate``, ``certificate_sent`` and ``signature_bytes`` (of CertificateVerify) can be seen up to TLS 1.2;
    ``resumed`` and ``early_data`` in TLS 1.3.
    """

    side: str = ""
    version: str = ""
    cipher: str = ""
    server_name: str = ""
    protocols: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    encrypts: bool = True
    asks_certificate: bool = False
    certificate_sent: bool = False
    signature_bytes: int = 0
    resumed: bool = False
    early_data: bool = False

    def read(self, data: bytes) -> int:
        """Read the messages at the start of ``data``; returns how many bytes of it were whole messages."""
        position = 0
        while position + 4 <= len(data):
            kind, length = data[position], int.from_bytes(data[position + 1 : position + 4], "big")
            if position + 4 + length > len(data):
                break
            body = data[position + 4 : position + 4 + length]
            try:
                if kind == _CLIENT_HELLO:
                    self._read_client_hello(body)
                elif kind == _SERVER_HELLO:
                    self._read_server_hello(body)
                elif kind == _CERTIFICATE:
                    self.certificate_sent = len(body) > 3
                    self.certificate_names = _names(body)
                elif kind == _CERTIFICATE_REQUEST:
                    self.asks_certificate = True
                elif kind == _CERTIFICATE_VERIFY:
                    self.signature_bytes = length
            except (IndexError, ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
                # TypeError: cryptography's answer to a name of an ASN.1 type that names can't have.
                pass
            position += 4 + length
        return position

    def _read_client_hello(self, body: bytes) -> None:
        self.side = "client"
        position = 34
        position += 1 + body[position]
        position += 2 + int.from_bytes(body[position : position + 2], "big")
        position += 1 + body[position]
        for kind, data in _extensions(body, position):
            if kind == _SERVER_NAME and len(data) >= 5:
                name = data[5 : 5 + int.from_bytes(data[3:5], "big")]
                self.server_name = printable(name.decode("ascii", "replace"))
            elif kind == _ALPN:
                self.protocols = _alpn(data)
            elif kind == _EARLY_DATA:
                self.early_data = True

    def _read_server_hello(self, body: bytes) -> None:
        self.side = "server"
        if body[2:34] == _HELLO_RETRY:
            return
        version = int.from_bytes(body[:2], "big")
        position = 34
        position += 1 + body[position]
        if len(body) < position + 3:
            return
        cipher = int.from_bytes(body[position : position + 2], "big")
        for kind, data in _extensions(body, position + 3):
            if kind == _SUPPORTED_VERSIONS and len(data) == 2:
                version = int.from_bytes(data, "big")
            elif kind == _ALPN:
                self.protocols = _alpn(data)
            elif kind == _PRE_SHARED_KEY:
                self.resumed = True
        self.version = _VERSIONS.get(version, f"version 0x{version:04x}")
        self.cipher = _CIPHERS.get(cipher, f"cipher 0x{cipher:04x}")
        self.encrypts = cipher not in NULL_CIPHERS
        if not self.encrypts:
            self.cipher += " (NULL: does not encrypt)"


def _extensions(body: bytes, position: int) -> list[tuple[int, bytes]]:
    end = position + 2 + int.from_bytes(body[position : position + 2], "big")
    position += 2
    found = []
    while position + 4 <= min(end, len(body)):
        kind = int.from_bytes(body[position : position + 2], "big")
        length = int.from_bytes(body[position + 2 : position + 4], "big")
        found.append((kind, body[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


def _alpn(data: bytes) -> tuple[str, ...]:
    names: list[str] = []
    position = 2
    while position < len(data) and len(names) < MAX_NAMES:
        length = data[position]
        names.append(printable(data[position + 1 : position + 1 + length].decode("ascii", "replace")))
        position += 1 + length
    return tuple(names)


def _names(body: bytes) -> tuple[str, ...]:
    """Subject common names of a TLS 1.2 Certificate message, the leaf first (RFC 5246 7.4.2)."""
    names: list[str] = []
    position = 3
    while position + 3 <= len(body) and len(names) < MAX_NAMES:
        length = int.from_bytes(body[position : position + 3], "big")
        with warnings.catch_warnings():
            # A certificate on the wire is shown as it is, also one that a verifier would not like.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(body[position + 3 : position + 3 + length])
            common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            names.append(printable(str(common[0].value) if common else certificate.subject.rfc4514_string()))
        position += 3 + length
    return tuple(names)
