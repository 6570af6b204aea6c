"""Regular expressions in linear time, with what their groups matched (Thompson 1968, Pike; Go's RE2 does the same).

Strangers choose these expressions, and a backtracking engine would let one of them stop the agent: ``(a+)+$`` takes
Python's ``re`` hours. Here the time is at most the product of the lengths of the program and the subject, and ``Work``
bounds the sum over many subjects. Where several matches are possible it is the one that Go and Perl give.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from meshnode.base.errors import ConfigError
from meshnode.base.regexp_syntax import (
    Assertion,
    Char,
    Choice,
    Group,
    Look,
    Node,
    Repeat,
    Sequence,
    Test,
    at_start,
    parse_regexp,
)

__all__ = ["MAX_PROGRAM_STEPS", "Regexp", "Work", "compile_regexp"]

#: Largest compiled program: bounds what ``{m,n}`` expands to.
MAX_PROGRAM_STEPS: Final = 2000

#: Start and end of each group, -1: not matched; group 0 is the whole match.
_Spans: TypeAlias = tuple[int, ...]


class Work:
    """How many steps may still be done, over any number of searches."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Raises :class:`ConfigError` when nothing is left."""
        self.left -= steps
        if self.left < 0:
            raise ConfigError("the regular expression takes too long: write a shorter or more specific one")


@dataclass(slots=True)
class _Step:
    """Consume a character, look around, or save the position, then go on; or fork; the last step is the match."""

    test: Test | None = None
    look: Look | None = None
    save: int = -1
    fork: tuple[int, ...] = ()


class Regexp:
    """A compiled expression."""

    __slots__ = ("_anchored", "_plain", "_prefix", "_steps", "groups", "pattern")

    def __init__(self, pattern: str, node: Node, steps: list[_Step], groups: int) -> None:
        self.pattern: Final = pattern
        self.groups: Final = groups
        self._steps: Final = steps
        self._anchored, self._prefix, self._plain = _opening(node)

    def search(self, subject: str, work: Work | None = None) -> bool:
        """Whether it matches anywhere in ``subject``."""
        if self._plain:
            return self._prefix in subject
        return self._run(subject, work, keep=False) is not None

    def match_groups(self, subject: str, work: Work | None = None) -> tuple[str, ...] | None:
        """The leftmost match and its groups, empty where one has no part in it; ``None``: there is no match."""
        spans = self._run(subject, work, keep=True)
        if spans is None:
            return None
        pairs = zip(spans[::2], spans[1::2])
        return tuple(subject[start:end] if 0 <= start <= end else "" for start, end in pairs)

    def _run(self, subject: str, work: Work | None, *, keep: bool) -> _Spans | None:
        """Every way to match in parallel, the preferred first; the steps of one position are visited once."""
        steps, accept = self._steps, len(self._steps) - 1
        nothing: _Spans = (-1,) * (2 * self.groups + 2)
        found: _Spans | None = None
        threads: list[tuple[int, _Spans]] = []
        at = -1
        while at < len(subject):
            at += 1
            if not threads:
                at = self._next_start(subject, at) if found is None else -1
                if at < 0:
                    break
            if found is None:
                threads.append((0, nothing))
            ready = self._follow(threads, subject, at, work, keep=keep)
            threads = []
            for index, spans in ready:
                if index == accept:
                    found = spans
                    break  # those that come after are less preferred
                test = steps[index].test
                if at < len(subject) and test is not None and test(subject[at]):
                    threads.append((index + 1, spans))
            if found is not None and not keep:
                break
        return found

    def _next_start(self, subject: str, at: int) -> int:
        """The first place from ``at`` on where a match may start, -1: there is none."""
        if self._anchored:
            return at if at == 0 and subject.startswith(self._prefix) else -1
        return subject.find(self._prefix, at)

    def _follow(
        self, threads: list[tuple[int, _Spans]], subject: str, at: int, work: Work | None, *, keep: bool
    ) -> list[tuple[int, _Spans]]:
        """Go through forks, saves and assertions without consuming; what is left consumes, or accepts."""
        steps, accept = self._steps, len(self._steps) - 1
        seen: set[int] = set()
        ready: list[tuple[int, _Spans]] = []
        stack = threads[::-1]
        while stack:
            index, spans = stack.pop()
            if index in seen:
                continue
            seen.add(index)
            step = steps[index]
            if step.test is not None or index == accept:
                ready.append((index, spans))
            elif step.look is not None:
                if step.look(subject, at):
                    stack.append((index + 1, spans))
            elif step.save >= 0:
                if keep:
                    spans = (*spans[: step.save], at, *spans[step.save + 1 :])
                stack.append((index + 1, spans))
            else:
                stack += [(target, spans) for target in reversed(step.fork)]
        if work is not None:
            work.spend(len(seen))
        return ready


@lru_cache(maxsize=128)
def compile_regexp(pattern: str) -> Regexp:
    """Compile ``pattern``. Raises :class:`ConfigError` when it is malformed, too large or beyond the known syntax."""
    node, groups = parse_regexp(pattern)
    steps: list[_Step] = []
    _compile(Group(node, 0), steps)
    steps.append(_Step())
    return Regexp(pattern, node, steps, groups)


def _opening(node: Node) -> tuple[bool, str, bool]:
    """(does every match begin where the subject does, the text that every match begins with, is that all)."""
    parts = node.parts if isinstance(node, Sequence) else (node,)
    anchored = bool(parts) and isinstance(parts[0], Assertion) and parts[0].look is at_start
    chars = [part.literal if isinstance(part, Char) else "" for part in parts[anchored:]]
    length = chars.index("") if "" in chars else len(chars)
    return anchored, "".join(chars[:length]), not anchored and length == len(chars)


def _add(steps: list[_Step], step: _Step) -> None:
    if len(steps) >= MAX_PROGRAM_STEPS:
        raise ConfigError(f"the regular expression needs more than {MAX_PROGRAM_STEPS} steps: repeat less")
    steps.append(step)


def _compile(node: Node, steps: list[_Step]) -> None:
    """Append the steps of ``node``; success falls through to the step after them."""
    match node:
        case Char(test):
            _add(steps, _Step(test=test))
        case Assertion(look):
            _add(steps, _Step(look=look))
        case Group(part, number):
            _add(steps, _Step(save=2 * number))
            _compile(part, steps)
            _add(steps, _Step(save=2 * number + 1))
        case Sequence(parts):
            if not parts:  # a step even so: repetitions of nothing have to hit the bound too
                _add(steps, _Step(fork=(len(steps) + 1,)))
            for part in parts:
                _compile(part, steps)
        case Choice(options):
            _compile_choice(options, steps)
        case Repeat(part, low, high, lazy):
            for _ in range(low):
                _compile(part, steps)
            for _ in range(1 if high is None else high - low):
                at, fork = len(steps), _Step()
                _add(steps, fork)
                _compile(part, steps)
                if high is None:
                    _add(steps, _Step(fork=(at,)))
                ways = (at + 1, len(steps))
                fork.fork = ways[::-1] if lazy else ways


def _compile_choice(options: tuple[Node, ...], steps: list[_Step]) -> None:
    fork = _Step()
    _add(steps, fork)
    starts: list[int] = []
    ends: list[_Step] = []
    for option in options:
        starts.append(len(steps))
        _compile(option, steps)
        ends.append(_Step())
        _add(steps, ends[-1])
    fork.fork = tuple(starts)
    for end in ends:
        end.fork = (len(steps),)
