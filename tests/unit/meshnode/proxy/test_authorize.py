"""Identity or refusal: the whole table, and any bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshnode.proxy.authorize import (
    MAX_CERTIFICATE_BYTES,
    Expectation,
    Identity,
    Refusal,
    RefusalCode,
    identify,
)
from tests.support.proxy import TRUST_DOMAIN, Ca, spiffe

CA = Ca()
WEB = spiffe("web")


def now() -> datetime:
    """Not once for the file: the certificates begin and end a minute from when they are made."""
    return datetime.now(UTC)


def der(uris: list[str], **more: object) -> bytes:
    material = CA.odd_leaf(uris, **more)  # type: ignore[arg-type]
    return x509.load_pem_x509_certificate(material.chain_pem.encode()).public_bytes(Encoding.DER)


def test_a_service_of_the_trust_domain_is_who_its_certificate_says() -> None:
    found = identify(der([WEB]), Expectation(TRUST_DOMAIN, frozenset({"dc1"}), frozenset({WEB})), now())
    assert isinstance(found, Identity)
    assert (found.uri, found.service.service) == (WEB, "web")


def test_the_serial_number_is_written_as_the_authority_writes_it() -> None:
    leaf = x509.load_pem_x509_certificate(CA.leaf("web").chain_pem.encode())
    found = identify(leaf.public_bytes(Encoding.DER), Expectation(TRUST_DOMAIN), now())
    assert isinstance(found, Identity)
    assert int(found.serial.replace(":", ""), 16) == leaf.serial_number


@pytest.mark.parametrize(
    ("uris", "more", "code"),
    [
        ([], {}, RefusalCode.NO_URI),
        ([], {"dns": ["web.example"]}, RefusalCode.NO_URI),
        ([WEB, spiffe("db")], {}, RefusalCode.MANY_URIS),
        ([WEB, WEB], {}, RefusalCode.MANY_URIS),
        (["https://example.com/web"], {}, RefusalCode.NOT_SPIFFE),
        ([f"spiffe://{TRUST_DOMAIN}/svc/web"], {}, RefusalCode.NOT_SPIFFE),
        ([WEB + "/"], {}, RefusalCode.NOT_SPIFFE),
        ([f"spiffe://{TRUST_DOMAIN}"], {}, RefusalCode.NOT_A_SERVICE),
        ([f"spiffe://{TRUST_DOMAIN}/agent/client/dc/dc1/id/n1"], {}, RefusalCode.NOT_A_SERVICE),
        ([WEB], {"is_ca": True}, RefusalCode.IS_AUTHORITY),
        ([spiffe("web", "evil.consul")], {}, RefusalCode.TRUST_DOMAIN),
        ([spiffe("web", TRUST_DOMAIN, "dc2")], {}, RefusalCode.DATACENTER),
        ([spiffe("db")], {}, RefusalCode.OTHER_SERVICE),
        ([WEB], {"end": timedelta(minutes=-1)}, RefusalCode.EXPIRED),
        ([WEB], {"start": timedelta(minutes=1)}, RefusalCode.NOT_YET_VALID),
    ],
)
def test_anybody_else_is_refused_with_the_reason(
    uris: list[str], more: dict[str, object], code: RefusalCode
) -> None:
    expected = Expectation(TRUST_DOMAIN, frozenset({"dc1"}), frozenset({WEB}))
    found = identify(der(uris, **more), expected, now())
    assert isinstance(found, Refusal)
    assert found.code is code
    assert found.because


def test_a_certificate_is_valid_from_its_first_instant_until_before_its_last() -> None:
    material = der([WEB], start=timedelta(0), end=timedelta(minutes=1))
    leaf = x509.load_der_x509_certificate(material)
    outcomes = [
        isinstance(identify(material, Expectation(TRUST_DOMAIN), at), Identity)
        for at in (
            leaf.not_valid_before_utc - timedelta(microseconds=1),
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc - timedelta(microseconds=1),
            leaf.not_valid_after_utc,
        )
    ]
    assert outcomes == [False, True, True, False]


def test_a_revoked_certificate_is_refused_and_no_other() -> None:
    one, other = der([WEB]), der([WEB])
    serial = identify(one, Expectation(TRUST_DOMAIN), now())
    assert isinstance(serial, Identity)
    expected = Expectation(TRUST_DOMAIN, revoked=frozenset({serial.serial}))
    refused = identify(one, expected, now())
    assert isinstance(refused, Refusal)
    assert (refused.code, serial.serial in refused.because) == (RefusalCode.REVOKED, True)
    assert isinstance(identify(other, expected, now()), Identity)


def test_no_certificate_is_refused() -> None:
    assert isinstance(identify(None, Expectation(TRUST_DOMAIN), now()), Refusal)


def test_a_certificate_is_read_up_to_its_bound_and_not_past_it() -> None:
    at_bound = identify(bytes(MAX_CERTIFICATE_BYTES), Expectation(TRUST_DOMAIN), now())
    past = identify(bytes(MAX_CERTIFICATE_BYTES + 1), Expectation(TRUST_DOMAIN), now())
    assert isinstance(at_bound, Refusal)
    assert isinstance(past, Refusal)
    assert "can't be read" in at_bound.because
    assert "more than" in past.because


GOOD = der([WEB])


@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)))
def test_any_bytes_end_in_an_identity_or_a_refusal(case: bytes | tuple[int, int]) -> None:
    if isinstance(case, tuple):
        place, change = case
        case = GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :]
    assert isinstance(identify(case, Expectation(TRUST_DOMAIN), now()), Identity | Refusal)


def test_a_serial_number_that_is_not_positive_is_refused() -> None:
    found = der([WEB])
    # INTEGER of 20 bytes, the first below 0x80: with its sign turned round it is negative.
    at = found.index(b"\x02\x14") + 2
    negative = found[:at] + bytes([found[at] | 0x80]) + found[at + 1 :]
    refused = identify(negative, Expectation(TRUST_DOMAIN), now())
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.UNREADABLE
    assert "serial number" in refused.because
