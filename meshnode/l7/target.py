"""What a request is for: the target of its first line, its authority, and its path as decisions are made on it.

RFC 9112 3.2 (forms of the target), RFC 9110 7.2 (Host), RFC 3986 3.2, 5.2.4, 6.2.2; the path as Envoy's
``normalize_path`` with ``merge_slashes`` makes it.
"""

from __future__ import annotations

import re
from typing import Final

from meshnode.intentions.request import resolved_path
from meshnode.l7.model import RefusalError

__all__ = [
    "check_authority",
    "check_form",
    "check_method",
    "check_path",
    "check_scheme",
    "normal_path",
    "split_target",
]

_AUTHORITY: Final = re.compile(
    r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+,;=%-]{1,255})(?::[0-9]{0,5})?"
)
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
#: RFC 9110 9.3, RFC 5789. Some servers take any of them in lower case.
_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"),
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}")
_ABSOLUTE: Final = re.compile(r"(?i:(https?))://([^/?#]*)([/?].*)?", re.DOTALL)
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
#: Escaped, they are a separator or an end to some servers and part of a name to others.
_AMBIGUOUS: Final = {"/": "%2F", "\\": "%5C", "\0": "%00"}


def split_target(target: str, host: str | None, *, scheme: str) -> tuple[str, str, str]:
    """Scheme, authority and path of a request. ``host`` is its field Host, ``None`` when there is none.

    Raises :class:`RefusalError`: no authority, two different ones, or a target in no form that is served here.
    """
    if host is not None:
        check_authority(host)
    if found := _ABSOLUTE.fullmatch(target):
        authority = found[2]
        check_authority(authority)
        if host is not None and host.lower() != authority.lower():
            raise RefusalError(400, "the target of the request and its field Host name different hosts")
        path = found[3] or "/"
        path = path if path.startswith("/") else f"/{path}"
    elif host is None:
        raise RefusalError(400, "the request has no field Host")
    else:
        authority, path = host, target
    check_path(path)
    return scheme, authority, path


def check_authority(text: str) -> None:
    """Raises :class:`RefusalError` unless ``text`` is a host with or without a port; nobody's name and password."""
    if not _AUTHORITY.fullmatch(text):
        raise RefusalError(
            400, f"{text[:80]!a} is not a host: write a name or an address, and a port if need be"
        )


def check_method(method: str) -> None:
    """Raises :class:`RefusalError` unless it is a token, and no standard method in other letters (RFC 9110 9.1)."""
    if not _METHOD.fullmatch(method):
        raise RefusalError(400, f"{method[:80]!a} is not a method")
    if method not in _METHODS and method.upper() in _METHODS:
        raise RefusalError(400, f"{method!a} is not a method: write {method.upper()}")


def check_scheme(scheme: str) -> None:
    """Raises :class:`RefusalError` unless it is the name of one (RFC 3986 3.1)."""
    if not _SCHEME.fullmatch(scheme):
        raise RefusalError(400, f"{scheme[:80]!a} is not a scheme")


def check_form(method: str, path: str) -> None:
    """Raises :class:`RefusalError` for ``*`` with another method than ``OPTIONS`` (RFC 9112 3.2.4)."""
    if path == "*" and method != "OPTIONS":
        raise RefusalError(400, f"a request for * can only be OPTIONS, and this one is {method}")


def check_path(path: str) -> None:
    """Raises :class:`RefusalError` unless it is in origin form (``/a?b``) or ``*``."""
    if path != "*" and not (path.startswith("/") and _VISIBLE.fullmatch(path)):
        raise RefusalError(400, f"{path[:80]!a} is not a path: it has to begin with / and hold no space")
    if "#" in path:
        raise RefusalError(400, "the path has a fragment (#): that is never sent")


def normal_path(path: str) -> str:
    """The path that is decided about and passed on, its query untouched.

    Escapes of unreserved characters are undone, the others written in upper case; dot segments and repeated slashes are
    gone. Raises :class:`RefusalError` for what servers read differently: escapes of ``/``, ``\\`` and NUL, a ``\\``, a
    ``%`` that begins no escape.
    """
    path, mark, query = path.partition("?")
    if not path.startswith("/"):
        raise RefusalError(400, f"{path[:80]!a} is not a path that rules can be about")
    if "\\" in path:
        raise RefusalError(
            400, "the path has a backslash, which some servers take for a slash: write a slash"
        )
    return resolved_path(_ESCAPE.sub(_undone, path)) + mark + query


def _undone(found: re.Match[str]) -> str:
    if found[1] is None:
        raise RefusalError(400, "the path has a % that begins no escape: write %25")
    char = chr(int(found[1], 16))
    if char in _AMBIGUOUS:
        raise RefusalError(400, f"the path has {_AMBIGUOUS[char]}, which servers read in different ways")
    return char if char in _UNRESERVED else f"%{found[1].upper()}"
