"""HCL 1 as Consul reads it, with the place of every value.

Written here because the libraries don't fit: ``python-hcl2`` reads another language (it refuses quoted keys, commas
between members, JSON, negative exponents and ``${a "b"}``, keeps the quotes of strings and the frames of heredocs)
and takes 80 ms for its grammar; ``pyhcl`` writes parser tables on disk; neither says where a value stood.

Differences from JSON: ``key = value``, blocks ``key "label" { ... }``, ``#``, ``//`` and ``/* */`` comments,
heredocs, optional commas between members, a comma after the last item, hexadecimal and octal integers.
A block that is repeated becomes a list; labels nest, so ``service "web" {}`` is ``service = {web = {}}``. A text
that begins with ``{`` is JSON, as in Consul. (https://github.com/hashicorp/hcl/tree/hcl1)
"""

from __future__ import annotations

import re
from typing import Final

from meshnode.hcl.json_text import NUMBER, parse_json
from meshnode.hcl.located import Node, Origin
from meshnode.hcl.scanner import Scanner

__all__ = ["parse_hcl"]

_SPACE: Final = re.compile(r"(?:[ \t\r\n]+|(?:#|//)[^\n]*|/\*.*?\*/)*", re.DOTALL)
_IDENTIFIER: Final = re.compile(r"[^\W\d][\w.\-]*")
_HEXADECIMAL: Final = re.compile(r"-?0[xX][0-9a-fA-F]+")
_OCTAL: Final = re.compile(r"-?0[0-7]+(?![.\deE])")
_AFTER_NUMBER: Final = re.compile(r"[\w.\-]+")
_HEREDOC: Final = re.compile(r"<<(-?)([^\W\d][\w.\-]*)[ \t]*\r?\n")
_PLAIN: Final = re.compile(r'[^"\\\n$]+')
_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}
_CODES: Final = {
    "x": re.compile(r"[0-9A-Fa-f]{2}"),
    "u": re.compile(r"[0-9A-Fa-f]{4}"),
    "U": re.compile(r"[0-9A-Fa-f]{8}"),
}
_OCTAL_CODE: Final = re.compile(r"[0-7]{3}")


def parse_hcl(text: str, where: str) -> Node:
    """Read a whole HCL text as one object; raises ``ConfigError`` with ``where:line:column``."""
    if text.removeprefix("\ufeff").lstrip().startswith("{"):
        return parse_json(text, where)
    scanner = _Hcl(text, where)
    origin = scanner.origin()
    return Node(scanner.members(""), origin)


