"""Certificates of others: any bytes are a certificate or a sentence, and only who signed one has signed it."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.base.certificates import is_issued_by, parse_certificate_der
from meshnode.base.errors import RemoteProtocolError
from tests.support.chains import issued
from tests.support.proxy import Ca, spiffe

CA = Ca()
ROOT = CA.root.certificate
LEAF = x509.load_pem_x509_certificate(CA.leaf("web").chain_pem.encode())
DER = LEAF.public_bytes(Encoding.DER)


def test_a_certificate_is_read_as_it_is() -> None:
    assert parse_certificate_der(DER) == LEAF


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
@example(15, 128)  # a serial number below 0
def test_changed_bytes_are_a_certificate_or_a_sentence(place: int, change: int) -> None:
    said = "a certificate"
    try:
        parse_certificate_der(DER[:place] + bytes([DER[place] ^ change]) + DER[place + 1 :])
    except RemoteProtocolError as error:
        said = str(error)
    assert 0 < len(said) <= 200


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_certificate_der(noise)


def test_what_rfc_5280_forbids_is_refused_and_not_only_warned_of() -> None:
    assert DER[13:15] == b"\x02" + bytes([DER[14]]), "the serial number stands here"
    with pytest.raises(RemoteProtocolError, match="serial number which wasn't positive"):
        parse_certificate_der(DER[:15] + bytes([DER[15] | 0x80]) + DER[16:])


def test_only_the_name_and_the_key_that_signed_count() -> None:
    assert is_issued_by(LEAF, ROOT)
    assert is_issued_by(ROOT, ROOT)
    assert not is_issued_by(ROOT, LEAF)
    assert not is_issued_by(LEAF, Ca(name="Another").root.certificate)
    # The same name, another key.
    assert not is_issued_by(LEAF, Ca().root.certificate)
    holder = CA.leaf("web")
    forged, _ = issued(holder.chain_pem, holder.key_pem, spiffe("admin"))
    forged_leaf = x509.load_pem_x509_certificate(forged.encode())
    assert is_issued_by(forged_leaf, x509.load_pem_x509_certificate(holder.chain_pem.encode()))
    assert not is_issued_by(forged_leaf, ROOT)
