"""What of a snapshot one Envoy may be sent now: make before break (Envoy, "xDS protocol", eventual consistency).

Clusters and endpoints go first, then secrets, listeners and routes, each once the ones before it were answered. A
cluster that is gone stays until the listeners that led to it are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshnode.xds.compile import Resource, Snapshot, version_of
from meshnode.xds.schema import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET

__all__ = ["MAX_NACK_CHARS", "ORDER", "WILDCARD_TYPES", "Pending", "Subscription", "held", "wanted"]

#: The order in which types are sent.
ORDER: Final = (CLUSTER, ENDPOINTS, SECRET, LISTENER, ROUTES)
#: Types of which Envoy has everything when it names nothing.
WILDCARD_TYPES: Final = frozenset({CLUSTER, LISTENER})
#: Longest reason of a refusal that is kept.
MAX_NACK_CHARS: Final = 2000
_BEFORE: Final[Mapping[str, tuple[str, ...]]] = {
    LISTENER: (CLUSTER, ENDPOINTS, SECRET),
    ROUTES: (CLUSTER, LISTENER),
}


@dataclass(frozen=True, slots=True)
class Pending:
    """A response without an answer; ``at`` is monotonic seconds."""

    nonce: str
    version: str
    at: float


@dataclass(slots=True)
class Subscription:
    """One type on one stream. ``sent``: what Envoy was given last, by name; a version it refused counts as sent."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, Resource] = field(default_factory=dict)
    pending: Pending | None = None
    #: An answer is due even when nothing differs: Envoy waits for it.
    asked: bool = True
    version: str = ""
    applied: str = ""
    applied_at: float = 0.0
    sent_at: float = 0.0
    nack: str = ""
    nack_version: str = ""

    @property
    def settled(self) -> bool:
        """Whether Envoy has applied what it was sent last."""
        return self.pending is None and self.applied == self.version

    def follows(self, name: str) -> bool:
        """Whether Envoy wants to know about ``name``."""
        return self.wildcard or name in self.names


def held(url: str, known: Mapping[str, Subscription]) -> bool:
    """Whether this type waits: for its own last answer, or for those of types that go first."""
    return any(
        found.pending is not None for each in (url, *_BEFORE.get(url, ())) if (found := known.get(each))
    )


def wanted(url: str, snapshot: Snapshot, known: Mapping[str, Subscription]) -> dict[str, Resource]:
    """The resources of this type that Envoy should have now."""
    own, listeners = known[url], known.get(LISTENER)
    found = {name: each for name, each in snapshot.get(url, {}).items() if own.follows(name)}
    if url in (CLUSTER, ENDPOINTS) and listeners is not None and not _replaced(listeners, snapshot):
        kept = {name: each for name, each in own.sent.items() if own.follows(name)}
        return kept | found
    return found


def _replaced(listeners: Subscription, snapshot: Snapshot) -> bool:
    now = snapshot.get(LISTENER, {})
    current = version_of(each for name, each in now.items() if listeners.follows(name))
    return listeners.settled and listeners.version == current
