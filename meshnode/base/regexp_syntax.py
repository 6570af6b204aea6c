r"""The syntax of regular expressions: RE2's part that people write by hand, as a tree.

Literals, ``. [] () (?:) (?P<name>) (?i) | * + ? {m,n}`` with their lazy forms, ``^ $`` and ``\d \w \s \b \A \z`` with
their opposites. Anything else is refused. Source: https://github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshnode.base.errors import ConfigError

__all__ = [
    "MAX_GROUPS",
    "MAX_PATTERN_CHARS",
    "MAX_PATTERN_DEPTH",
    "MAX_REPEAT",
    "Assertion",
    "Char",
    "Choice",
    "Group",
    "Look",
    "Node",
    "Repeat",
    "Sequence",
    "Test",
    "at_start",
    "parse_regexp",
]

#: Longest expression that is looked at.
MAX_PATTERN_CHARS: Final = 1024
#: RE2's own limit on ``{m,n}``.
MAX_REPEAT: Final = 1000
MAX_PATTERN_DEPTH: Final = 50
#: Groups that capture; what is captured is kept for every way to match at once.
MAX_GROUPS: Final = 32

Test: TypeAlias = Callable[[str], bool]
#: An assertion looks at the whole subject and a position in it.
Look: TypeAlias = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class Char:
    """One character; ``literal`` is which, when it is just one."""

    test: Test
    literal: str = ""


@dataclass(frozen=True, slots=True)
class Assertion:
    """A condition on the place between two characters."""

    look: Look


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of them, the earlier preferred."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``low`` to ``high`` times (``None``: without an end), as often as possible unless ``lazy``."""

    part: Node
    low: int
    high: int | None
    lazy: bool


@dataclass(frozen=True, slots=True)
class Group:
    """What ``part`` matches is kept as group ``number``, from 1."""

    part: Node
    number: int


Node: TypeAlias = Char | Assertion | Sequence | Choice | Repeat | Group


