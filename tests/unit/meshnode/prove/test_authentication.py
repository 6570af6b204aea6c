"""What a TLS connection shows of both ends: real handshakes of OpenSSL, with and without a client's certificate."""

from __future__ import annotations

import ssl

import pytest

from meshnode.prove.authentication import MIN_CERTIFICATE_RECORD_BYTES, mutual
from meshnode.prove.tls import TlsWalk
from meshnode.prove.tls_hello import Handshake
from tests.support.handshake import handshake

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def walk(data: bytes) -> TlsWalk:
    walked = TlsWalk()
    walked.feed(data)
    walked.finish()
    return walked


@pytest.mark.parametrize(
    ("version", "asks", "has", "both", "evidence"),
    [
        (TLS12, False, False, False, "server asked for no client certificate"),
        (TLS12, True, False, False, "client sent no certificate"),
        (TLS12, True, True, True, "client certificate and its signature seen"),
        (TLS13, False, False, False, "no client certificate, by size"),
        (TLS13, False, True, False, "no client certificate, by size"),
        (TLS13, True, False, False, ""),
        (TLS13, True, True, True, "client certificate, by the size of its sealed record"),
    ],
)
def test_a_handshake_shows_whether_both_ends_proved_who_they_are(
    version: ssl.TLSVersion, asks: bool, has: bool, both: bool, evidence: str
) -> None:
    client, server = map(walk, handshake(version, asks=asks, has_certificate=has))
    seen = mutual(client.handshake, client.first_sealed_bytes, server.handshake)
    assert (seen.mutual, seen.evidence) == (both, evidence)


def test_a_certificate_without_its_signature_proves_nothing() -> None:
    client = Handshake(side="client", certificate_sent=True)
    server = Handshake(side="server", version="TLS 1.2", asks_certificate=True)
    assert not mutual(client, None, server).mutual
    client.signature_bytes = 70
    assert mutual(client, None, server).mutual


@pytest.mark.parametrize("size", [None, 1, 53, 69, MIN_CERTIFICATE_RECORD_BYTES - 1])
def test_a_small_first_record_is_no_certificate(size: int | None) -> None:
    server = Handshake(side="server", version="TLS 1.3")
    assert not mutual(Handshake(side="client"), size, server).mutual
    assert mutual(Handshake(side="client"), MIN_CERTIFICATE_RECORD_BYTES, server).mutual


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (Handshake(side="client", early_data=True), Handshake(side="server", version="TLS 1.3")),
        (Handshake(side="client"), Handshake(side="server", version="TLS 1.3", resumed=True)),
    ],
)
def test_the_size_of_early_data_or_in_a_resumed_session_is_no_evidence(
    client: Handshake, server: Handshake
) -> None:
    seen = mutual(client, 5000, server)
    assert (seen.mutual, seen.evidence) == (False, "resumed session: certificates were shown earlier")
