from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from meshnode.base.errors import RemoteProtocolError
from meshnode.pki import keys
from meshnode.pki.leaf import SubjectNames
from meshnode.pki.request import create_request, parse_request
from tests.support.openssl import openssl
from tests.unit.meshnode.pki.certificates import key, request


def test_request_says_who_asks_and_with_which_key() -> None:
    asked = parse_request(request("s1"))
    assert asked.common_name == "s1"
    assert keys.public_key_fingerprint(asked.public_key) == keys.public_key_fingerprint(key().public_key())


def test_openssl_verifies_it_and_sees_the_names() -> None:
    pem = create_request(key(), "s1", SubjectNames.of(["s1.example"], ["10.0.0.1"]))
    text = openssl("req", "-verify", "-noout", "-text", stdin=pem)
    assert "DNS:s1.example, IP Address:10.0.0.1" in text


def test_request_made_by_openssl_is_read(tmp_path: object) -> None:
    key_pem = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    assert (
        parse_request(
            openssl("req", "-new", "-key", "/dev/stdin", "-subj", "/CN=c1", stdin=key_pem)
        ).common_name
        == "c1"
    )


@pytest.mark.parametrize("subject", ["/O=nobody", "/CN=a/CN=b"])
def test_request_needs_exactly_one_common_name(subject: str) -> None:
    pem = openssl("req", "-new", "-key", "/dev/stdin", "-subj", subject, stdin=keys.serialize_key(key()))
    with pytest.raises(RemoteProtocolError, match=r"[02] common names in its subject: exactly one"):
        parse_request(pem)


def test_weak_or_unknown_keys_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="1024 bits"):
        parse_request(create_request(rsa.generate_private_key(65537, 1024), "s1"))
    ed = ed25519.Ed25519PrivateKey.generate().private_bytes_raw().hex()
    assert ed
    pem = openssl(
        "req",
        "-new",
        "-key",
        "/dev/stdin",
        "-subj",
        "/CN=a",
        stdin=openssl("genpkey", "-algorithm", "ED25519"),
    )
    with pytest.raises(RemoteProtocolError, match="use EC or RSA"):
        parse_request(pem)


@pytest.mark.parametrize(
    "garbage",
    ["", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "é" * 10],
)
def test_what_is_no_request_is_refused(garbage: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not a PKCS #10 request"):
        parse_request(garbage)


def test_text_is_bounded_before_it_is_parsed() -> None:
    pem = request()
    parse_request(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem)))
    with pytest.raises(RemoteProtocolError, match=f"more than {keys.MAX_PEM_BYTES}"):
        parse_request(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem) + 1))


@pytest.mark.parametrize("seed", range(300))
def test_damaged_requests_end_in_a_result_or_a_remote_protocol_error(seed: int) -> None:
    rng = random.Random(seed)
    damaged = bytearray(request().encode())
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(30, len(damaged) - 40)] = rng.choice(b"ABCDEFabcdef0123456789+/=\n")
    try:
        parse_request(damaged.decode())
    except RemoteProtocolError:
        return
    # A letter of Base64 whose spare bits are not used, or the text around the PEM block: still the same request.
    assert parse_request(damaged.decode()).common_name == "s1"
