"""The word that was probably meant: for errors about a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["closest", "did_you_mean", "edit_distance"]

#: Longer words are not compared: nobody mistypes a word of this length, and the cost is quadratic.
MAX_WORD_CHARS = 80


def edit_distance(one: str, other: str) -> int:
    """Optimal string alignment: one point per insertion, deletion, substitution or swap."""
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        before_last, last = last, row
    return last[-1]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The nearest of ``known``, if it is near: at most a third of the word and three edits away."""
    if len(word) > MAX_WORD_CHARS:
        return None
    limit = min(3, max(1, len(word) // 3))
    near = [(edit_distance(word.lower(), candidate.lower()), candidate) for candidate in known
            if abs(len(candidate) - len(word)) <= limit]  # fmt: skip
    best = min(near, default=None)
    return best[1] if best is not None and best[0] <= limit else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``": did you mean X?"`` to end an error with, or nothing."""
    found = closest(word, known)
    return f": did you mean {found}?" if found else ""
