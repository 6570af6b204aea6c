"""JSON (RFC 8259) with the place of every value, and errors that know the usual slips.

The standard library's reader is strict enough but forgets where values stood.
"""

from __future__ import annotations

import re
from typing import Final

from meshnode.hcl.located import Node
from meshnode.hcl.scanner import Scanner

__all__ = ["NUMBER", "parse_json"]

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_PLAIN: Final = re.compile(r'[^"\\\x00-\x1f]*')
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD: Final = re.compile(r"[A-Za-z_]+")
_HEX4: Final = re.compile(r"[0-9A-Fa-f]{4}")
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


def parse_json(text: str, where: str) -> Node:
    """Read one JSON value; raises :class:`~meshnode.base.errors.ConfigError` with ``where:line:column``."""
    scanner = _Json(text, where)
    scanner.space()
    node = scanner.value()
    scanner.space()
    if scanner.peek():
        scanner.fail(f"expected the end of the text, got {scanner.shown()}")
    return node


class _Json(Scanner):
    def space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        if self.peek() == "#" or self.text.startswith(("//", "/*"), self.position):
            self.fail("JSON has no comments: remove it, or write the file as .hcl")

    def value(self) -> Node:
        origin, character = self.origin(), self.peek()
        if character == "{":
            return Node(self._object(), origin)
        if character == "[":
            return Node(self._list(), origin)
        if character == '"':
            return Node(self.string(), origin)
        if (match := NUMBER.match(self.text, self.position)) is not None:
            return Node(self.number(match), origin)
        word = _WORD.match(self.text, self.position)
        if word is not None and word[0] in _WORDS:
            self.position = word.end()
            return Node(_WORDS[word[0]], origin)
        if word is not None:
            self.fail(f"{self.word(self.position)} is not a JSON value: strings are written in double quotes")
        return self.fail(f"expected a value, got {self.shown()}")

    def _object(self) -> dict[str, Node]:
        self.enter()
        self.position += 1
        members: dict[str, Node] = {}
        self.space()
        if self.take("}"):
            self.depth -= 1
            return members
        while True:
            origin = self.origin()
            if self.peek() != '"':
                self.fail(f"expected a key in double quotes, got {self.shown()}")
            key = self.string()
            self.unique(members, key, origin)
            self.space()
            if not self.take(":"):
                self.fail(f'expected ":" after the key, got {self.shown()}')
            self.space()
            value = self.value()
            members[key] = Node(value.value, value.origin, origin)
            if self._ends("}"):
                return members

    def _list(self) -> list[Node]:
        self.enter()
        self.position += 1
        items: list[Node] = []
        self.space()
        if self.take("]"):
            self.depth -= 1
            return items
        while True:
            items.append(self.value())
            if self._ends("]"):
                return items

    def _ends(self, closing: str) -> bool:
        """Step over a comma, or over ``closing``, which ends the object or list."""
        self.space()
        if self.take(closing):
            self.depth -= 1
            return True
        comma = self.position
        if not self.take(","):
            self.fail(f'expected "," or "{closing}", got {self.shown()}')
        self.space()
        if self.peek() == closing:
            self.fail(f'a comma before "{closing}": JSON has none there', comma)
        return False

    def string(self) -> str:
        start = self.position
        self.position += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self.text, self.position)
            assert match is not None
            parts.append(match[0])
            self.position = match.end()
            if self.take('"'):
                return "".join(parts)
            if not self.peek() or self.peek() == "\n":
                self.fail("a string that never ends", start)
            if not self.take("\\"):
                self.fail(f"a control character in a string: write it as \\u{ord(self.peek()):04x}")
            parts.append(self._escape())

    def _escape(self) -> str:
        letter = self.peek()
        self.position += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != "u":
            self.fail(f"\\{letter} is not an escape of JSON", self.position - 2)
        code = self._hex4()
        if 0xD800 <= code < 0xDC00 and self.text.startswith("\\u", self.position):
            self.position += 2
            low = self._hex4()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
            self.fail("half of a surrogate pair", self.position - 6)
        if 0xD800 <= code < 0xE000:
            self.fail("half of a surrogate pair", self.position - 6)
        return chr(code)

    def _hex4(self) -> int:
        match = _HEX4.match(self.text, self.position)
        if match is None:
            self.fail("expected four hexadecimal digits after \\u")
        self.position = match.end()
        return int(match[0], 16)
