"""A failed TLS handshake as one sentence: who, what was wrong, which CA was expected, what was shown, and the fix.

Decides nothing: OpenSSL has refused by the time this is asked (see :mod:`meshnode.runtime.tls`).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from meshnode.runtime.tls_certificate import CertificateSummary

__all__ = ["HandshakeFailure", "Side", "explain"]

#: CAs named in a sentence; the rest is counted.
_MAX_NAMED_AUTHORITIES: Final = 3

_EXPIRED, _NOT_YET_VALID, _PURPOSE, _HOSTNAME, _ADDRESS = 10, 9, 26, 62, 64
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 24, 79})

#: Reasons of OpenSSL that mean "what came is not TLS".
_NOT_TLS: Final = frozenset(
    {
        "BAD_RECORD_TYPE",
        "HTTPS_PROXY_REQUEST",
        "HTTP_REQUEST",
        "LENGTH_MISMATCH",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "RECORD_TOO_SMALL",
        "UNKNOWN_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
_VERSION: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE", "VERSION_TOO_LOW"}
)
_CIPHERS: Final = frozenset(
    {
        "NO_SHARED_CIPHER",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "NO_CIPHERS_AVAILABLE",
    }
)
#: Alerts by which the peer says what it thinks of *our* certificate.
_ALERTS: Final[dict[str, str]] = {
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the CA that issued ours",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "ours has expired, or is not valid yet, by its clock",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept ours",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "ours is revoked",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "ours is not meant for this use (extended key usage)",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept ours, or got none",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate and we have none",
    "TLSV1_ALERT_ACCESS_DENIED": "it denies access to ours",
    "TLSV1_ALERT_DECRYPT_ERROR": "it could not verify a signature of ours",
}


@dataclass(frozen=True, slots=True)
class Side:
    """Our side of a handshake, as a sentence needs it. ``expected_name`` is empty when no name is checked."""

    server: bool
    expected: tuple[CertificateSummary, ...]
    own: CertificateSummary | None
    expected_name: str = ""


@dataclass(frozen=True, slots=True)
class HandshakeFailure:
    """Why TLS with ``peer`` failed; ``str()`` is the log line. ``kind`` ends the name of the counter."""

    peer: str
    kind: str
    wrong: str
    expected: str
    shown: str
    fix: str

    def __str__(self) -> str:
        """One sentence."""
        seen = f"expected: {self.expected}; shown: {self.shown}"
        return f"TLS with {self.peer} failed: {self.wrong}; {seen}; fix: {self.fix}"


def explain(
    error: Exception, peer: str, side: Side, shown: CertificateSummary | None, *, presented: bool
) -> HandshakeFailure:
    """Put ``error`` (of ``ssl``, a reset, or a ``TimeoutError``) into words.

    ``shown`` is the peer's certificate, when one was seen and could be read; ``presented``: one was seen.
    """
    kind, wrong, fix = _diagnose(error, side, shown)
    what = (
        shown.as_shown() if shown else "a certificate that can't be read" if presented else "no certificate"
    )
    if kind == "alert":
        what = f"our {side.own.as_shown()}" if side.own else "no certificate of ours"
    return HandshakeFailure(peer, kind, wrong, _expected(side), what, fix)


def _expected(side: Side) -> str:
    if not side.expected:
        return "no certificate (none is asked for)" if side.server else "any certificate (no ca_file is set)"
    named = ", ".join(authority.as_authority() for authority in side.expected[:_MAX_NAMED_AUTHORITIES])
    more = len(side.expected) - _MAX_NAMED_AUTHORITIES
    text = f"a certificate from CA {named}" + (f" or {more} more" if more > 0 else "")
    return text + (f' for the name "{side.expected_name}"' if side.expected_name else "")


def _diagnose(error: Exception, side: Side, shown: CertificateSummary | None) -> tuple[str, str, str]:
    """(kind, what was wrong, the fix)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, side, shown)
    if isinstance(error, TimeoutError):
        return (
            "timeout",
            "it did not finish the handshake in time",
            "look for a peer that is overloaded or is no TLS peer",
        )
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if reason == "SSLV3_ALERT_HANDSHAKE_FAILURE" and shown and side.own is None:
        # TLS 1.2 has one alert for both: past the server's certificate the ciphers were agreed.
        reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    if said := _ALERTS.get(reason):
        return "alert", f"the peer refused our certificate: {said}", _alert_fix(reason, side)
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        fix = "set cert_file and key_file on the peer, issued by the expected CA"
        return "no_certificate", "it presented no client certificate", fix
    if reason in _NOT_TLS:
        fix = (
            "turn TLS on at the peer (verify_outgoing, ca_file)"
            if side.server
            else "turn TLS on at the server"
        )
        return "not_tls", "it does not speak TLS", fix
    if reason in _VERSION:
        return (
            "version",
            "no TLS version is accepted by both",
            "upgrade the older side, or compare tls_min_version",
        )
    if reason in _CIPHERS:
        return (
            "ciphers",
            "no cipher suite is accepted by both",
            "compare tls_cipher_suites and the key types of both",
        )
    if isinstance(error, ssl.SSLEOFError | ConnectionError | EOFError):
        return "closed", "it closed the connection during the handshake", "the peer's log says why"
    return "other", f"OpenSSL says {reason or type(error).__name__}", "compare the TLS settings of both sides"


def _alert_fix(reason: str, side: Side) -> str:
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED" or side.own is None:
        return "set cert_file and key_file here, issued by the CA that the peer expects"
    return f'add CA "{side.own.issuer}" to ca_file of the peer, or issue our certificate from a CA that the peer trusts'


def _verification(
    error: ssl.SSLCertVerificationError, side: Side, shown: CertificateSummary | None
) -> tuple[str, str, str]:
    code = error.verify_code
    whose = "client" if side.server else "server"
    if code in _UNTRUSTED:
        issuer = f'CA "{shown.issuer}"' if shown else "its CA"
        fix = f"issue the {whose} certificate from an expected CA, or add {issuer} to ca_file"
        return (
            "other_ca",
            f"its certificate comes from a CA that is not trusted here ({error.verify_message})",
            fix,
        )
    if code == _EXPIRED:
        return (
            "expired",
            "its certificate, or one in its chain, has expired",
            f"renew the {whose} certificate",
        )
    if code == _NOT_YET_VALID:
        return "not_yet_valid", "its certificate is not valid yet", "compare the clocks of both nodes"
    if code in (_HOSTNAME, _ADDRESS):
        names = ", ".join(shown.dns_names) if shown and shown.dns_names else "no DNS name"
        fix = f'issue the server certificate with DNS name "{side.expected_name}", or unset verify_server_hostname'
        return "name", f"its certificate is for {names}", fix
    if code == _PURPOSE:
        usage = "clientAuth" if side.server else "serverAuth"
        return (
            "purpose",
            f"its certificate is not meant for a {whose}",
            f"issue it with extended key usage {usage}",
        )
    return (
        "unverified",
        f"its certificate does not verify: {error.verify_message}",
        f"reissue the {whose} certificate",
    )
