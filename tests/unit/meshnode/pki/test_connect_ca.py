"""Connect's certificates: what is in them, who gets them, and what OpenSSL says."""

from __future__ import annotations

import itertools
import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.spiffe import AgentId, AuthorityId, ServiceId
from meshnode.pki import keys
from meshnode.pki.authority import Authority
from meshnode.pki.connect_ca import (
    IssuedLeaf,
    create_leaf_request,
    create_root,
    cross_sign,
    parse_leaf_request,
    read_root,
    serialize_leaf_key,
    sign_leaf,
)

AT = datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=UTC)
DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
WEB = ServiceId(DOMAIN, "dc1", "web")


def entropy(size: int) -> bytes:
    return random.randbytes(size)


def root(number: int = 1, **given: Any) -> Authority:
    return create_root(f"Consul CA {number}", DOMAIN, **{"at": AT, "entropy": entropy, **given})


def leaf(authority: Authority, **given: Any) -> IssuedLeaf:
    request = create_leaf_request(
        keys.generate_key(given.pop("key_type", "ec-p256")), given.pop("identity", WEB)
    )
    options = {
        "lifetime": timedelta(hours=72),
        "at": AT,
        "trust_domain": DOMAIN,
        "datacenter": "dc1",
        **given,
    }
    return sign_leaf(authority, parse_leaf_request(request), entropy=entropy, **options)


def openssl_verify(
    tmp_path: Path,
    certificate: str,
    roots: str,
    untrusted: str = "",
    at: datetime = AT,
    purpose: str = "sslserver",
) -> str:
    """Empty when OpenSSL accepts the chain, else what it says."""
    for name, text in (("leaf", certificate), ("roots", roots), ("chain", untrusted)):
        (tmp_path / name).write_text(text)
    chain = ["-untrusted", str(tmp_path / "chain")] if untrusted else []
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(at.timestamp()))]
    done = subprocess.run(
        [*command, "-CAfile", str(tmp_path / "roots"), *chain, str(tmp_path / "leaf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else done.stderr + done.stdout


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_leaves_of_every_kind_of_root_for_both_ends(
    tmp_path: Path, key_type: str, purpose: str
) -> None:
    authority = root(key_type=key_type)
    issued = leaf(authority)
    assert openssl_verify(tmp_path, issued.certificate_pem, authority.certificate_pem, purpose=purpose) == ""


def test_openssl_refuses_a_leaf_of_another_root_of_the_same_name(tmp_path: Path) -> None:
    assert "error" in openssl_verify(tmp_path, leaf(root()).certificate_pem, root().certificate_pem)


def test_who_trusts_the_old_root_alone_trusts_leaves_of_the_new_one(tmp_path: Path) -> None:
    old, new = root(1), root(2)
    crossed = cross_sign(old, new.certificate, at=AT, entropy=entropy)
    issued = leaf(new).certificate_pem
    assert openssl_verify(tmp_path, issued, old.certificate_pem, crossed) == ""
    assert openssl_verify(tmp_path, issued, new.certificate_pem, crossed) == ""
    assert openssl_verify(tmp_path, issued, old.certificate_pem) != ""


def test_three_rotations_make_one_chain(tmp_path: Path) -> None:
    roots = [root(number, key_type="rsa-2048" if number == 3 else "ec-p256") for number in (1, 2, 3, 4)]
    crossed = [
        cross_sign(old, new.certificate, at=AT, entropy=entropy) for old, new in itertools.pairwise(roots)
    ]
    assert (
        openssl_verify(tmp_path, leaf(roots[3]).certificate_pem, roots[0].certificate_pem, "".join(crossed))
        == ""
    )


def test_a_cross_signed_certificate_ends_with_the_first_of_both_roots() -> None:
    old, new = root(1, days=10), root(2)
    crossed = keys.parse_certificate(cross_sign(old, new.certificate, at=AT, entropy=entropy))
    assert crossed.not_valid_after_utc == old.certificate.not_valid_after_utc
    assert crossed.subject == new.certificate.subject
    assert crossed.issuer == old.certificate.subject
    with pytest.raises(ConfigError, match="old root is valid from"):
        cross_sign(old, new.certificate, at=AT + timedelta(days=10), entropy=entropy)


def test_a_root_names_its_trust_domain_and_has_a_serial_number_that_fits_in_64_bits() -> None:
    certificate = root().certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(AuthorityId(DOMAIN))]
    facts = read_root(certificate)
    assert facts.serial == certificate.serial_number < 2**63
    assert facts.name == "Consul CA 1"
    assert facts.id == certificate.fingerprint(hashes.SHA1()).hex(":")
    assert facts.not_after - facts.not_before == timedelta(days=3650, minutes=1)


def test_a_root_can_be_made_for_a_key_that_was_given() -> None:
    key = keys.generate_key()
    assert root(key=key).certificate.public_key() == key.public_key()


def test_a_leaf_says_what_consuls_leaves_say() -> None:
    issued = leaf(root())
    certificate = keys.parse_certificate(issued.certificate_pem)
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [*names] == [x509.UniformResourceIdentifier(str(WEB))]
    assert certificate.subject.rfc4514_string() == "CN=web"
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage._name for usage in usages} == {"clientAuth", "serverAuth"}
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.serial == bytes.fromhex(f"{certificate.serial_number:040x}").lstrip(b"\0").hex(":")
    own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())


