"""What intentions said of a source, kept so that a new connection waits for nobody. Fails closed.

An entry is *fresh* for ``refresh_after`` seconds, or until something changed: it is used at once. After that it is
asked for again; when no answer comes it still holds until it is ``max_age`` old. Then, and for a source never asked
about, the answer is no.

Intentions are about services: while nobody answers, what was said last of a service holds for a new certificate of it,
too. Agents ask for new ones when they start, and all of them do where a mesh is restarted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeAlias

__all__ = [
    "MAX_AGE",
    "MAX_ENTRIES",
    "REFRESH_AFTER",
    "Decision",
    "DecisionCache",
    "RequestRules",
    "SourceKey",
]

#: Seconds that a decision is used without asking, and those after which it doesn't hold without an answer either.
REFRESH_AFTER: Final = 30.0
MAX_AGE: Final = 300.0
#: Different sources remembered; the one used longest ago is forgotten first.
MAX_ENTRIES: Final = 8192

#: SPIFFE ID and serial number of the certificate: a revoked leaf is refused while its service is not.
SourceKey: TypeAlias = tuple[str, str]


class RequestRules(Protocol):
    """What decides about each HTTP request of a source, where an intention has permissions."""

    def judge(self, method: str, path: str, headers: Sequence[tuple[str, str]]) -> Decision:
        """Whether the request may be made; ``path`` with its query, ``headers`` as they are passed on."""
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a source may connect. ``because`` is a sentence; ``rule`` names what decided, if a rule did.

    ``requests``, where it is there, decides about each HTTP request instead: ``allowed`` is about a connection whose
    requests nobody looks at. ``audited``: it would have been denied, is let through, and is to be reported.
    """

    allowed: bool
    because: str
    rule: str = ""
    requests: RequestRules | None = None
    audited: bool = False


class DecisionCache:
    """Times are monotonic seconds."""

    def __init__(
        self,
        *,
        refresh_after: float = REFRESH_AFTER,
        max_age: float = MAX_AGE,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._refresh_after = refresh_after
        self._max_age = max_age
        self._max_entries = max_entries
        #: Decision, when it was answered, and the generation that it was asked for under.
        self._entries: OrderedDict[SourceKey, tuple[Decision, float, int]] = OrderedDict()
        self._generation = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def generation(self) -> int:
        """Grows with each ``invalidate``. An answer asked for under an older one is not stored."""
        return self._generation

    def limit(self, *, refresh_after: float, max_age: float) -> None:
        """Other bounds, in seconds, for what is known too."""
        self._refresh_after, self._max_age = refresh_after, max_age

    def fresh(self, source: SourceKey, now: float) -> Decision | None:
        """The decision that can be used without asking, or ``None``: ask."""
        entry = self._entries.get(source)
        if entry is None or entry[2] != self._generation:
            return None
        if not 0.0 <= now - entry[1] < self._refresh_after:
            return None
        self._entries.move_to_end(source)
        return entry[0]

    def holds(self, source: SourceKey, now: float) -> bool:
        """Whether there is a decision that counts when nobody answers."""
        entry = self._last(source)
        return entry is not None and now - entry[1] < self._max_age

    def is_outdated(self, source: SourceKey) -> bool:
        """Whether something changed since its decision was asked for."""
        entry = self._last(source)
        return entry is not None and entry[2] != self._generation

    def without_answer(self, source: SourceKey, now: float, failure: str) -> Decision:
        """What holds when the authorizer could not be asked, ``failure`` saying why."""
        entry = self._last(source)
        if entry is None:
            return Decision(False, f"nothing is known of {source[0]} and nobody could be asked: {failure}")
        age = now - entry[1]
        if age >= self._max_age:
            return Decision(
                False,
                f"the last decision about {source[0]} is {age:.0f} s old, {self._max_age:.0f} s is the most: {failure}",
            )
        return entry[0]

    def _last(self, source: SourceKey) -> tuple[Decision, float, int] | None:
        """What was said of this certificate, else the last that was said of another one of its service."""
        entry = self._entries.get(source)
        if entry is not None:
            return entry
        others = [entry for (uri, _), entry in self._entries.items() if uri == source[0]]
        return max(others, key=lambda entry: entry[1], default=None)

    def store(self, source: SourceKey, decision: Decision, now: float, generation: int) -> bool:
        """Remember an answer that was asked for under ``generation``. Says whether it was still wanted."""
        if generation != self._generation:
            return False
        self._entries[source] = (decision, now, generation)
        self._entries.move_to_end(source)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return True

    def known(self, now: float, most: int) -> list[tuple[SourceKey, Decision, float, bool]]:
        """Source, decision, its age and whether it is used without asking, of those that were used last, at most."""
        skipped = max(0, len(self._entries) - most)
        return [
            (source, decision, now - at, generation == self._generation and now - at < self._refresh_after)
            for source, (decision, at, generation) in islice(self._entries.items(), skipped, None)
        ]

    def invalidate(self) -> None:
        """Intentions or revocations changed: nothing is fresh any more, but still holds when nobody answers."""
        self._generation += 1

    def forget(self) -> None:
        """Know nothing: every source is asked for, and refused when nobody answers."""
        self._generation += 1
        self._entries.clear()
