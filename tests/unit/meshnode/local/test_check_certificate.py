"""When a certificate passes, warns and is critical, to the second, and what is said about it."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import MeshError
from meshnode.local.check_certificate import MAX_CERTIFICATE_BYTES, judge_certificate, parse_certificate
from tests.support.certs import make_ca, make_cert
from tests.support.checks import START

CA = make_ca()
PAIR = make_cert(["web.example"], CA, not_before=START, not_after=START + timedelta(days=90))


@pytest.mark.parametrize(
    ("after", "status", "text"),
    [
        (timedelta(seconds=-1), "critical", "not valid yet"),
        (timedelta(0), "passing", "90.0 days left"),
        (timedelta(days=60), "passing", "30.0 days left"),
        (timedelta(days=60, seconds=1), "warning", "30.0 days left, less than a third of its lifetime"),
        (timedelta(days=90, seconds=-1), "warning", "0.0 days left"),
        (timedelta(days=90), "critical", "expired 0.0 days ago: renew it"),
        (timedelta(days=95), "critical", "expired 5.0 days ago"),
    ],
)
def test_a_certificate_is_judged_by_what_is_left_of_it(after: timedelta, status: str, text: str) -> None:
    result = judge_certificate(PAIR.certificate, "/a.pem", START + after)
    assert result.status == status
    assert text in result.output
    about = f'Certificate /a.pem: subject "CN=web.example", serial {PAIR.serial}, '
    assert result.output.startswith(about)
    assert "notAfter 2030-04-01T00:00:00Z" in result.output


def test_pem_with_more_around_it_and_der_are_read() -> None:
    for data in (PAIR.pem, b"some text\n" + PAIR.pem + CA.pem, PAIR.certificate.public_bytes(Encoding.DER)):
        assert parse_certificate(data) == PAIR.certificate


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        PAIR.key_pem,
        PAIR.pem[:200],
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_holds_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(MeshError, match="holds no certificate"):
        parse_certificate(data)


def test_a_file_over_the_bound_is_refused() -> None:
    parse_certificate(PAIR.pem + b"\n" * (MAX_CERTIFICATE_BYTES - len(PAIR.pem)))
    with pytest.raises(MeshError, match="longer than"):
        parse_certificate(PAIR.pem + b"\n" * (MAX_CERTIFICATE_BYTES - len(PAIR.pem) + 1))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_end_in_a_certificate_or_in_our_error(data: bytes, marked: bool) -> None:
    with contextlib.suppress(MeshError):
        parse_certificate(b"-----BEGIN CERTIFICATE-----" + data if marked else data)
