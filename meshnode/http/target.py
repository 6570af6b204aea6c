"""The request target of a request line (RFC 9112 3.2) as a decoded path and a raw query."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from meshnode.base.errors import RemoteProtocolError

__all__ = ["parse_target"]

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]+", re.IGNORECASE)


def parse_target(target: bytes) -> tuple[str, str]:
    """``/v1/kv/a%2Fb?raw`` -> ``("/v1/kv/a/b", "raw")``; ``http://host/x`` is read as ``/x``, ``*`` stays.

    Escapes that are not UTF-8 become surrogates, as in file names. Raises :class:`RemoteProtocolError` for
    anything that is no target: a fragment, a broken escape, a character that needs one.
    """
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        raise RemoteProtocolError("the request target has characters that must be percent-encoded") from None
    if text[:1] != "/":
        if text == "*":
            return "*", ""
        authority = _ABSOLUTE.match(text)
        if authority is None:
            raise RemoteProtocolError("the request target is not a path")
        text = text[authority.end() :]
        if text[:1] != "/":
            text = f"/{text}"
    if not text.isprintable() or "#" in text or " " in text:
        raise RemoteProtocolError("the request target has characters that must be percent-encoded")
    path, _, query = text.partition("?")
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise RemoteProtocolError("the path has a % that two hexadecimal digits do not follow")
        path = unquote(path, errors="surrogateescape")
    return path, query
