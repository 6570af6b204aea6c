"""TLS as it looks from outside: records, hellos, and certificates where they travel in clear (RFC 5246, 8446).

Reads one direction at a time. Everything after the hellos of TLS 1.3 is opaque; in TLS 1.2 the server's and
the client's certificates are visible.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["TlsView", "looks_like_tls", "view_tls"]

_HANDSHAKE, _APPLICATION_DATA = 22, 23
_CONTENT_TYPES: Final = frozenset({20, 21, 22, 23, 24})
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE = 1, 2, 11
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43
#: RFC 8446 5.1 allows 2^14 plus 256; TLS 1.2 allows up to 2048 more.
MAX_RECORD_BYTES: Final = (1 << 14) + 2048
_HELLO_RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_VERSIONS: Final = {0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
_CIPHERS: Final = {
    0x1301: "TLS_AES_128_GCM_SHA256",
    0x1302: "TLS_AES_256_GCM_SHA384",
    0x1303: "TLS_CHACHA20_POLY1305_SHA256",
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
}


@dataclass(slots=True)
class TlsView:
    """What one direction shows. ``records`` counts complete records; ``sealed_bytes`` is application data."""

    records: int = 0
    sealed_bytes: int = 0
    version: str = ""
    cipher: str = ""
    server_name: str = ""
    protocols: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    broken_at: int | None = None


def looks_like_tls(data: bytes | bytearray) -> bool:
    """Whether ``data`` starts with a TLS record header that a real stack would send."""
    return (
        len(data) >= 5
        and data[0] in _CONTENT_TYPES
        and data[1] == 3
        and data[2] <= 4
        and 0 < int.from_bytes(data[3:5], "big") <= MAX_RECORD_BYTES
    )


def view_tls(data: bytes | bytearray) -> TlsView:
    """Walk the records of one direction; stops, and says where, at the first byte that is not TLS."""
    view, handshake = TlsView(), bytearray()
    position, clear = 0, True
    while position + 5 <= len(data):
        if not looks_like_tls(data[position : position + 5]):
            view.broken_at = position
            break
        length = int.from_bytes(data[position + 3 : position + 5], "big")
        body = bytes(data[position + 5 : position + 5 + length])
        if len(body) < length:
            break
        content = data[position]
        view.records += 1
        if content == _APPLICATION_DATA:
            view.sealed_bytes += length
        elif content == 20:
            # After ChangeCipherSpec what looks like handshake records is sealed.
            clear = False
        elif content == _HANDSHAKE and clear:
            handshake += body
        position += 5 + length
    _read_handshake(view, bytes(handshake))
    return view


def _read_handshake(view: TlsView, data: bytes) -> None:
    position = 0
    while position + 4 <= len(data):
        kind, length = data[position], int.from_bytes(data[position + 1 : position + 4], "big")
        body = data[position + 4 : position + 4 + length]
        if len(body) < length:
            return
        try:
            if kind == _CLIENT_HELLO:
                _read_client_hello(view, body)
            elif kind == _SERVER_HELLO:
                _read_server_hello(view, body)
            elif kind == _CERTIFICATE:
                view.certificate_names = _names(body)
        except (IndexError, ValueError):
            return
        position += 4 + length


def _read_client_hello(view: TlsView, body: bytes) -> None:
    position = 34
    position += 1 + body[position]
    position += 2 + int.from_bytes(body[position : position + 2], "big")
    position += 1 + body[position]
    for kind, data in _extensions(body, position):
        if kind == _SERVER_NAME and len(data) >= 5:
            view.server_name = data[5 : 5 + int.from_bytes(data[3:5], "big")].decode("ascii", "replace")
        elif kind == _ALPN:
            view.protocols = _alpn(data)


def _read_server_hello(view: TlsView, body: bytes) -> None:
    if body[2:34] == _HELLO_RETRY:
        return
    version = int.from_bytes(body[:2], "big")
    position = 34
    position += 1 + body[position]
    cipher = int.from_bytes(body[position : position + 2], "big")
    for kind, data in _extensions(body, position + 3):
        if kind == _SUPPORTED_VERSIONS and len(data) == 2:
            version = int.from_bytes(data, "big")
        elif kind == _ALPN:
            view.protocols = _alpn(data)
    view.version = _VERSIONS.get(version, f"0x{version:04x}")
    view.cipher = _CIPHERS.get(cipher, f"0x{cipher:04x}")


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
    names, position = [], 2
    while position < len(data):
        length = data[position]
        names.append(data[position + 1 : position + 1 + length].decode("ascii", "replace"))
        position += 1 + length
    return tuple(names)


def _names(body: bytes) -> tuple[str, ...]:
    """Subject common names of a TLS 1.2 Certificate message, the leaf first (RFC 5246 7.4.2)."""
    names, position = [], 3
    while position + 3 <= len(body):
        length = int.from_bytes(body[position : position + 3], "big")
        with warnings.catch_warnings():
            # A certificate on the wire is shown as it is, also one that a verifier would not like.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(body[position + 3 : position + 3 + length])
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names.append(str(common[0].value) if common else certificate.subject.rfc4514_string())
        position += 3 + length
    return tuple(names)
