"""What the JSON and the HCL reader share: a cursor over a text that can say where it is."""

from __future__ import annotations

import math
import re
from typing import Final, NoReturn

from meshnode.base.errors import ConfigError
from meshnode.hcl.located import Node, Origin

__all__ = ["MAX_CONFIG_CHARS", "MAX_DEPTH", "MAX_NUMBER_CHARS", "Scanner"]

#: Longest text that is parsed; Consul's own examples have a few kilobytes.
MAX_CONFIG_CHARS: Final = 8 * 1024 * 1024
#: Deepest nesting: a service with a sidecar, its upstreams and their options has nine levels.
MAX_DEPTH: Final = 64
#: Longest number that is read.
MAX_NUMBER_CHARS: Final = 64
#: Longest unquoted word that an error shows: no key or token is as short.
MAX_SHOWN_WORD: Final = 12

_WORD: Final = re.compile(r"[^\s,\[\]{}\"]+")
_LINE_END: Final = re.compile(r"\n")


class Scanner:
    """A cursor: ``text``, a ``position`` in it, and errors that name the place."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text.removeprefix("\ufeff")
        self.where = where
        self.position = 0
        self.depth = 0
        self._line_starts = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        self._line = 0
        if len(text) > MAX_CONFIG_CHARS:
            raise ConfigError(f"longer than {MAX_CONFIG_CHARS} characters: no configuration is", where=where)

    def origin(self, position: int | None = None) -> Origin:
        """The place of ``position``, by default of the cursor; columns count characters."""
        at = self.position if position is None else position
        starts = self._line_starts
        while starts[self._line] > at:
            self._line -= 1
        while self._line + 1 < len(starts) and starts[self._line + 1] <= at:
            self._line += 1
        return Origin(self.where, self._line + 1, at - starts[self._line] + 1)

    def fail(self, message: str, position: int | None = None) -> NoReturn:
        """Raise :class:`ConfigError` at ``position``, by default at the cursor."""
        raise ConfigError(message, where=str(self.origin(position)))

    def peek(self) -> str:
        """The character under the cursor, empty at the end."""
        return self.text[self.position : self.position + 1]

    def take(self, expected: str) -> bool:
        """Step over ``expected`` if it comes next."""
        if not self.text.startswith(expected, self.position):
            return False
        self.position += len(expected)
        return True

    def word(self, start: int) -> str:
        """The unquoted text at ``start``, for an error; a long one is left out: a key or token may lack its quotes."""
        match = _WORD.match(self.text, start)
        return match[0] if match is not None and len(match[0]) <= MAX_SHOWN_WORD else "this text"

    def shown(self) -> str:
        """What is under the cursor, for an error."""
        return repr(self.peek()) if self.peek() else "the end of the text"

    def enter(self) -> None:
        """Go one level deeper."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels")

    def number(self, match: re.Match[str], base: int = 10) -> int | float:
        """Step over ``match`` and read it: an integer, unless it has a fraction or an exponent."""
        start, digits = self.position, match[0]
        if len(digits) > MAX_NUMBER_CHARS:
            self.fail(f"a number with more than {MAX_NUMBER_CHARS} digits")
        self.position = match.end()
        if base != 10 or not set(digits) & set(".eE"):
            return int(digits, base)
        value = float(digits)
        if not math.isfinite(value):
            self.fail(f"{digits} is too large a number", start)
        return value

    def unique(self, known: dict[str, Node], key: str, origin: Origin) -> None:
        """Refuse a key that its object already has: one of the two values would be lost in silence."""
        if key in known:
            first = known[key].key_origin or known[key].origin
            raise ConfigError(f"{key} is set twice: line {first.line} has it too", key=key, where=str(origin))
