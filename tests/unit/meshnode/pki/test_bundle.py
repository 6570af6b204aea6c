from __future__ import annotations

import os
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError
from meshnode.pki import bundle, keys
from tests.support.openssl import openssl
from tests.unit.meshnode.pki.certificates import AT, authority, profile, request


def test_bundle_keeps_the_order_and_each_certificate_once() -> None:
    first, second = authority(1).certificate_pem, authority(2).certificate_pem
    joined = bundle.join_bundle([second, first, second])
    assert bundle.split_bundle(joined) == [second, first]


def test_bad_certificate_of_a_bundle_is_named_by_its_place() -> None:
    with pytest.raises(ConfigError, match=r"^certificate 2: this is not an X.509 certificate"):
        bundle.join_bundle([authority().certificate_pem, "x"])


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_text_without_certificates_is_no_bundle(text: str) -> None:
    with pytest.raises(ConfigError, match="not a bundle"):
        bundle.split_bundle(text)


def test_bundle_is_bounded_before_it_is_parsed() -> None:
    pem = authority().certificate_pem
    assert bundle.split_bundle(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem))) == [pem]
    with pytest.raises(ConfigError, match="more than"):
        bundle.split_bundle(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem) + 1))


def test_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    printed = openssl("x509", "-noout", "-fingerprint", "-sha256", stdin=authority().certificate_pem)
    assert (
        bundle.fingerprint(authority().certificate_pem)
        == printed.split("=")[1].strip().replace(":", "").lower()
    )
    assert bundle.fingerprint(authority().certificate) == bundle.fingerprint(authority().certificate_pem)


def test_description_says_what_openssl_says() -> None:
    pem = authority().sign(request(), profile(), at=AT, entropy=os.urandom)
    told = bundle.describe(pem)
    assert told.subject == "CN=s1"
    assert told.issuer == "CN=meshnode CA dc1 g1"
    assert told.not_before == "2026-11-21T11:59:00+00:00"
    assert told.not_after == "2027-11-21T12:00:00+00:00"
    assert told.key_type == "ec-p256"
    serial = openssl("x509", "-noout", "-serial", stdin=pem).strip().split("=")[1]
    assert int(told.serial, 16) == int(serial, 16)
    assert told.as_dict()["dns"] == ["s1", "server.dc1.consul", "localhost"]
    assert told.as_dict()["ip"] == ["10.1.0.11", "127.0.0.1", "::1"]