def parse_regexp(pattern: str) -> tuple[Node, int]:
    """The tree and how many groups it has. Raises :class:`ConfigError` that tells what is wrong and where."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ConfigError(f"a regular expression of {len(pattern)} characters: at most {MAX_PATTERN_CHARS}")
    parser = _Parser(pattern)
    return parser.parse(), parser.groups


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _at_word_boundary(text: str, at: int) -> bool:
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return before != after


def _off_word_boundary(text: str, at: int) -> bool:
    return not _at_word_boundary(text, at)


def at_start(_text: str, at: int) -> bool:
    """``^``: nothing comes before."""
    return at == 0


def _at_end(text: str, at: int) -> bool:
    return at == len(text)


def _is_digit(char: str) -> bool:
    return "0" <= char <= "9"


def _is_space(char: str) -> bool:
    return char in "\t\n\f\r "


def _is_not_newline(char: str) -> bool:
    return char != "\n"


def _inverted(test: Test) -> Test:
    return lambda char: not test(char)


_CLASSES: Final[dict[str, Test]] = {
    "d": _is_digit,
    "w": _is_word,
    "s": _is_space,
    "D": _inverted(_is_digit),
    "W": _inverted(_is_word),
    "S": _inverted(_is_space),
}
_LOOKS: Final[dict[str, Look]] = {
    "b": _at_word_boundary,
    "B": _off_word_boundary,
    "A": at_start,
    "z": _at_end,
}
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


def _between(first: str, last: str, fold: bool) -> Test:
    if not fold:
        return lambda char: first <= char <= last
    return lambda char: any(first <= form <= last for form in (char, char.lower(), char.upper()))


class _Parser:
    """Recursive descent from text to nodes."""

    def __init__(self, text: str) -> None:
        self.groups = 0
        self._text = text
        self._at = 0
        self._depth = 0
        self._fold = False

    def parse(self) -> Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._refuse("a ) that closes nothing")
        return node

    def _refuse(self, what: str) -> ConfigError:
        return ConfigError(f'the regular expression "{self._text[:80]}" has {what}, character {self._at + 1}')

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise self._refuse("an end where more is needed")
        self._at += 1
        return char

    def _accept(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) * found
        return found

    def _choice(self) -> Node:
        self._depth += 1
        if self._depth > MAX_PATTERN_DEPTH:
            raise self._refuse(f"groups nested more than {MAX_PATTERN_DEPTH} deep")
        fold = self._fold
        options = [self._sequence()]
        while self._accept("|"):
            options.append(self._sequence())
        self._fold = fold
        self._depth -= 1
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._repeated(self._atom()))
        return Sequence(tuple(parts))

    def _repeated(self, part: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        low, high = bounds
        lazy = self._accept("?")
        if self._peek() in ("*", "+", "?") or self._bounds() is not None:
            raise self._refuse("a repetition of a repetition")
        return Repeat(part, low, high, lazy)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._accept(sign):
                return bounds
        end = self._text.find("}", self._at)
        if self._peek() != "{" or end < 0:
            return None
        low, comma, high = self._text[self._at + 1 : end].partition(",")
        if not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())):
            return None  # as RE2: a brace that is no repetition is a literal
        least, most = int(low[:5]), int((high or low)[:5])
        if max(least, most) > MAX_REPEAT or least > most:
            raise self._refuse(f"a repetition outside of 0 to {MAX_REPEAT}")
        self._at = end + 1
        return least, None if comma and not high else most

    def _atom(self) -> Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return Char(self._bracket())
        if char == ".":
            return Char(_is_not_newline)
        if char == "^":
            return Assertion(at_start)
        if char == "$":
            return Assertion(_at_end)
        if char in "*+?":
            raise self._refuse("a repetition of nothing")
        if char == "\\":
            if look := _LOOKS.get(self._peek()):
                self._at += 1
                return Assertion(look)
            return self._escaped()
        return Char(_between(char, char, self._fold), "" if self._fold else char)

    def _group(self) -> Node:
        fold, number = self._fold, 0
        if self._accept("?"):
            if self._accept("P<") or self._accept("<"):
                if self._peek() in ("=", "!"):
                    raise self._refuse("a look-behind, which is not supported")
                number = self._open_group()
                while self._take() != ">":
                    pass
            elif self._accept("i)"):
                self._fold = True  # until the enclosing group ends
                return Sequence(())
            elif self._accept("i:"):
                self._fold = True
            elif not self._accept(":"):
                raise self._refuse("a kind of group that is not supported")
        else:
            number = self._open_group()
        node = self._choice()
        self._fold = fold
        if not self._accept(")"):
            raise self._refuse("a ( that is never closed")
        return Group(node, number) if number else node

    def _open_group(self) -> int:
        self.groups += 1
        if self.groups > MAX_GROUPS:
            raise self._refuse(f"more than {MAX_GROUPS} groups: write (?:...) where nothing is kept")
        return self.groups

    def _escaped(self) -> Char:
        char = self._take()
        if char in _CLASSES:
            return Char(_CLASSES[char])
        meant = self._meant(char)
        return Char(_between(meant, meant, self._fold), "" if self._fold else meant)

    def _bracket(self) -> Test:
        negated = self._accept("^")
        tests: list[Test] = []
        while not self._accept("]") or not tests:
            first = "]" if not tests and self._text[self._at - 1] == "]" else self._take()
            if first == "[" and self._peek() == ":":
                raise self._refuse("a named class, which is not supported")
            if first == "\\":
                if self._peek() in _CLASSES:
                    tests.append(_CLASSES[self._take()])
                    continue
                first = self._meant(self._take())
            last = first
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                last = self._take()
                last = self._meant(self._take()) if last == "\\" else last
                if last < first:
                    raise self._refuse("a range that runs backwards")
            tests.append(_between(first, last, self._fold))
        return lambda char: any(test(char) for test in tests) != negated

    def _meant(self, char: str) -> str:
        meant = _ESCAPES.get(char, char)
        if meant.isascii() and meant.isalnum():
            raise self._refuse(f"an escape \\{char}, which is not supported")
        return meant
