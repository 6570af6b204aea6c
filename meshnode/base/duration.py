"""Durations as Go writes them: ``10s``, ``1m30s``, ``1h2m3.5s``, ``100ms``.

Inside meshnode a duration is a ``float`` of seconds; this file is the only border. The grammar and the
printed form are those of ``time.ParseDuration`` and ``time.Duration.String`` (https://pkg.go.dev/time).
"""

from __future__ import annotations

import re
from typing import Final

from meshnode.base.errors import ConfigError

__all__ = [
    "MAX_DURATION_CHARS",
    "MAX_NANOSECONDS",
    "format_duration",
    "format_nanoseconds",
    "parse_duration",
    "parse_nanoseconds",
]

#: Go keeps a duration in a signed 64-bit count of nanoseconds: about 292 years.
MAX_NANOSECONDS: Final = 2**63 - 1
#: Longest text that is looked at; the longest one that Go prints has 27 characters.
MAX_DURATION_CHARS: Final = 100

_SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # the micro sign, U+00B5
    "μs": 1_000,  # the Greek letter, U+03BC
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_TERM: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")


def parse_nanoseconds(text: str) -> int:
    """Read a Go duration; digits below one nanosecond are cut off.

    Raises :class:`ConfigError`, which quotes ``text`` and shows what a duration looks like.
    """
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    total, position = 0, 0
    if unsigned == "0":
        return 0
    while position < len(unsigned) <= MAX_DURATION_CHARS:
        term = _TERM.match(unsigned, position)
        if term is None or not (term[1] or term[2]):
            break
        unit, fraction = _UNITS[term[3]], term[2] or ""
        total += int(term[1] or "0") * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        position = term.end()
    if not unsigned or position < len(unsigned):
        raise ConfigError(
            f'{_quote(text)} is not a duration: write numbers with units, as in "10s", "1m30s" or "100ms"'
        )
    if total > MAX_NANOSECONDS:
        longest = format_nanoseconds(MAX_NANOSECONDS)
        raise ConfigError(f"{_quote(text)} is too long a duration: the longest is {longest}")
    return -total if text.startswith("-") else total


def parse_duration(text: str) -> float:
    """Read a Go duration as seconds; raises :class:`ConfigError` as :func:`parse_nanoseconds` does."""
    return parse_nanoseconds(text) / _SECOND


def format_duration(seconds: float) -> str:
    """Print seconds as Go does: ``0s``, ``1.5s``, ``2m0s``, ``72h0m0s``, ``200ms``; rounded to 1ns."""
    return format_nanoseconds(round(seconds * _SECOND))


def format_nanoseconds(nanoseconds: int) -> str:
    """Print a whole number of nanoseconds as Go does."""
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest == 0:
        return "0s"
    if rest < _SECOND:
        unit, size = next((u, _UNITS[u]) for u in ("ms", "µs", "ns") if rest >= _UNITS[u])
        return f"{sign}{_decimal(rest, size)}{unit}"
    hours, rest = divmod(rest, _UNITS["h"])
    minutes, rest = divmod(rest, _UNITS["m"])
    text = f"{_decimal(rest, _SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    fraction = f"{rest:0{len(str(size)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def _quote(text: str) -> str:
    return f'"{text[:MAX_DURATION_CHARS]}"'
