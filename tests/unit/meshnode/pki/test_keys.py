from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from meshnode.base.errors import ConfigError
from meshnode.pki import keys
from meshnode.pki.keys import KeyType
from tests.support.openssl import openssl
from tests.unit.meshnode.pki.certificates import authority, key


@pytest.mark.parametrize("key_type", keys.KEY_TYPES)
def test_key_of_each_type_survives_its_pem_form_and_openssl_reads_it(key_type: KeyType) -> None:
    made = key(1, key_type)
    pem = keys.serialize_key(made)
    again = keys.parse_key(pem)
    assert again.private_numbers() == made.private_numbers()
    assert keys.key_type_of(made.public_key()) == key_type
    assert "BEGIN PUBLIC KEY" in openssl("pkey", "-pubout", stdin=pem)


@pytest.mark.parametrize("kind", [("EC", "ec_paramgen_curve:P-256"), ("RSA", "rsa_keygen_bits:2048")])
def test_key_made_by_openssl_is_read(kind: tuple[str, str]) -> None:
    pem = openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1])
    assert keys.serialize_key(keys.parse_key(pem)) == pem


def test_traditional_forms_are_read(tmp_path: Path) -> None:
    sec1 = openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout")
    assert "BEGIN EC PRIVATE KEY" in sec1
    assert keys.key_type_of(keys.parse_key(sec1).public_key()) == "ec-p256"


def test_unknown_type_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'dsa' is not known: write one of ec-p256, ec-p384, rsa-2048"):
        keys.generate_key("dsa")  # type: ignore[arg-type]


def test_encrypted_key_is_refused_with_the_way_out() -> None:
    pem = openssl(
        "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes128", "-pass", "pass:x"
    )
    with pytest.raises(ConfigError, match="encrypted with a passphrase: give the decrypted key"):
        keys.parse_key(pem)


def test_other_kinds_of_keys_are_refused() -> None:
    with pytest.raises(ConfigError, match="kind Ed25519PrivateKey: use EC or RSA"):
        keys.parse_key(openssl("genpkey", "-algorithm", "ED25519"))
    with pytest.raises(ConfigError, match="use EC or RSA"):
        keys.accepted_public_key(ed25519.Ed25519PrivateKey.generate().public_key())


def test_weak_keys_are_refused_and_the_weakest_accepted_is_not() -> None:
    with pytest.raises(ConfigError, match="1024 bits: at least 2048"):
        keys.accepted_public_key(rsa.generate_private_key(65537, 1024).public_key())
    with pytest.raises(ConfigError, match="curve secp224r1"):
        keys.accepted_public_key(ec.generate_private_key(ec.SECP224R1()).public_key())
    keys.accepted_public_key(key(1, "rsa-2048").public_key())


def test_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    pem = openssl("pkey", "-pubout", stdin=keys.serialize_key(key()))
    (tmp_path / "pub.der").write_bytes(b"")
    openssl("pkey", "-pubin", "-outform", "DER", "-out", tmp_path / "pub.der", stdin=pem)
    digest = openssl("dgst", "-sha256", "-r", tmp_path / "pub.der").split()[0]
    assert keys.public_key_fingerprint(key().public_key()) == digest


def test_text_is_bounded_before_it_is_parsed() -> None:
    pem = authority().certificate_pem
    keys.parse_certificate(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem)))
    with pytest.raises(ConfigError, match=rf"more than {keys.MAX_PEM_BYTES}"):
        keys.parse_certificate(pem + "\n" * (keys.MAX_PEM_BYTES - len(pem) + 1))