@pytest.mark.parametrize("seconds", [1, 20, 3600, 259_200, 31_536_000, 157_680_000])
def test_a_leaf_lives_for_what_was_asked_from_now_and_began_a_minute_ago(seconds: int) -> None:
    issued = leaf(root(), lifetime=timedelta(seconds=seconds), at=AT + timedelta(days=1))
    now = (AT + timedelta(days=1)).replace(microsecond=0)
    assert issued.not_before == now - timedelta(minutes=1)
    assert issued.not_after == now + timedelta(seconds=seconds)


def test_a_leaf_never_outlives_its_root_nor_begins_before_it() -> None:
    authority = root(days=1)
    issued = leaf(authority, lifetime=timedelta(days=365))
    assert issued.not_after == authority.certificate.not_valid_after_utc
    assert issued.not_before >= authority.certificate.not_valid_before_utc


def test_an_expired_root_signs_nothing() -> None:
    with pytest.raises(ConfigError, match="it can sign nothing now"):
        leaf(root(days=1), at=AT + timedelta(days=1))


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        (ServiceId("other.consul", "dc1", "web"), "for trust domain other.consul"),
        (ServiceId(DOMAIN, "dc2", "web"), "for datacenter 'dc2'"),
        (AgentId(DOMAIN, "dc1", "n1"), "not the id of a service"),
        (AuthorityId(DOMAIN), "not the id of a service"),
    ],
)
def test_nobody_else_gets_a_leaf(identity: Any, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        leaf(root(), identity=identity)


def test_a_service_with_a_name_too_long_for_a_subject_has_it_in_the_uri_alone(tmp_path: Path) -> None:
    authority = root()
    issued = leaf(authority, identity=ServiceId(DOMAIN, "dc1", "w" * 65))
    certificate = keys.parse_certificate(issued.certificate_pem)
    assert not certificate.subject.rdns
    assert openssl_verify(tmp_path, issued.certificate_pem, authority.certificate_pem) == ""


def request_with(*names: x509.GeneralName, key: Any = None) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(key or keys.generate_key(), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(
    ("request_pem", "reason"),
    [
        ("", "not a PKCS #10 request"),
        ("x" * (keys.MAX_PEM_BYTES + 1), "characters, more than"),
        (request_with(), "names nobody"),
        (request_with(x509.DNSName("web")), "has 1 names: exactly one URI"),
        (request_with(uri(str(WEB)), uri("spiffe://a")), "has 2 names"),
        (request_with(uri(str(WEB)), x509.DNSName("web")), "has 2 names"),
        (request_with(uri("http://web")), "must have 'spiffe' scheme"),
        (request_with(uri(str(WEB)), key=ec.generate_private_key(ec.SECP256K1())), "use P-256"),
    ],
)
def test_a_request_must_name_one_spiffe_id(request_pem: str, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse_leaf_request(request_pem)


def test_a_request_that_was_altered_on_the_way_is_refused() -> None:
    pem = create_leaf_request(keys.generate_key(), WEB)
    der = bytearray(x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER))
    at = bytes(der).index(b"/svc/web")
    der[at + 5] = ord("W")
    altered = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(RemoteProtocolError, match="not signed by the key"):
        parse_leaf_request(altered)


def test_a_leafs_key_is_written_as_consul_writes_it_and_read_again() -> None:
    key = keys.generate_key()
    pem = serialize_leaf_key(key)
    assert pem.startswith("-----BEGIN EC PRIVATE KEY-----")
    assert keys.parse_key(pem).public_key() == key.public_key()
