"""What all connections of one proxy share: contexts, decisions, ledger, counters; how one is entered and left."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from meshnode.proxy.authorize import Expectation, Identity, Refusal, RefusalCode, judge, read_peer
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.proxy.issuers import Issuers
from meshnode.proxy.ledger import Connection, Direction, Ledger
from meshnode.runtime.proxy.chains import verified_chain
from meshnode.runtime.proxy.contexts import Contexts
from meshnode.runtime.proxy.deadlines import Deadlines
from meshnode.runtime.proxy.decider import Decider
from meshnode.runtime.proxy.flow import Flow, TlsEnd
from meshnode.runtime.proxy.interfaces import Discovery
from meshnode.runtime.proxy.reactor import Faulty, Reactor
from meshnode.runtime.proxy.refusal_log import RefusalLog

__all__ = [
    "CLOSED_EARLY",
    "MAX_HANDSHAKE_BYTES",
    "Live",
    "ProxyHost",
    "Serving",
    "guarded",
    "handshake_failure",
    "log",
    "peer_name",
]

#: What a client may send before the handshake is done: OpenSSL takes 100 KiB of certificates.
MAX_HANDSHAKE_BYTES: Final = 128 * 1024
log: Final = logging.getLogger("meshnode.proxy")

#: Certificates whose contents are remembered.
_MAX_PEERS: Final = 1024

#: ``kind`` of who connects and leaves without a word, as TCP checks do all day: only counted.
CLOSED_EARLY: Final = "closed_early"

_REASONS: Final[dict[str, str]] = {
    "HTTP_REQUEST": "it speaks plain HTTP, not TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "UNKNOWN_PROTOCOL": "it does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version from 1.2 on",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it accepts no TLS version from 1.2 on",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is accepted here",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the root of our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate",
}


async def guarded(owner: Faulty, work: Coroutine[Any, Any, None]) -> None:
    """``work`` for a connection: an error of ours ends it, as one in a handler of the reactor does."""
    try:
        await work
    except Exception:
        log.exception("a proxied connection failed")
        owner.fault()


def handshake_failure(error: Exception) -> str:
    """Why a handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify: {error.verify_message}"
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    if reason:
        return _REASONS.get(reason, f"TLS failed: {reason.lower().replace('_', ' ')}")
    return f"the connection failed: {getattr(error, 'strerror', None) or error}"


def peer_name(address: object) -> str:
    """``1.2.3.4:5678`` of what ``accept`` gave, ``unix`` for a unix socket."""
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "unix"


class Serving(Protocol):
    """What serves the connections of a listener itself, request by request."""

    def check(self, now: float) -> None:
        """Give up what is late at ``now``."""
        ...

    def enforce(self, source: SourceKey, decision: Decision) -> tuple[int, set[int]]:
        """End the requests of ``source`` that ``decision`` forbids: how many, and the ids of its connections here."""
        ...


class Live(Protocol):
    """An established connection; ``cause`` is why it ended, empty while it lives."""

    entry: Connection
    cause: str

    def end(self, cause: str, *, clean: bool = False) -> None:
        """Close it; both sides see a reset unless ``clean``."""
        ...