class _Hcl(Scanner):
    def space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None
        self.position = match.end()
        if self.text.startswith("/*", self.position):
            self.fail("a comment that never ends")

    def members(self, closing: str) -> dict[str, Node]:
        """Read ``key = value`` and blocks up to ``closing``, or up to the end of the text."""
        self.enter()
        members: dict[str, Node] = {}
        blocks: set[str] = set()
        self.space()
        while self.peek() and self.peek() != closing:
            origin = self.origin()
            start = self.position
            key = self._key()
            self.space()
            if self.take("="):
                self.space()
                value = self._value()
            else:
                value = self._block(start)
            node = Node(value.value, value.origin, origin)
            if key in blocks and isinstance(node.value, dict):
                members[key] = _repeated(members[key], node)
            else:
                self.unique(members, key, origin)
                members[key] = node
            if isinstance(node.value, dict):
                blocks.add(key)
            self.space()
            if self.take(","):
                self.space()
        if closing and not self.take(closing):
            self.fail(f'expected "{closing}", got {self.shown()}')
        self.depth -= 1
        return members

    def _key(self) -> str:
        if self.peek() == '"':
            return self._string()
        match = _IDENTIFIER.match(self.text, self.position)
        if match is None:
            self.fail(f"expected a key, got {self.shown()}")
        self.position = match.end()
        return match[0]

    def _block(self, start: int) -> Node:
        """What follows a key without ``=``: labels, then an object; each label is one level more."""
        labels: list[tuple[str, Origin]] = []
        while self.peek() != "{":
            if not (self.peek() == '"' or _IDENTIFIER.match(self.text, self.position)):
                self.fail(f'expected "=" or "{{" after {self.word(start)}, got {self.shown()}')
            label_origin = self.origin()
            labels.append((self._key(), label_origin))
            self.space()
        origin = self.origin()
        self.position += 1
        node = Node(self.members("}"), origin)
        for label, label_origin in reversed(labels):
            node = Node({label: Node(node.value, node.origin, label_origin)}, label_origin)
        return node

    def _value(self) -> Node:
        origin, character = self.origin(), self.peek()
        if character == "{":
            self.position += 1
            return Node(self.members("}"), origin)
        if character == "[":
            return Node(self._list(), origin)
        if character == '"':
            return Node(self._string(), origin)
        if character == "<":
            return Node(self._heredoc(), origin)
        if character.isdigit() or character == "-":
            return Node(self._number(), origin)
        word = _IDENTIFIER.match(self.text, self.position)
        if word is not None and word[0] in ("true", "false"):
            self.position = word.end()
            return Node(word[0] == "true", origin)
        if word is not None:
            self.fail(f"{self.word(self.position)} is not a value: strings are written in double quotes")
        return self.fail(f"expected a value, got {self.shown()}")

    def _list(self) -> list[Node]:
        self.enter()
        self.position += 1
        items: list[Node] = []
        self.space()
        while not self.take("]"):
            items.append(self._value())
            self.space()
            if not self.take(",") and self.peek() != "]":
                self.fail(f'expected "," or "]", got {self.shown()}')
            self.space()
        self.depth -= 1
        return items

    def _number(self) -> int | float:
        start = self.position
        for pattern, base in ((_HEXADECIMAL, 16), (_OCTAL, 8), (NUMBER, 10)):
            match = pattern.match(self.text, self.position)
            if match is not None:
                value = self.number(match, base)
                rest = _AFTER_NUMBER.match(self.text, self.position)
                if rest is None:
                    return value
                self.fail(f"{self.word(start)} is not a number: strings are written in double quotes", start)
        return self.fail(f"expected a number, got {self.shown()}")

    def _heredoc(self) -> str:
        start = self.position
        match = _HEREDOC.match(self.text, start)
        if match is None:
            self.fail("expected a heredoc: <<NAME, then lines, then NAME on a line of its own")
        indented, name = match[1] == "-", match[2]
        end = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*\r?$", re.MULTILINE).search(self.text, match.end())
        if end is None:
            self.fail(f"a heredoc that never ends: no line holds just {name}", start)
        self.position = end.end()
        body = self.text[match.end() : end.start()]
        return _unindent(body) if indented else body

    def _string(self) -> str:
        start = self.position
        self.position += 1
        parts: list[str] = []
        while True:
            match = _PLAIN.match(self.text, self.position)
            if match is not None:
                parts.append(match[0])
                self.position = match.end()
            if self.take('"'):
                return "".join(parts)
            if not self.peek() or self.peek() == "\n":
                self.fail("a string that never ends: only a heredoc may hold a line break", start)
            if self.text.startswith("${", self.position):
                parts.append(self._interpolation())
            elif self.take("$"):
                parts.append("$")
            elif self.take("\\"):
                parts.append(self._escape())

    def _interpolation(self) -> str:
        """``${...}`` is kept as it is written, quotes inside included: Consul interpolates nothing."""
        start, level = self.position, 0
        while self.peek():
            level += {"{": 1, "}": -1}.get(self.peek(), 0)
            self.position += 1
            if level == 0 and self.text[self.position - 1] == "}":
                return self.text[start : self.position]
        return self.fail("${ that never ends", start)

    def _escape(self) -> str:
        start = self.position - 1
        octal = _OCTAL_CODE.match(self.text, self.position)
        letter = self.peek()
        self.position += 1
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        match = octal or (_CODES[letter].match(self.text, self.position) if letter in _CODES else None)
        if match is None:
            self.fail(f"\\{letter} is not an escape of HCL", start)
        self.position = match.end()
        code = int(match[0], 8 if octal else 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000 or (octal and code > 0xFF):
            self.fail(f"\\{letter}{match[0]} is not a character", start)
        return chr(code)


def _repeated(known: Node, node: Node) -> Node:
    """A list of the objects written under one key."""
    items = known.value if isinstance(known.value, list) else [known]
    return Node([*items, node], known.origin, known.key_origin)


def _unindent(body: str) -> str:
    """Take away the smallest indentation that every line has (``<<-``)."""
    lines = body.splitlines(keepends=True)
    widths = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
    margin = min(widths, default=0)
    return "".join(line[margin:] if line.strip() else line.lstrip(" \t") for line in lines)
