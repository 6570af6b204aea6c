r"""Regular expressions of query filters, matched in linear time (Thompson 1968; Go's RE2 does the same).

A peer chooses the expression, so a backtracking engine would let one query stop the agent. The syntax is the part
of RE2 that people write by hand: literals, ``. [] () (?:) (?i) | * + ? {m,n} ^ $`` and ``\d \w \s \b \A \z`` with
their opposites. Anything else is refused, and a query whose filter is refused is not for this node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from meshnode.base.errors import RemoteProtocolError

__all__ = ["MAX_PATTERN_CHARS", "MAX_PROGRAM_STEPS", "matches"]

#: Longest expression; a whole query has 1024 bytes.
MAX_PATTERN_CHARS = 1024
#: Largest compiled program: bounds what ``{m,n}`` expands to.
MAX_PROGRAM_STEPS = 2000
#: RE2's own limit.
_MAX_REPEAT = 1000
_MAX_DEPTH = 50

Test = Callable[[str], bool]
#: An assertion looks at the whole subject and a position in it.
Look = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class _Char:
    test: Test


@dataclass(frozen=True, slots=True)
class _Assertion:
    look: Look


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None


_Node = _Char | _Assertion | _Sequence | _Choice | _Repeat


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _at_word_boundary(text: str, at: int) -> bool:
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return before != after


def _at_start(_text: str, at: int) -> bool:
    return at == 0


def _at_end(text: str, at: int) -> bool:
    return at == len(text)


def _inverted(test: Test) -> Test:
    return lambda char: not test(char)


_DIGIT: Final[Test] = lambda char: "0" <= char <= "9"  # noqa: E731
_SPACE: Final[Test] = lambda char: char in "\t\n\f\r "  # noqa: E731
_CLASSES: Final[dict[str, Test]] = {
    "d": _DIGIT,
    "w": _is_word,
    "s": _SPACE,
    "D": _inverted(_DIGIT),
    "W": _inverted(_is_word),
    "S": _inverted(_SPACE),
}
_LOOKS: Final[dict[str, Look]] = {
    "b": _at_word_boundary,
    "B": lambda text, at: not _at_word_boundary(text, at),
    "A": _at_start,
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
        self._text = text
        self._at = 0
        self._depth = 0
        self._fold = False

    def parse(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise self._refuse("a ) that closes nothing")
        return node

    def _refuse(self, what: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"pattern {self._text[:80]!r} has {what}")

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

    def _choice(self) -> _Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._refuse(f"groups nested more than {_MAX_DEPTH} deep")
        fold = self._fold
        options = [self._sequence()]
        while self._accept("|"):
            options.append(self._sequence())
        self._fold = fold
        self._depth -= 1
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while (char := self._peek()) and char not in "|)":
            parts.append(self._repeated(self._atom()))
        return _Sequence(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        bounds = self._bounds()
        if bounds is None:
            return part
        low, high = bounds
        self._accept("?")  # lazy or greedy: the same texts match
        if self._peek() in ("*", "+", "?") or self._bounds() is not None:
            raise self._refuse("a repetition of a repetition")
        return _Repeat(part, low, high)

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
        self._at = end + 1
        least, most = int(low[:5]), int((high or low)[:5])
        if max(least, most) > _MAX_REPEAT or least > most:
            raise self._refuse(f"a repetition outside of 0 to {_MAX_REPEAT}")
        return least, None if comma and not high else most

    def _atom(self) -> _Node:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return _Char(self._bracket())
        if char == ".":
            return _Char(lambda char: char != "\n")
        if char == "^":
            return _Assertion(_at_start)
        if char == "$":
            return _Assertion(_at_end)
        if char in "*+?":
            raise self._refuse("a repetition of nothing")
        if char == "\\":
            if look := _LOOKS.get(self._peek()):
                self._at += 1
                return _Assertion(look)
            return _Char(self._escaped())
        return _Char(_between(char, char, self._fold))

    def _group(self) -> _Node:
        fold = self._fold
        if self._accept("?"):
            if self._accept("P<") or self._accept("<"):
                while self._take() != ">":
                    pass
            elif self._accept("i)"):
                self._fold = True  # until the enclosing group ends
                return _Sequence(())
            elif self._accept("i:"):
                self._fold = True
            elif not self._accept(":"):
                raise self._refuse("a kind of group that is not supported")
        node = self._choice()
        self._fold = fold
        if not self._accept(")"):
            raise self._refuse("a ( that is never closed")
        return node

    def _escaped(self) -> Test:
        char = self._take()
        if char in _CLASSES:
            return _CLASSES[char]
        char = _ESCAPES.get(char, char)
        if char.isascii() and char.isalnum():
            raise self._refuse(f"an escape \\{char} that is not supported")
        return _between(char, char, self._fold)

    def _bracket(self) -> Test:
        negated = self._accept("^")
        tests: list[Test] = []
        while not self._accept("]") or not tests:
            first = "]" if not tests and self._text[self._at - 1] == "]" else self._take()
            if first == "[" and self._peek() == ":":
                raise self._refuse("a named class that is not supported")
            if first == "\\":
                if self._peek() in _CLASSES:
                    tests.append(_CLASSES[self._take()])
                    continue
                first = self._bracket_escape()
            last = first
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                last = self._take()
                last = self._bracket_escape() if last == "\\" else last
                if last < first:
                    raise self._refuse("a range that runs backwards")
            tests.append(_between(first, last, self._fold))
        return lambda char: any(test(char) for test in tests) != negated

    def _bracket_escape(self) -> str:
        char = self._take()
        meant = _ESCAPES.get(char, char)
        if meant.isascii() and meant.isalnum():
            raise self._refuse(f"an escape \\{char} that is not supported")
        return meant


@dataclass(slots=True)
class _Step:
    """Consume a character, or look around, then go to the next step; or fork; the last step is the match."""

    test: Test | None = None
    look: Look | None = None
    fork: tuple[int, ...] = ()


def _compile(node: _Node, steps: list[_Step]) -> None:
    """Append the steps of ``node``; success falls through to the step after them."""
    if len(steps) > MAX_PROGRAM_STEPS:
        raise RemoteProtocolError(f"pattern compiles to more than {MAX_PROGRAM_STEPS} steps")
    match node:
        case _Char(test):
            steps.append(_Step(test=test))
        case _Assertion(look):
            steps.append(_Step(look=look))
        case _Sequence(parts):
            if not parts:  # a step even so: repetitions of nothing have to hit the bound too
                steps.append(_Step(fork=(len(steps) + 1,)))
            for part in parts:
                _compile(part, steps)
        case _Choice(options):
            fork = _Step()
            steps.append(fork)
            starts: list[int] = []
            ends: list[_Step] = []
            for option in options:
                starts.append(len(steps))
                _compile(option, steps)
                ends.append(_Step())
                steps.append(ends[-1])
            fork.fork = tuple(starts)
            for end in ends:
                end.fork = (len(steps),)
        case _Repeat(part, low, high):
            for _ in range(low):
                _compile(part, steps)
            for _ in range(1 if high is None else high - low):
                at, fork = len(steps), _Step()
                steps.append(fork)
                _compile(part, steps)
                if high is None:
                    steps.append(_Step(fork=(at,)))
                fork.fork = (at + 1, len(steps))


def matches(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` matches anywhere in ``subject``, in time proportional to both lengths' product.

    Raises :class:`RemoteProtocolError` when the pattern is malformed, too large or beyond the supported syntax.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise RemoteProtocolError(f"pattern of {len(pattern)} characters exceeds {MAX_PATTERN_CHARS}")
    steps: list[_Step] = []
    _compile(_Parser(pattern).parse(), steps)
    if len(steps) > MAX_PROGRAM_STEPS:
        raise RemoteProtocolError(f"pattern compiles to more than {MAX_PROGRAM_STEPS} steps")
    steps.append(_Step())
    waiting: set[int] = set()
    for at in range(len(subject) + 1):
        waiting = _closure({0, *waiting}, steps, subject, at)
        if len(steps) - 1 in waiting:
            return True
        if at < len(subject):
            char = subject[at]
            waiting = {index + 1 for index in waiting if (test := steps[index].test) and test(char)}
    return False


def _closure(start: set[int], steps: list[_Step], subject: str, at: int) -> set[int]:
    """Follow forks and assertions from ``start`` without consuming; each step is visited once."""
    seen: set[int] = set()
    stack = list(start)
    while stack:
        index = stack.pop()
        if index in seen:
            continue
        seen.add(index)
        step = steps[index]
        stack += step.fork
        if step.look is not None and step.look(subject, at):
            stack.append(index + 1)
    return seen
