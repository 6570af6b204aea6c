from __future__ import annotations

import os
import random

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from meshnode.runtime.tls_certificate import certificates_in_message, summarize
from tests.support.certs import make_ca, make_cert


def vector(content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + content


def test_a_summary_has_what_tells_certificates_apart() -> None:
    ca = make_ca("The CA")
    pair = make_cert(["server.dc1.consul", "localhost"], ca)
    summary = summarize(pair.certificate)
    assert summary is not None
    assert summary == summarize(pair.certificate.public_bytes(Encoding.DER))
    assert (summary.subject, summary.issuer) == ("CN=server.dc1.consul", "CN=The CA")
    assert summary.serial == pair.serial
    assert summary.fingerprint == pair.certificate.fingerprint(hashes.SHA256()).hex()
    assert summary.dns_names == ("server.dc1.consul", "localhost")
    assert summary.fingerprint[:16] in summary.as_authority()


def test_names_of_strangers_can_not_forge_log_lines() -> None:
    summary = summarize(make_cert(["x"], make_ca("evil\nERROR all is lost\x1b[2J" + "A" * 20)).certificate)
    assert summary is not None
    assert summary.issuer.isprintable()
    assert "\\x0a" in summary.issuer


def test_what_is_no_certificate_has_no_summary() -> None:
    assert summarize(b"") is None
    assert summarize(b"\x30\x03\x02\x01\x01") is None


def test_the_certificate_message_of_each_version_is_read() -> None:
    tls12 = b"\x0b" + vector(vector(vector(b"one") + vector(b"two")))
    assert certificates_in_message(tls12, tls13=False) == (b"one", b"two")
    entries = vector(b"one") + b"\x00\x02xx" + vector(b"two") + b"\x00\x00"
    tls13 = b"\x0b" + vector(b"\x03ctx" + vector(entries))
    assert certificates_in_message(tls13, tls13=True) == (b"one", b"two")
    assert certificates_in_message(b"\x0b" + vector(vector(b"")), tls13=False) == ()
    assert certificates_in_message(b"\x0b" + vector(b"\x00" + vector(b"")), tls13=True) == ()


def test_any_bytes_give_some_list() -> None:
    rng = random.Random(5)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "2000"))):
        message = rng.randbytes(rng.randrange(60))
        assert sum(map(len, certificates_in_message(message, tls13=rng.random() < 0.5))) <= len(message)
