from __future__ import annotations

import ssl

import pytest

from meshnode.base.errors import ConfigError
from meshnode.runtime.tls_ciphers import CIPHER_SUITES, minimum_version, new_context, openssl_ciphers

STRONG = [name for name in CIPHER_SUITES if "RC4" not in name and "3DES" not in name]


def test_the_22_suites_of_consul_are_known() -> None:
    assert len(CIPHER_SUITES) == 22
    assert len(set(CIPHER_SUITES.values())) == 22


@pytest.mark.parametrize("name", STRONG)
def test_a_suite_selects_the_cipher_that_openssl_describes_with_the_same_parts(name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(openssl_ciphers((name,)))
    (cipher,) = [cipher for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    exchange, _, rest = name.removeprefix("TLS_").partition("_WITH_")
    assert ("ecdhe" in cipher["kea"]) == exchange.startswith("ECDHE")
    assert ("ecdsa" in cipher["auth"]) == exchange.endswith("ECDSA")
    assert cipher["aead"] == ("GCM" in rest or "POLY1305" in rest)
    assert cipher["strength_bits"] == (256 if "256_" in rest or "CHACHA20" in rest else 128)


@pytest.mark.parametrize("protocol", [ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER])
def test_a_context_begins_with_tls_12_and_neither_compression_nor_renegotiation(protocol: int) -> None:
    context = new_context(protocol)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    other = new_context(protocol, least=ssl.TLSVersion.TLSv1_3, suites=(STRONG[0],))
    assert other.minimum_version == ssl.TLSVersion.TLSv1_3
    assert CIPHER_SUITES[STRONG[0]] in {cipher["name"] for cipher in other.get_ciphers()}


def test_the_order_of_the_list_is_kept() -> None:
    assert openssl_ciphers((STRONG[5], STRONG[0])) == f"{CIPHER_SUITES[STRONG[5]]}:{CIPHER_SUITES[STRONG[0]]}"


def test_without_a_list_there_is_forward_secrecy_and_aead_only() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(openssl_ciphers(()))
    assert all(cipher["aead"] for cipher in context.get_ciphers())
    assert not [cipher for cipher in context.get_ciphers() if "kx-rsa" in cipher["kea"]]


def test_an_unknown_suite_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        openssl_ciphers(("TLS_NULL",))
    assert '"TLS_NULL"' in str(caught.value)
    assert all(name in str(caught.value) for name in CIPHER_SUITES)
    assert caught.value.key == "tls_cipher_suites"


def test_a_suite_that_openssl_dropped_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"TLS_RSA_WITH_RC4_128_SHA.*too weak"):
        openssl_ciphers(("TLS_RSA_WITH_RC4_128_SHA",))


def test_versions() -> None:
    assert minimum_version("") == minimum_version("tls12") == ssl.TLSVersion.TLSv1_2
    assert minimum_version("tls13") == ssl.TLSVersion.TLSv1_3
    for old in ("tls10", "tls11"):
        with pytest.raises(ConfigError, match=f"{old}.*OpenSSL.*security level.*tls12"):
            minimum_version(old)
    with pytest.raises(ConfigError, match="is not a version"):
        minimum_version("TLSv1.2")
