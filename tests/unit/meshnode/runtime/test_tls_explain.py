from __future__ import annotations

import ssl

import pytest

from meshnode.runtime.tls_certificate import summarize
from meshnode.runtime.tls_explain import _ALERTS, Side, explain
from tests.support.certs import make_ca

AUTHORITIES = tuple(summary for n in range(5) if (summary := summarize(make_ca(f"CA {n}").certificate)))
SERVER = Side(server=True, expected=AUTHORITIES[:1], own=AUTHORITIES[0])
CLIENT = Side(server=False, expected=AUTHORITIES[:1], own=AUTHORITIES[0], expected_name="server.dc1.consul")


def ssl_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize("reason", _ALERTS)
@pytest.mark.parametrize("side", [SERVER, CLIENT])
def test_an_alert_of_the_peer_is_about_our_certificate(reason: str, side: Side) -> None:
    failure = explain(ssl_error(reason), "p", side, None, presented=False)
    assert failure.kind == "alert"
    assert "refused our certificate" in failure.wrong
    assert 'our "CN=CA 0"' in failure.shown


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "timeout"),
        (EOFError(), "closed"),
        (ConnectionResetError(), "closed"),
        (ssl_error("WRONG_VERSION_NUMBER"), "not_tls"),
        (ssl_error("UNSUPPORTED_PROTOCOL"), "version"),
        (ssl_error("NO_SHARED_CIPHER"), "ciphers"),
        (ssl_error("SOMETHING_NEW"), "other"),
        (ValueError("x"), "other"),
    ],
)
@pytest.mark.parametrize("side", [SERVER, CLIENT])
def test_every_error_becomes_one_sentence(error: Exception, kind: str, side: Side) -> None:
    failure = explain(error, "10.0.0.1:5", side, None, presented=False)
    assert failure.kind == kind
    line = str(failure)
    assert line.startswith("TLS with 10.0.0.1:5 failed: ")
    assert "CN=CA 0" in line
    assert "shown: no certificate" in line
    assert "fix: " in line
    assert "\n" not in line


def test_many_authorities_are_counted_and_none_is_said() -> None:
    many = explain(EOFError(), "p", Side(server=True, expected=AUTHORITIES, own=None), None, presented=False)
    assert many.expected.endswith("or 2 more")
    none = explain(EOFError(), "p", Side(server=True, expected=(), own=None), None, presented=False)
    assert "none is asked for" in none.expected


def test_a_certificate_that_can_not_be_read_is_said_to_be_there() -> None:
    assert "can't be read" in explain(EOFError(), "p", SERVER, None, presented=True).shown
