"""An HTTP request in every way in which a server might read it, and whether a permission is about one of them.

``/public/..%2fadmin`` is a file below ``/public`` to one server and ``/admin`` to another, and who decides can't know
which one is behind. So a request has several readings, nearly always one, and only what all of them allow is allowed.
What no two servers agree on (escapes that are none, bytes that are no UTF-8, control characters) has no reading at all.
Source: RFC 3986 5.2.4 and 6.2.2 (dot segments, escapes), RFC 9110 5.1 and 5.3 (names of headers, repeated headers).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from meshnode.base.errors import ConfigError
from meshnode.base.regexp import Work, compile_regexp
from meshnode.intentions.model import HeaderMatch, HttpMatch

__all__ = [
    "MAX_HEADERS",
    "MAX_PATH_CHARS",
    "MAX_REGEXP_STEPS",
    "HttpRequest",
    "Reading",
    "fits",
    "path_readings",
    "readings",
    "resolved_path",
    "whole_regexp",
]

#: Longest path that is read; servers commonly take 8 KiB.
MAX_PATH_CHARS: Final = 8192
#: Headers of a request; servers commonly take 100.
MAX_HEADERS: Final = 256
#: How often a path may have been escaped.
MAX_ESCAPES: Final = 4
#: Steps of regular expressions in one decision, all readings and permissions together.
MAX_REGEXP_STEPS: Final = 200_000

#: A path that everybody reads alike: no escapes, parameters, backslashes, empty or dot segments.
_PLAIN: Final = re.compile(r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9_.~!$&'()*+,=:@-]+)*/?")
_QUERY: Final = re.compile("[?#]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED_SLASH: Final = re.compile("%2[Ff]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """``path`` as it was sent, a query included; ``headers`` in the order sent, a name as often as it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a request: method in upper case, path without escapes, headers by lower-case name."""

    method: str
    path: str
    headers: dict[str, str]


def readings(request: HttpRequest) -> tuple[Reading, ...]:
    """Every way to read it, the most usual first; none when it can't be read."""
    if len(request.headers) > MAX_HEADERS:
        return ()
    method = request.method.upper()
    return tuple(
        Reading(method, path, headers)
        for path in path_readings(request.path)
        for headers in _header_readings(request.headers)
    )


def path_readings(path: str) -> tuple[str, ...]:
    """Every way to read the path of a request; none when it isn't one, or when it can't be read."""
    path = _QUERY.split(path, 1)[0]
    if not path.startswith("/") or len(path) > MAX_PATH_CHARS:
        return ()
    if _PLAIN.fullmatch(path):
        return (path,)
    if _BAD_ESCAPE.search(path):
        return ()
    # An escaped slash is a slash to some and part of a name to others.
    once, kept = _unescaped(path), _unescaped(_ESCAPED_SLASH.sub("%252F", path))
    loose = once
    for _ in range(MAX_ESCAPES):
        further = _unescaped(loose) if loose is not None else None
        if further == loose:
            break
        loose = further
    else:
        return ()
    if once is None or kept is None or loose is None:
        return ()
    # And some look for a query, for parameters and for backslashes only after they undid the escapes.
    late = re.sub(";[^/]*", "", _QUERY.split(loose, 1)[0].replace("\\", "/"))
    return tuple(dict.fromkeys(map(resolved_path, (once, kept, late))))


def _unescaped(path: str) -> str | None:
    """Escapes undone once, those that are none left alone; ``None``: what comes out is not text."""
    try:
        text = unquote_to_bytes(path.encode()).decode()
    except UnicodeError:
        return None
    return None if _CONTROL.search(text) else text


def resolved_path(path: str) -> str:
    """``path``, which begins with a slash, without dot segments and empty segments; a slash at the end stays."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    ends_open = segments[-1] in {"", ".", ".."}
    return "/" + "/".join(kept) + ("/" if ends_open and kept else "")


def _header_readings(headers: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """Of a header that came several times, some servers take the first, some the last, some all of them."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in headers:
        name, value = name.strip().lower(), value.strip()
        first.setdefault(name, value)
        last[name] = value
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return [joined] if len(first) == len(headers) else [joined, first, last]


def fits(http: HttpMatch, reading: Reading, work: Work) -> bool:
    """Whether the conditions hold. Raises :class:`ConfigError` for a regular expression that can't be used."""
    if http.methods and reading.method not in {method.upper() for method in http.methods}:
        return False
    if http.path_exact and reading.path != http.path_exact:
        return False
    if http.path_prefix and not reading.path.startswith(http.path_prefix):
        return False
    if http.path_regex and not whole_regexp(http.path_regex, reading.path, work):
        return False
    return all(_header_fits(match, reading.headers, work) for match in http.header)


def _header_fits(match: HeaderMatch, headers: dict[str, str], work: Work) -> bool:
    value = headers.get(match.name.strip().lower())
    return (value is not None and _value_fits(match, value, work)) != match.invert


def _value_fits(match: HeaderMatch, value: str, work: Work) -> bool:
    if match.present:
        return True
    if match.exact:
        return value == match.exact
    if match.prefix:
        return value.startswith(match.prefix)
    if match.suffix:
        return value.endswith(match.suffix)
    if match.regex:
        return whole_regexp(match.regex, value, work)
    raise ConfigError(f"the condition on header {match.name!r} says nothing")


def whole_regexp(pattern: str, subject: str, work: Work) -> bool:
    """Whether ``pattern`` matches all of ``subject``. Raises :class:`ConfigError`: it is none, or takes too long."""
    compile_regexp(pattern)  # alone, so that it can't close the group that is put around it
    return compile_regexp(rf"\A(?:{pattern})\z").search(subject, work)
