"""Live connections by who is on the other end: those whose source is denied later are cut, and only those.

Connections that were allowed are in a ledger, as a sidecar's are, which the agent is told.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from meshnode.proxy.authorize import Identity
from meshnode.proxy.decision_cache import Decision, SourceKey
from meshnode.proxy.ledger import Connection, Ledger
from meshnode.runtime.proxy.outbound import TRUSTED

__all__ = ["Cut", "Live", "LiveConnections", "Meter"]

#: Ends a connection at once; it gets the reason.
Cut = Callable[[str], None]

_log: Final = logging.getLogger("meshnode.sdk")
_ENDED: Final = "it ended"


class Meter(Protocol):
    """Counts a connection's plaintext bytes: received from the mesh, and sent there."""

    received: int
    sent: int


@dataclass(slots=True, eq=False)
class Live:
    """One connection. ``entry`` is its row in the ledger once it was allowed; ``cause`` why it was cut, if it was."""

    identity: Identity
    cut: Cut
    cause: str = ""
    entry: Connection | None = None
    meter: Meter | None = field(default=None, repr=False)

    def measure(self) -> None:
        """Enter the bytes until now."""
        if self.entry is not None and self.meter is not None:
            self.entry.received, self.entry.sent = self.meter.received, self.meter.sent


class LiveConnections:
    """Enter a served connection before it is decided about: a change that comes meanwhile concerns it then.

    ``clock`` gives monotonic seconds. The length is the number of served connections.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ledger: Final = Ledger()
        self._clock: Final = clock
        self._served: dict[SourceKey, list[Live]] = {}
        #: By their ids in the ledger.
        self._dialled: dict[int, Live] = {}

    def __len__(self) -> int:
        return sum(map(len, self._served.values()))

    # Served connections

    @contextlib.contextmanager
    def entered(self, identity: Identity, cut: Cut) -> Iterator[Live]:
        """The connection of a client lives for as long as the block."""
        live, source = Live(identity, cut), (identity.uri, identity.serial)
        self._served.setdefault(source, []).append(live)
        try:
            yield live
        finally:
            others = self._served.get(source, [])
            if live in others:
                others.remove(live)
            if not others:
                self._served.pop(source, None)
            self._close(live, _ENDED)

    def allow(
        self,
        live: Live,
        decision: Decision,
        *,
        own: str,
        listener: str,
        peer: str,
        meter: Meter | None = None,
    ) -> None:
        """``decision`` lets a connection that was entered in; ``own`` is our SPIFFE ID."""
        live.meter = meter
        live.entry = self.ledger.open(
            "inbound",
            listener=listener,
            source=live.identity.uri,
            destination=own,
            serial=live.identity.serial,
            peer=peer,
            decision=decision,
            now=self._clock(),
            issuer=live.identity.issuer,
        )

    def identities(self) -> list[Identity]:
        """Each source with live connections once: who has to be asked about after a change."""
        return [served[0].identity for served in self._served.values()]

    def enforce(self, source: SourceKey, decision: Decision) -> int:
        """End the connections of ``source`` if ``decision`` denies it; returns how many were ended."""
        if not decision.allowed:
            return self._cut(source, decision.because)
        self.ledger.forbidden_by(source, decision)
        return 0

    def cut_all(self, because: str) -> int:
        """End every served connection; returns how many there were."""
        return sum(self._cut(source, because) for source in list(self._served))

    def _cut(self, source: SourceKey, because: str) -> int:
        lives = list(self._served.get(source, []))
        if lives:
            _log.warning("%d connections of %s are cut: %s", len(lives), source[0], because)
        for live in lives:
            _end(live, because)
        return len(lives)

    # Dialled connections

    def dialled(
        self, identity: Identity, cut: Cut, *, own: str, listener: str, peer: str, meter: Meter
    ) -> Callable[[Exception | None], None]:
        """Enter a connection to ``identity``; what is returned is to be called at its end, with what broke it."""
        entry = self.ledger.open(
            "outbound",
            listener=listener,
            source=own,
            destination=identity.uri,
            serial=identity.serial,
            peer=peer,
            decision=TRUSTED,
            now=self._clock(),
            issuer=identity.issuer,
        )
        live = self._dialled[entry.id] = Live(identity, cut, entry=entry, meter=meter)

        def ended(error: Exception | None) -> None:
            if self._dialled.pop(entry.id, None) is not None:
                self._close(live, _ENDED if error is None else f"the connection failed: {error}")

        return ended

    def _cut_dialled(self, live: Live, because: str) -> None:
        _log.warning("the connection to %s is cut: %s", live.identity.uri, because)
        _end(live, because)

    # Both

    def cut_serials(self, serials: Iterable[str]) -> int:
        """End the connections whose peer showed one of these certificates, which are revoked. Returns how many."""
        gone = frozenset(serials)
        count = sum(
            self._cut(source, f"Certificate {source[1]} is revoked")
            for source in list(self._served)
            if source[1] in gone
        )
        for live in [one for one in self._dialled.values() if one.identity.serial in gone]:
            self._cut_dialled(live, f"Certificate {live.identity.serial} is revoked")
            count += 1
        return count

    def cut_issuers(self, why: Callable[[str], str]) -> int:
        """End the connections whose peer has a certificate by a key that ``why`` has a reason against.

        It is asked with the key's identifier; empty: the connection goes on. Returns how many were ended.
        """
        count = 0
        for source, served in list(self._served.items()):
            if because := why(served[0].identity.issuer):
                count += self._cut(source, because)
        for live in list(self._dialled.values()):
            if because := why(live.identity.issuer):
                self._cut_dialled(live, because)
                count += 1
        return count

    def measure(self) -> None:
        """Enter the bytes of every live connection until now."""
        for live in [*self._dialled.values(), *(one for served in self._served.values() for one in served)]:
            live.measure()

    def _close(self, live: Live, cause: str) -> None:
        if live.entry is not None:
            live.measure()
            self.ledger.close(live.entry.id, live.cause or cause, self._clock())


def _end(live: Live, because: str) -> None:
    live.cause = live.cause or f"cut: {because}"
    live.cut(because)
