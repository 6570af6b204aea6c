"""Judges a recorded history of concurrent operations on keys: is there one order that explains every answer?

Each key is a register by itself (a history is linearizable when it is so for each key: Herlihy and Wing, 1990). The
search is that of Wing and Gong with Lowe's memo of (operations done, value) pairs. What only looks (a read, a ``cas``
that was refused) is put first whenever it fits, since it changes nothing for the others; only writes branch.

An operation whose outcome is unknown may have happened at any time after it began, also long after its client gave up,
or never. Written values are unique, so ``cas`` is modelled by the value that its index stood for.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Kind", "Operation", "Outcome", "UndecidedError", "Violation", "violations"]

#: Pairs of (operations done, value) looked at for a key before giving up.
MAX_STEPS = 2_000_000


class Kind(enum.Enum):
    """What was asked for."""

    PUT = "put"
    CAS = "cas"
    GET = "get"
    DELETE = "delete"


class Outcome(enum.Enum):
    """What the client knows of it. ``REFUSED``: a ``cas`` answered with false. ``FAILED``: not done, surely."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Operation:
    """``value`` is what was written or read (``None``: no such key), ``expected`` what a ``cas`` was for.

    ``invoked`` and ``responded`` are seconds of one clock; ``index`` is the ``ModifyIndex`` that a read showed.
    """

    client: int
    kind: Kind
    key: str
    value: str | None
    outcome: Outcome
    invoked: float
    responded: float
    expected: str | None = None
    index: int = 0

    def __str__(self) -> str:
        """One line of a report."""
        asked = f"{self.expected} -> {self.value}" if self.kind is Kind.CAS else str(self.value)
        when = f"{self.invoked:.4f}..{self.responded:.4f}"
        return f"client {self.client} {self.kind.value} {self.key} {asked}: {self.outcome.value}, {when}"


@dataclass(frozen=True, slots=True)
class Violation:
    """No order explains ``key``: ``explained`` operations were, at most; then one of ``stuck`` had to be next."""

    key: str
    why: str
    explained: int = 0
    stuck: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        """For a person."""
        lines = [f"{self.key}: {self.why} ({self.explained} operations are explained)"]
        return "\n  ".join([*lines, *map(str, self.stuck)])


class UndecidedError(Exception):
    """The search was given up: too many operations at once, or too many of unknown outcome."""


def violations(history: Iterable[Operation], max_steps: int = MAX_STEPS) -> list[Violation]:
    """What is wrong with ``history``; an empty list says that it is linearizable. Keys begin without a value."""
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        if operation.outcome is not Outcome.FAILED:
            by_key[operation.key].append(operation)
    found: list[Violation] = []
    for key, operations in sorted(by_key.items()):
        found += _two_indexes(key, operations)
        fault = _Search(operations, max_steps).fault(key)
        if fault is not None:
            found.append(fault)
    return found


def _two_indexes(key: str, operations: Sequence[Operation]) -> Iterator[Violation]:
    """A value is written once: seen under two indexes, its write was carried out twice."""
    seen: dict[str, Operation] = {}
    for read in operations:
        if read.kind is Kind.GET and read.value is not None and read.index:
            first = seen.setdefault(read.value, read)
            if first.index != read.index:
                why = f"the value {read.value} has index {first.index} and index {read.index}: written twice"
                yield Violation(key, why, 0, (first, read))


@dataclass(slots=True)
class _Frame:
    """A step that was taken: what it changed, and what can be tried instead of it."""

    candidates: Iterator[int]
    value: str | None
    done: int
    remaining: int
    linked: list[int]


