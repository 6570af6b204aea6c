"""TLS for checks: where contexts come from, and a failed handshake in Go's words with the fix added."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["HUNG_UP", "CheckContexts", "new_context", "tls_failure"]

#: Makes a client context, given whether verification is skipped: ``TlsContexts.checks_client``, bound to the settings.
CheckContexts: TypeAlias = Callable[[bool], ssl.SSLContext]

_EXPIRED: Final = frozenset({9, 10})
_NAME: Final = frozenset({62, 64})
_PLAIN: Final = frozenset(
    {"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
_SKIP: Final = "or set tls_skip_verify"
#: The connection ended in the middle of the handshake, without a word of TLS.
HUNG_UP: Final = "tls: the connection was closed in the handshake: does the server speak TLS there?"


async def new_context(contexts: CheckContexts, *, skip_verify: bool) -> ssl.SSLContext:
    """A context for one connection, made in a thread: it reads the system's CAs. Raises what ``contexts`` raises."""
    return await asyncio.get_running_loop().run_in_executor(None, contexts, skip_verify)


def tls_failure(error: ssl.SSLError | ssl.CertificateError, name: str) -> str:
    """Why the handshake with ``name`` failed, and what to change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, detail = error.verify_code, error.verify_message
        if code in _EXPIRED:
            return (
                "x509: certificate has expired or is not yet valid: renew the server's certificate, " + _SKIP
            )
        if code in _NAME:
            return f"x509: certificate is not valid for {name}: set tls_server_name to a name that is in it, {_SKIP}"
        return (
            f"x509: certificate signed by unknown authority ({detail}): "
            f"set ca_file and enable_agent_tls_for_checks, {_SKIP}"
        )
    reason = error.reason or ""
    if reason in _PLAIN:
        return "tls: first record does not look like a TLS handshake: does the server speak it without TLS?"
    return f"remote error: tls: {reason.replace('_', ' ').lower() or 'the connection was closed in the handshake'}"
