r"""Filter expressions cut into tokens: words, quoted text, numbers, operators and brackets.

Text in double quotes knows Go's escapes (``\n \t \" \\ \x41 \u00e9`` and the like); between backticks everything is
literal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from meshnode.http.errors import HttpError

__all__ = ["MAX_FILTER_CHARS", "FilterError", "Token", "TokenKind", "scan"]

#: Longest expression that is looked at. Consul has no limit but that of the request line.
MAX_FILTER_CHARS: Final = 4096

_PATTERN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<quoted>"(?:\\.|[^"\\])*"|`[^`]*`)
      | (?P<operator>==|!=)
      | (?P<bracket>[()\[\].])
      | (?P<word>[A-Za-z_][A-Za-z0-9_/]*)
      | (?P<number>(?<![A-Za-z0-9_])-?[0-9]+(?:\.[0-9]+)?(?![A-Za-z0-9_/:-]))""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "f": "\f",
    "v": "\v",
    "a": "\a",
    "b": "\b",
    '"': '"',
    "\\": "\\",
    "'": "'",
    "/": "/",
}
#: What people write where this language has another word.
_HINTS: Final = {
    "=": 'write "==" for equal',
    "!": 'write "not" before an expression, or "!=" for unequal',
    "<": 'there is no order in filters: use "==", "!=" or "matches"',
    ">": 'there is no order in filters: use "==", "!=" or "matches"',
    "&": 'write "and"',
    "|": 'write "or"',
    "'": 'quote with " or `',
    '"': "a quoted text is never closed",
    "`": "a quoted text is never closed",
    "~": 'write "matches" for a regular expression',
}


class FilterError(HttpError):
    """A filter that can't be used, or not on these rows: status 400."""

    def __init__(self, message: str) -> None:
        super().__init__(400, f"Invalid filter: {message}")


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    QUOTED = "quoted"
    NUMBER = "number"
    OPERATOR = "operator"
    BRACKET = "bracket"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is without quotes and escapes; ``position`` is from 0; ``spaced``: white space comes before it."""

    kind: TokenKind
    text: str
    position: int
    spaced: bool = False

    @property
    def shown(self) -> str:
        """For errors."""
        return "the end" if self.kind is TokenKind.END else f'"{self.text[:40]}"'


def scan(text: str) -> list[Token]:
    """The tokens of ``text``, the last one ``END``. Raises :class:`FilterError`."""
    if len(text) > MAX_FILTER_CHARS:
        raise FilterError(f"it has {len(text)} characters, at most {MAX_FILTER_CHARS} are allowed")
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        found = _PATTERN.match(text, position)
        if found is None:
            _refuse(text, position)
        if found.lastgroup == "space":
            spaced = True
        else:
            kind = TokenKind(found.lastgroup)
            value = _unquoted(found[0], position) if kind is TokenKind.QUOTED else found[0]
            tokens.append(Token(kind, value, position, spaced))
            spaced = False
        position = found.end()
    tokens.append(Token(TokenKind.END, "", position, spaced))
    return tokens


def _refuse(text: str, position: int) -> NoReturn:
    char = text[position]
    hint = _HINTS.get(char, "quote a value that is more than letters, digits and underscores")
    raise FilterError(f"character {position + 1} is {char!r}: {hint}")


def _unquoted(text: str, position: int) -> str:
    inside = text[1:-1]
    if text[0] == "`" or "\\" not in inside:
        return inside

    def meant(escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) == 1:
            char = _ESCAPED.get(code)
        else:
            number = int(code, 8) if code[0].isdigit() else int(code[1:], 16)
            char = chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else None
        if char is None:
            at = position + 2 + escape.start()
            raise FilterError(
                f"character {at} starts the unknown escape {escape[0]}: "
                "write \\\\ for a backslash, or quote with backticks"
            )
        return char

    return _ESCAPE.sub(meant, inside)
