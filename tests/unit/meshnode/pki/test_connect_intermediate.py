"""The intermediate of a secondary datacenter: what is in it, who gets one, and what OpenSSL says of the chain."""

from __future__ import annotations

import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.spiffe import AuthorityId, ServiceId
from meshnode.pki import connect_ca, keys
from meshnode.pki.authority import Authority
from meshnode.pki.connect_intermediate import (
    INTERMEDIATE_DAYS,
    check_intermediate,
    create_intermediate_request,
    is_intermediate_due,
    parse_intermediate_request,
    sign_intermediate,
)

AT = datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=UTC)
DOMAIN = "11111111-2222-3333-4444-555555555555.consul"
OTHER = "99999999-2222-3333-4444-555555555555.consul"


def entropy(size: int) -> bytes:
    return random.randbytes(size)


def root(number: int = 1, **given: Any) -> Authority:
    return connect_ca.create_root(f"Consul CA {number}", DOMAIN, at=AT, entropy=entropy, **given)


def signed(authority: Authority, key: Any, at: datetime = AT) -> str:
    request = parse_intermediate_request(create_intermediate_request(key, "dc2", DOMAIN), DOMAIN)
    return sign_intermediate(authority, request, trust_domain=DOMAIN, at=at, entropy=entropy)


def test_openssl_verifies_leaf_intermediate_and_root_and_lets_the_intermediate_sign_no_ca(
    tmp_path: Path,
) -> None:
    authority, key = root(), keys.generate_key()
    pem = signed(authority, key)
    intermediate = Authority.parse(pem, keys.serialize_key(key))
    request = connect_ca.create_leaf_request(keys.generate_key(), ServiceId(DOMAIN, "dc2", "web"))
    leaf = connect_ca.sign_leaf(
        intermediate,
        connect_ca.parse_leaf_request(request),
        trust_domain=DOMAIN,
        datacenter="dc2",
        lifetime=timedelta(hours=1),
        at=AT,
        entropy=entropy,
    )
    (tmp_path / "root.pem").write_text(authority.certificate_pem)
    (tmp_path / "middle.pem").write_text(pem)
    (tmp_path / "leaf.pem").write_text(leaf.certificate_pem)

    def verify(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = ["openssl", "verify", "-x509_strict", "-attime", str(int(AT.timestamp()) + 5), *more]
        files = ["-CAfile", str(tmp_path / "root.pem"), str(tmp_path / name)]
        return subprocess.run([*command, *files], capture_output=True, text=True, check=False, timeout=30)

    untrusted = ("-untrusted", str(tmp_path / "middle.pem"))
    assert verify("leaf.pem", *untrusted).stdout.endswith("leaf.pem: OK\n")
    assert verify("leaf.pem").returncode != 0
    assert verify("middle.pem").returncode == 0
    facts = x509.load_pem_x509_certificate(pem.encode()).extensions
    assert facts.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_it_lives_for_a_year_and_never_past_the_root() -> None:
    certificate = keys.parse_certificate(signed(root(), keys.generate_key()))
    assert certificate.not_valid_after_utc == AT.replace(microsecond=0) + timedelta(days=INTERMEDIATE_DAYS)
    short = root(days=30)
    certificate = keys.parse_certificate(signed(short, keys.generate_key()))
    assert certificate.not_valid_after_utc == short.certificate.not_valid_after_utc
    with pytest.raises(ConfigError, match=r"ended at .* it can sign nothing now"):
        signed(short, keys.generate_key(), AT + timedelta(days=31))


def test_it_is_due_when_half_of_its_life_is_over() -> None:
    pem = signed(root(), keys.generate_key())
    half = timedelta(days=INTERMEDIATE_DAYS / 2)
    assert not is_intermediate_due(pem, AT + half - timedelta(hours=1))
    assert is_intermediate_due(pem, AT + half)


def test_a_long_name_of_a_datacenter_is_cut_and_the_subject_may_not_be_the_roots() -> None:
    key = keys.generate_key()
    request = parse_intermediate_request(create_intermediate_request(key, "x" * 200, DOMAIN), DOMAIN)
    assert len(request.common_name) == 64
    same = connect_ca.create_root("Consul Intermediate CA dc2", DOMAIN, at=AT, entropy=entropy)
    with pytest.raises(RemoteProtocolError, match="is the name of the root"):
        signed(same, key)


@pytest.mark.parametrize(
    ("request_pem", "because"),
    [
        ("", "is not a PKCS #10 request"),
        (create_intermediate_request(keys.generate_key(), "dc2", OTHER), f"this cluster is {DOMAIN}"),
        (
            connect_ca.create_leaf_request(keys.generate_key(), ServiceId(DOMAIN, "dc2", "web")),
            "is not the id of a CA",
        ),
        (connect_ca.create_leaf_request(keys.generate_key(), AuthorityId(DOMAIN)), "0 common names"),
    ],
)
def test_who_may_not_have_one_is_told_why(request_pem: str, because: str) -> None:
    with pytest.raises(RemoteProtocolError, match=because):
        parse_intermediate_request(request_pem, DOMAIN)


def test_what_the_primary_answers_is_checked_before_it_is_used() -> None:
    authority, key = root(), keys.generate_key()
    pem = signed(authority, key)
    check_intermediate(pem, key, authority.certificate_pem, trust_domain=DOMAIN, at=AT)

    def refused(because: str, **changed: Any) -> None:
        given = {
            "pem": pem,
            "key": key,
            "root_pem": authority.certificate_pem,
            "trust_domain": DOMAIN,
            "at": AT,
        }
        with pytest.raises((RemoteProtocolError, ConfigError), match=because):
            check_intermediate(**{**given, **changed})

    refused("don't belong together", key=keys.generate_key())
    refused("another root than the one that is active", root_pem=root().certificate_pem)
    refused(f"not for spiffe://{OTHER}", trust_domain=OTHER)
    refused("isn't valid now", at=AT + timedelta(days=366))
    refused("isn't valid now", at=AT - timedelta(days=1))
    leaf = connect_ca.sign_leaf(
        authority,
        connect_ca.parse_leaf_request(connect_ca.create_leaf_request(key, ServiceId(DOMAIN, "dc2", "web"))),
        trust_domain=DOMAIN,
        datacenter="dc2",
        lifetime=timedelta(hours=1),
        at=AT,
        entropy=entropy,
    )
    refused("CA:FALSE", pem=leaf.certificate_pem)
    refused("the primary's answer can't be used", pem="rubbish")