@dataclass(slots=True)
class ProxyHost:
    """``clock`` gives monotonic seconds, ``wall_clock`` an aware instant."""

    reactor: Reactor
    decider: Decider
    discovery: Discovery
    clock: Callable[[], float]
    wall_clock: Callable[[], datetime]
    contexts: Contexts
    decisions: DecisionCache
    ledger: Ledger
    issuers: Issuers = field(default_factory=Issuers)
    deadlines: Deadlines = field(default_factory=Deadlines)
    flows: dict[int, Live] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    #: Listeners that decide about requests, and those of before while connections of theirs live.
    serving: list[Serving] = field(default_factory=list)
    #: Called at the end of every connection.
    on_flow_end: Callable[[Live], None] = lambda flow: None
    _peers: OrderedDict[bytes, Identity | Refusal] = field(default_factory=OrderedDict)
    _sources: dict[SourceKey, Identity] = field(default_factory=dict)
    _refusals: RefusalLog = field(default_factory=lambda: RefusalLog(log))

    def identify(
        self, end: TlsEnd, *, uris: frozenset[str], datacenters: frozenset[str]
    ) -> Identity | Refusal:
        """Who is on the other end of a finished handshake, or why they won't do."""
        der = end.tls.getpeercert(binary_form=True) or b""
        found = self._peers.get(der)
        if found is None:
            found = self._peers[der] = read_peer(der)
            if len(self._peers) > _MAX_PEERS:
                self._peers.popitem(last=False)
        if isinstance(found, Refusal):
            return found
        if found.issuer and not self.issuers.vouched(found.issuer):
            self.issuers.learn(verified_chain(end.tls))
        # The handshake may have begun when that root was trusted still.
        if because := self.issuers.distrust_of(found.issuer):
            return Refusal(
                RefusalCode.DISTRUSTED, f"{found.uri} has a certificate of another time: {because}"
            )
        trust_domain, revoked = self.contexts.identity.service.trust_domain, self.contexts.material.revoked
        return judge(found, Expectation(trust_domain, datacenters, uris, revoked), self.wall_clock())

    def identity_of(self, source: SourceKey) -> Identity | None:
        """The identity of a source with live connections."""
        return self._sources.get(source)

    def refuse(
        self,
        listener: str,
        peer: str,
        kind: str,
        reason: str,
        *,
        source: str = "",
        rule: str = "",
        request: str = "",
        connection: int = 0,
    ) -> int:
        """Enter, count and log what was not let through; returns its id, 0 when it has none.

        ``kind`` is for programs and metrics; ``request``, of ``connection``, when only that was refused.
        """
        self.counters[f"refused.{kind}"] += 1
        if kind == CLOSED_EARLY:
            log.debug("%s from %s: %s", listener, peer, reason)
            return 0
        entry = self.ledger.refuse(
            listener=listener,
            peer=peer,
            kind=kind,
            because=reason,
            now=self.clock(),
            source=source,
            rule=rule,
            request=request,
            connection=connection,
        )
        self._refusals.tell(listener, entry)
        return entry.id

    def begin(
        self,
        direction: Direction,
        end: TlsEnd,
        plain: socket.socket,
        *,
        listener: str,
        peer: str,
        identity: Identity,
        decision: Decision,
        on_end: Callable[[], None],
        on_first_read: Callable[[], None] | None = None,
    ) -> None:
        """Enter the connection and let its bytes flow; ``on_end`` is called when it is over."""
        local = peer_name(end.sock.getsockname()) if direction == "outbound" else ""
        entry = self.enter(
            direction, listener=listener, peer=peer, identity=identity, decision=decision, local=local
        )
        flow = Flow(self.reactor, end, plain, entry, lambda ended: self.ended(ended, on_end), on_first_read)
        self.flows[entry.id] = flow
        flow.start()

    def enter(
        self,
        direction: Direction,
        *,
        listener: str,
        peer: str,
        identity: Identity,
        decision: Decision,
        local: str = "",
    ) -> Connection:
        """Enter a connection in the ledger; what it is goes into ``flows``."""
        own = self.contexts.identity.uri
        inbound = direction == "inbound"
        entry = self.ledger.open(
            direction,
            listener=listener,
            source=identity.uri if inbound else own,
            destination=own if inbound else identity.uri,
            serial=identity.serial,
            peer=peer,
            decision=decision,
            now=self.clock(),
            local=local,
            issuer=identity.issuer,
        )
        if inbound:
            self._sources[entry.source, entry.serial] = identity
            self.counters["inbound.audited"] += decision.audited
        return entry

    def ended(self, flow: Live, on_end: Callable[[], None]) -> None:
        """A connection is over, for the reason in ``cause``."""
        entry = flow.entry
        self.flows.pop(entry.id, None)
        now = self.clock()
        self.ledger.close(entry.id, flow.cause, now)
        if entry.direction == "inbound" and not self.ledger.has_source((entry.source, entry.serial)):
            self._sources.pop((entry.source, entry.serial), None)
        if log.isEnabledFor(logging.INFO):
            log.info(
                "%s #%d %s -> %s %s %s serial %s: %s; in %d out %d bytes, %.3f s; allowed: %s",
                entry.listener,
                entry.id,
                entry.source,
                entry.destination,
                "from" if entry.direction == "inbound" else "at",
                entry.peer,
                entry.serial,
                flow.cause,
                entry.received,
                entry.sent,
                now - entry.since,
                entry.because,
            )
        on_end()
        self.on_flow_end(flow)
