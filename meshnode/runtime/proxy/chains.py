"""The chain that OpenSSL has verified. Python's ssl gives it from 3.13 on; before that it is in the object inside."""

from __future__ import annotations

import _ssl
import ssl
from typing import Final

__all__ = ["verified_chain"]

_DER: Final = _ssl.ENCODING_DER


def verified_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """DER, the peer's leaf first and the root last; empty for a resumed session, which has none."""
    public = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return [*public()]
    found = getattr(getattr(tls, "_sslobj", None), "get_verified_chain", lambda: None)()
    return [certificate.public_bytes(_DER) for certificate in found or ()]
