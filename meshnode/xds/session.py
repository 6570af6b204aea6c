"""One ADS stream: requests and snapshots in, responses out. Source: Envoy, "xDS REST and gRPC protocol", API v3.

    session = Session(delta=True)
    send(session.update(snapshot, now))
    send(session.handle_request(request, now))

Messages are protobuf's. A type is sent when Envoy has asked for it, when something of it differs from what Envoy has,
and one at a time: what changes before the answer goes with the next response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.xds.compile import Resource, Snapshot, version_of
from meshnode.xds.delivery import (
    MAX_NACK_CHARS,
    ORDER,
    WILDCARD_TYPES,
    Pending,
    Subscription,
    held,
    wanted,
)
from meshnode.xds.schema import CLUSTER, ENDPOINTS, message, short_name, unpacked

__all__ = ["MAX_NAMES", "Session", "TypeStatus"]

#: Names of one type that a stream may ask for.
MAX_NAMES: Final = 8192
_WILDCARD: Final = "*"
_DISCOVERY: Final = "service.discovery.v3"


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """``version`` was sent last, ``applied`` is what Envoy uses; ``lag`` is the seconds between the two.

    ``nack``: why Envoy refused ``nack_version``, empty once a later one is applied.
    """

    type: str
    resources: int
    version: str
    applied: str
    lag: float
    nack: str
    nack_version: str


class Session:
    """``delta``: the incremental protocol. ``now`` is monotonic seconds."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self._snapshot: Snapshot = {}
        self._known: dict[str, Subscription] = {}
        self._sent = 0
        #: Who asks: its id and cluster, as the first request says.
        self.node_id = ""

    def update(self, snapshot: Snapshot, now: float) -> list[Any]:
        """What to send because of another snapshot."""
        self._snapshot = snapshot
        return self._due(now)

    def handle_request(self, request: Any, now: float) -> list[Any]:
        """What to send because of a request: an ACK, a NACK, a question, or several at once.

        Raises :class:`RemoteProtocolError` for more than :data:`MAX_NAMES` names.
        """
        self.node_id = self.node_id or request.node.id
        if request.type_url not in ORDER:
            return []
        known = self._known.get(request.type_url)
        fresh = known is None
        if known is None:
            known = self._known[request.type_url] = Subscription()
        if request.response_nonce and not _answer(known, request, now):
            return []
        if self.delta:
            _subscribe_delta(known, request, fresh=fresh)
        else:
            _subscribe(known, request, fresh=fresh)
        if len(known.names) > MAX_NAMES:
            raise RemoteProtocolError(
                f"{short_name(request.type_url)}: {len(known.names)} names are asked for, more than {MAX_NAMES}"
            )
        return self._due(now)

    def status(self, now: float) -> list[TypeStatus]:
        """The types that Envoy has asked for, in the order in which they are sent."""
        return [_status(url, self._known[url], now) for url in ORDER if url in self._known]

    def _due(self, now: float) -> list[Any]:
        responses = []
        for url in ORDER:
            known = self._known.get(url)
            if known is None or not self._snapshot or held(url, self._snapshot, self._known):
                continue
            target = wanted(url, self._snapshot, self._known)
            if not known.asked and _versions(target) == _versions(known.sent):
                continue
            responses.append(self._response(url, known, target, now))
            if url == CLUSTER and ENDPOINTS in self._known:
                self._warm(known.sent, target)
            known.sent, known.asked = target, False
        return responses

    def _warm(self, before: Mapping[str, Resource], after: Mapping[str, Resource]) -> None:
        """A cluster that is new or changes waits for endpoints, also for ones that Envoy has for another cluster."""
        endpoints = self._known[ENDPOINTS]
        for name, each in after.items():
            if before.get(name) != each and endpoints.sent.pop(_endpoints_of(each), None) is not None:
                endpoints.asked = True

    def _response(self, url: str, known: Subscription, target: Mapping[str, Resource], now: float) -> Any:
        self._sent += 1
        nonce, version = f"{self._sent:x}", version_of(target.values())
        known.pending = Pending(nonce, version, now)
        known.version, known.sent_at = version, now
        if not self.delta:
            return message(f"{_DISCOVERY}.DiscoveryResponse")(
                version_info=version,
                type_url=url,
                nonce=nonce,
                resources=[each.body for _, each in sorted(target.items())],
            )
        missing = known.names - target.keys() - {_WILDCARD} if known.asked else set()
        return message(f"{_DISCOVERY}.DeltaDiscoveryResponse")(
            system_version_info=version,
            type_url=url,
            nonce=nonce,
            resources=[
                {"name": name, "version": each.version, "resource": each.body}
                for name, each in sorted(target.items())
                if name not in known.sent or known.sent[name].version != each.version
            ],
            removed_resources=sorted({*(known.sent.keys() - target.keys()), *missing}),
        )


def _endpoints_of(cluster: Resource) -> str:
    """The name under which a cluster's endpoints are asked for."""
    found = unpacked(cluster.body)
    return str(found.eds_cluster_config.service_name or found.name)


def _answer(known: Subscription, request: Any, now: float) -> bool:
    """Take an ACK or a NACK; false for an answer to an older response, which says nothing any more."""
    pending = known.pending
    if pending is None or pending.nonce != request.response_nonce:
        # A subscription that changes repeats the nonce of the last response, which is answered already.
        return pending is None
    known.pending = None
    if request.HasField("error_detail"):
        reason = request.error_detail.message[:MAX_NACK_CHARS] or f"code {request.error_detail.code}"
        known.nack, known.nack_version = reason, pending.version
    else:
        known.applied, known.applied_at = pending.version, now
        known.nack = known.nack_version = ""
    return True


def _subscribe(known: Subscription, request: Any, *, fresh: bool) -> None:
    names = set(request.resource_names)
    wildcard = request.type_url in WILDCARD_TYPES and (
        _WILDCARD in names or (not names and (fresh or known.wildcard))
    )
    added = names - known.names
    if fresh or added or (wildcard and not known.wildcard):
        known.asked = True
    known.wildcard, known.names = wildcard, names
    known.sent = {name: each for name, each in known.sent.items() if known.follows(name)}


def _subscribe_delta(known: Subscription, request: Any, *, fresh: bool) -> None:
    added, removed = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
    if fresh:
        known.wildcard = request.type_url in WILDCARD_TYPES and not added
        # After a reconnection: Envoy tells what it has, and gets only what differs.
        known.sent = {
            name: Resource(name, version) for name, version in request.initial_resource_versions.items()
        }
    if _WILDCARD in added or _WILDCARD in removed:
        known.wildcard = _WILDCARD in added
    known.names = (known.names | added) - removed - {_WILDCARD}
    for name in removed | (set() if fresh else added):
        # Who asks again for something gets it again.
        known.sent.pop(name, None)
    if fresh or added:
        known.asked = True


def _versions(resources: Mapping[str, Resource]) -> dict[str, str]:
    return {name: each.version for name, each in resources.items()}


def _status(url: str, known: Subscription, now: float) -> TypeStatus:
    since = now - known.sent_at if known.pending is not None else known.applied_at - known.sent_at
    return TypeStatus(
        type=short_name(url),
        resources=len(known.sent),
        version=known.version,
        applied=known.applied,
        lag=max(0.0, since) if known.version else 0.0,
        nack=known.nack,
        nack_version=known.nack_version,
    )