class _Search:
    """One key. Operations are numbers: known ones by the time of their call, then those of unknown outcome."""

    def __init__(self, operations: Sequence[Operation], max_steps: int) -> None:
        known = [each for each in operations if each.outcome is not Outcome.UNKNOWN]
        doubtful = [each for each in operations if each.outcome is Outcome.UNKNOWN]
        known.sort(key=lambda each: each.invoked)
        self._known = len(known)
        self._operations = known + _that_matter(doubtful, known)
        self._max_steps = max_steps
        # A linked list of known operations that are not done; the last place is its head and its end.
        self._end = self._known
        self._next = [*range(1, self._known + 1), 0 if self._known else self._end]
        self._previous = [self._end, *range(self._known)]

    def fault(self, key: str) -> Violation | None:
        value: str | None = None
        done = steps = 0
        remaining = self._known
        best: tuple[int, tuple[Operation, ...]] = (-1, ())
        seen: set[tuple[int, str | None]] = set()
        stack: list[_Frame] = []
        frame = _Frame(iter(()), value, done, remaining, [])
        while True:
            done, remaining = self._look(value, done, remaining, frame.linked)
            if not remaining:
                return None
            candidates = self._candidates(done)
            if self._known - remaining > best[0]:
                best = self._known - remaining, tuple(self._operations[each] for each in candidates)
            frame.candidates, frame.value, frame.done, frame.remaining = (
                iter(candidates),
                value,
                done,
                remaining,
            )
            stack.append(frame)
            while True:
                chosen = next(stack[-1].candidates, None)
                if chosen is None:
                    for each in reversed(stack.pop().linked):
                        self._relink(each)
                    if not stack:
                        return Violation(key, "no order of the operations explains the answers", *best)
                    continue
                top = stack[-1]
                fits, after = _apply(self._operations[chosen], top.value)
                state = (top.done | 1 << chosen, after)
                if fits and state not in seen:
                    break
            seen.add(state)
            steps += 1
            if steps > self._max_steps:
                raise UndecidedError(
                    f"{key}: {len(self._operations)} operations, not decided in {steps} steps"
                )
            done, value, remaining = state[0], after, top.remaining
            frame = _Frame(iter(()), value, done, remaining, [])
            if chosen < self._known:
                self._unlink(chosen)
                frame.linked.append(chosen)
                remaining -= 1

    def _look(self, value: str | None, done: int, remaining: int, linked: list[int]) -> tuple[int, int]:
        """Do everything that fits here and changes nothing."""
        again = True
        while again:
            again = False
            for each in self._open():
                operation = self._operations[each]
                if _only_looks(operation) and _apply(operation, value)[0]:
                    self._unlink(each)
                    linked.append(each)
                    done |= 1 << each
                    remaining -= 1
                    again = True
        return done, remaining

    def _open(self) -> list[int]:
        """Known operations that may be next: none that is left ended before they began."""
        return [each for each in self._walk() if self._operations[each].invoked <= self._bound]

    def _walk(self) -> list[int]:
        self._bound = math.inf
        found = []
        each = self._next[self._end]
        while each != self._end:
            operation = self._operations[each]
            if operation.invoked > self._bound:
                break
            found.append(each)
            self._bound = min(self._bound, operation.responded)
            each = self._next[each]
        return found

    def _candidates(self, done: int) -> list[int]:
        # Known ones first: those of unknown outcome are for when there is no other way.
        doubtful = (
            each
            for each in range(self._known, len(self._operations))
            if not done >> each & 1 and self._operations[each].invoked <= self._bound
        )
        return [*self._open(), *doubtful]

    def _unlink(self, each: int) -> None:
        before, after = self._previous[each], self._next[each]
        self._next[before], self._previous[after] = after, before

    def _relink(self, each: int) -> None:
        before, after = self._previous[each], self._next[each]
        self._next[before] = self._previous[after] = each


def _only_looks(operation: Operation) -> bool:
    return operation.kind is Kind.GET or operation.outcome is Outcome.REFUSED


def _apply(operation: Operation, value: str | None) -> tuple[bool, str | None]:
    """Whether the answer fits a register that holds ``value``, and what it holds afterwards."""
    match operation.kind, operation.outcome:
        case Kind.GET, _:
            return operation.value == value, value
        case Kind.CAS, Outcome.REFUSED:
            return operation.expected != value, value
        case Kind.CAS, _:
            return operation.expected == value, operation.value
        case Kind.DELETE, Outcome.UNKNOWN:
            return value is not None, None  # where there is nothing, it needn't have happened
        case Kind.DELETE, _:
            return True, None
    return True, operation.value


def _that_matter(doubtful: Sequence[Operation], known: Sequence[Operation]) -> list[Operation]:
    """Without those that can explain nothing: reads, and writes of a value that nobody met, unless they may be why a
    ``cas`` was refused."""
    met = {each.value for each in known if each.kind is Kind.GET}
    met |= {each.expected for each in itertools.chain(known, doubtful) if each.kind is Kind.CAS}
    last_refusal = max(
        (each.responded for each in known if each.outcome is Outcome.REFUSED), default=-math.inf
    )
    return [
        each
        for each in doubtful
        if each.kind is not Kind.GET
        and (each.kind is Kind.DELETE or each.value in met or each.invoked <= last_refusal)
    ]
