"""What of a snapshot one Envoy may be sent now: make before break (Envoy, "xDS protocol", eventual consistency).

Clusters and endpoints go first, then secrets, listeners and routes, each once the ones before it were answered, and
once Envoy has asked for the endpoints of every cluster that it took: until then nothing can be sent there. A cluster
that is gone stays until the listeners and routes that led to it are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshnode.xds.compile import Resource, Snapshot
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
    ROUTES: (CLUSTER, ENDPOINTS, LISTENER),
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


def held(url: str, snapshot: Snapshot, known: Mapping[str, Subscription]) -> bool:
    """Whether this type waits: for its own last answer, or for those of types that go first."""
    if any(found.pending is not None for each in (url, *_BEFORE.get(url, ())) if (found := known.get(each))):
        return True
    return url in _BEFORE and _warming(snapshot, known)


def wanted(url: str, snapshot: Snapshot, known: Mapping[str, Subscription]) -> dict[str, Resource]:
    """The resources of this type that Envoy should have now."""
    own = known[url]
    found = {name: each for name, each in snapshot.get(url, {}).items() if own.follows(name)}
    if url not in (CLUSTER, ENDPOINTS) or all(
        _replaced(known[each], snapshot.get(each, {})) for each in (LISTENER, ROUTES) if each in known
    ):
        return found
    return {name: each for name, each in own.sent.items() if own.follows(name)} | found


def _replaced(users: Subscription, now: Mapping[str, Resource]) -> bool:
    """Whether Envoy has applied what there is ``now`` of a type that leads to clusters."""
    current = {name: each for name, each in now.items() if users.follows(name)}
    sent = {name: each for name, each in users.sent.items() if users.follows(name)}
    return users.settled and sent == current


def _warming(snapshot: Snapshot, known: Mapping[str, Subscription]) -> bool:
    """Whether a cluster that Envoy took is without endpoints, since it hasn't asked for them yet."""
    clusters, endpoints = known.get(CLUSTER), known.get(ENDPOINTS)
    if clusters is None or not clusters.version or clusters.nack:
        return False
    told: Mapping[str, Resource] = endpoints.sent if endpoints is not None else {}
    return any(name not in told for name in snapshot.get(ENDPOINTS, {}))
