"""URLs of checks as they may be shown."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit, urlunsplit

__all__ = ["without_password"]

#: Go's text for a password that it doesn't show (``url.URL.Redacted``).
_HIDDEN: Final = "xxxxx"
#: Credentials in what urlsplit refuses, and in a text around URLs.
_USERINFO: Final = re.compile(r"(//[^/?#@:\s]*):[^/?#@\s]*@")


def without_password(url: str) -> str:
    """``url`` as it may be shown: a password in it is replaced; also in a text that has URLs in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _USERINFO.sub(rf"\1:{_HIDDEN}@", url)
    if not parts.netloc:
        return _USERINFO.sub(rf"\1:{_HIDDEN}@", url)
    user, at, place = parts.netloc.rpartition("@")
    if not at or ":" not in user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{_HIDDEN}@{place}"))
