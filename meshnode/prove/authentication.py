"""Did both ends of a TLS connection show a certificate? As far as that can be seen from outside.

Up to TLS 1.2 the handshake is in clear: the server's CertificateRequest, the client's Certificate and its signature
(RFC 5246 7.4.4, 7.4.8). TLS 1.3 seals them: what is left is the size of the client's first sealed record, which is that
of a Finished alone, or far larger (RFC 8446 4.4, 5.2). That is said as what it is: "by size".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshnode.prove.tls_hello import Handshake

__all__ = ["MIN_CERTIFICATE_RECORD_BYTES", "Seen", "mutual"]

#: A sealed record of at least this size in the client's flight holds a certificate; the smallest real ones have 300.
MIN_CERTIFICATE_RECORD_BYTES: Final = 256
#: Sealed records with a Finished of SHA-256 or SHA-384: header 4, digest, content type 1, tag 16.
_FINISHED_BYTES: Final = frozenset({53, 69})


@dataclass(frozen=True, slots=True)
class Seen:
    """``mutual`` is whether the client proved who it is, too; ``evidence`` is a phrase, empty when nothing shows it."""

    mutual: bool
    evidence: str


def mutual(client: Handshake, first_sealed_bytes: int | None, server: Handshake) -> Seen:
    """Judge one connection from the handshakes of both directions and the client's first sealed record."""
    if client.certificate_sent and client.signature_bytes:
        return Seen(True, "client certificate and its signature seen")
    if server.resumed or client.early_data:
        return Seen(False, "resumed session: certificates were shown earlier")
    if server.version == "TLS 1.3":
        size = first_sealed_bytes or 0
        if size >= MIN_CERTIFICATE_RECORD_BYTES:
            return Seen(True, "client certificate, by the size of its sealed record")
        return Seen(False, "no client certificate, by size" if size in _FINISHED_BYTES else "")
    if server.certificate_names and not server.asks_certificate:
        return Seen(False, "server asked for no client certificate")
    return Seen(False, "client sent no certificate" if server.asks_certificate else "")
