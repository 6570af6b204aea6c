"""A request as it goes on to the application, a response as it comes back, and answers of our own.

Added are ``x-forwarded-proto``, ``x-forwarded-for`` and ``x-request-id``; in the mesh ``x-forwarded-client-cert``
as Envoy writes it. What a client says in these names is believed only where ``trust`` says so; in the last one never.
``x-envoy-*`` is obeyed by Envoys (retries, time limits), so it goes on only from where ``trust`` says so.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from meshnode.l7.model import Fields, RefusalError, RequestHead, ResponseHead
from meshnode.l7.rules import DENIED

__all__ = ["Origin", "answer", "client_certificate", "forwarded"]

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_REQUEST_ID: Final = b"x-request-id"
_CERTIFICATE: Final = b"x-forwarded-client-cert"
_ENVOY: Final = b"x-envoy-"
_UUID_BYTES: Final = 16
_SCHEMES: Final = (b"http", b"https")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from: an address without a port; ``certificate`` in Envoy's words, or empty.

    ``trust``: whoever is there is a proxy of ours, whose word on the client behind it counts.
    """

    address: str
    certificate: str = ""
    trust: bool = False


def forwarded(head: RequestHead, origin: Origin, entropy: Callable[[int], bytes]) -> RequestHead:
    """``head`` with the standard fields. The identifier is a UUID of version 4, made of 16 bytes of ``entropy``."""
    told = {name: value for name, value in head.fields if name in {_FOR, _PROTO, _REQUEST_ID}}
    kept = [
        (name, value)
        for name, value in head.fields
        if name not in {_FOR, _PROTO, _REQUEST_ID, _CERTIFICATE}
        and (origin.trust or not name.startswith(_ENVOY))
    ]
    address = origin.address.encode("latin-1", "replace")
    before, scheme, known = b"", head.scheme.encode(), b""
    if origin.trust:
        before = b", ".join(value for name, value in head.fields if name == _FOR and value)
        scheme = told[_PROTO] if told.get(_PROTO) in _SCHEMES else scheme
        known = told.get(_REQUEST_ID, b"")
    kept += [
        (_PROTO, scheme),
        (_FOR, before + b", " + address if before else address),
        (_REQUEST_ID, known or str(uuid.UUID(bytes=entropy(_UUID_BYTES), version=4)).encode()),
    ]
    if origin.certificate:
        kept.append((_CERTIFICATE, origin.certificate.encode("latin-1", "replace")))
    return replace(head, fields=tuple(kept))


def client_certificate(*, by: str, digest: str, uri: str) -> str:
    """``x-forwarded-client-cert``: our SPIFFE ID, SHA-256 of the client's certificate in hexadecimal, its SPIFFE ID."""
    return f"By={by};Hash={digest};URI={uri}"


def answer(refusal: RefusalError, method: str = "GET") -> tuple[ResponseHead, bytes]:
    """A response of ours, and its body: one sentence of text, none for ``HEAD``."""
    reason = str(refusal)
    # The denial is Envoy's, to the byte.
    body = (reason if reason == DENIED else f"{reason}.\n").encode("utf-8", "replace")
    fields: Fields = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return ResponseHead(_status(refusal.status), fields), b"" if method == "HEAD" else body


def _status(number: int) -> int:
    """A status that exists: what a library proposes may be none."""
    try:
        return HTTPStatus(number).value
    except ValueError:
        return HTTPStatus.BAD_REQUEST.value
