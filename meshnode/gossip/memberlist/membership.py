"""Who is alive, suspect, dead or left: claims come in, transitions, rebroadcasts and notices go out (SWIM 4.2).

A claim about ourselves that is not true is refuted with a higher incarnation. Everything accepted is gossiped on.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError
from meshnode.gossip.effects import Level
from meshnode.gossip.memberlist.awareness import Awareness
from meshnode.gossip.memberlist.codec import encode_message, ip_bytes, ip_text
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Delegate, Peer
from meshnode.gossip.memberlist.member import Member, may_change_address, supersedes
from meshnode.gossip.memberlist.messages import (
    MAX_INCARNATION,
    MAX_META_BYTES,
    Alive,
    Dead,
    NodeState,
    State,
    Suspect,
)
from meshnode.gossip.memberlist.outbox import Outbox
from meshnode.gossip.memberlist.roster import Roster
from meshnode.gossip.memberlist.suspicion import Suspicion, expected_confirmations, suspicion_timeout
from meshnode.gossip.memberlist.timers import SuspicionTimeout

__all__ = ["Membership"]

ROUNDING = 1e-6
"""Seconds by which a timer may fire early."""


class Membership:
    """The roster and the rules by which claims change it."""

    def __init__(
        self,
        name: str,
        address: Address,
        config: MemberlistConfig,
        roster: Roster,
        outbox: Outbox,
        delegate: Delegate,
    ) -> None:
        self.name = name
        self.address = address
        self.leaving = False
        self.awareness = Awareness(config.awareness_max_multiplier)
        self.suspicions: dict[str, Suspicion] = {}
        self._config = config
        self._roster = roster
        self._out = outbox
        self._delegate = delegate

    @property
    def me(self) -> Member:
        """Our own entry; raises :class:`LocalProtocolError` before :meth:`announce`."""
        me = self._roster.get(self.name)
        if me is None:
            raise LocalProtocolError("memberlist is not started")
        return me

    # ---- about ourselves ----

    def announce(self, now: float) -> None:
        """Tell everybody our address and metadata, with the next incarnation."""
        meta = self._delegate.node_meta()
        if len(meta) > MAX_META_BYTES:
            raise LocalProtocolError(
                f"node metadata has {len(meta)} bytes: at most {MAX_META_BYTES} can be announced"
            )
        known = self._roster.get(self.name)
        incarnation = known.incarnation + 1 if known else 1
        addr = ip_bytes(self.address.host)
        alive = Alive(incarnation, self.name, addr, self.address.port, meta, self._config.versions)
        self._accept_alive(known, alive, self._peer(alive), encode_message(alive), now)

    def depart(self, now: float) -> None:
        """Declare ourselves gone; nothing brings us back from here."""
        self.leaving = True
        self.claim_dead(Dead(self.me.incarnation, self.name, self.name), None, now)

    def _refute(self, accused: int) -> None:
        me = self.me
        incarnation = min(max(me.incarnation, accused) + 1, MAX_INCARNATION)
        self.awareness.apply(1)
        self._out.stats.refutations += 1
        self._roster.put(Member(me.peer, me.addr, incarnation, me.state, me.changed_at))
        alive = Alive(incarnation, self.name, me.addr, me.address.port, me.peer.meta, me.peer.versions)
        self._out.queue.queue(self.name, encode_message(alive))

    # ---- claims ----

    def claim_alive(self, alive: Alive, raw: bytes | None, now: float) -> None:
        """``alive.node`` announces itself; ``raw`` is the message as it came, to pass on unchanged."""
        known = self._roster.get(alive.node)
        about_us = alive.node == self.name
        if about_us and self.leaving:
            return
        port = alive.port or self.address.port
        moved = known is not None and (known.addr != alive.addr or known.peer.address.port != port)
        if known is not None and not moved and not about_us and alive.incarnation <= known.incarnation:
            if known.gone:
                self._let_speak_up(known)
            return
        peer = self._admit(alive)
        if peer is None:
            return
        if (
            known is not None
            and moved
            and not may_change_address(known, now, self._config.dead_node_reclaim_time)
        ):
            self._conflict(known, peer, now)
            return
        if about_us:
            self._hear_of_ourselves(alive)
        elif (
            known is None
            or moved
            or supersedes((known.state, known.incarnation), (State.ALIVE, alive.incarnation))
        ):
            self._accept_alive(known, alive, peer, raw or encode_message(alive), now)

    def _let_speak_up(self, known: Member) -> None:
        """Accuse who is announced as alive and gone for us, so that it announces itself with a higher incarnation.

        A node that left and came back in by somebody who never knew it begins at 1 again, and would stay gone here
        until a push/pull. memberlist waits for that; an accusation is news like any other, which the living refute.
        """
        if known.name not in self._out.queue:
            accusation = Suspect(known.incarnation, known.name, self.name)
            self._out.queue.queue(known.name, encode_message(accusation))

    def _admit(self, alive: Alive) -> Peer | None:
        versions = alive.versions
        if versions is None or not 0 < versions[0] <= versions[1]:
            problem = (
                f"its protocol versions {versions} make no sense" if versions else "it announces no versions"
            )
        else:
            peer = self._peer(alive)
            problem = self._delegate.refuse_alive(peer)
            if not problem:
                return peer
        self._out.complain(
            f"alive {alive.node}",
            f"ignored the announcement of {alive.node} ({ip_text(alive.addr)}): {problem}",
        )
        return None

    def _peer(self, alive: Alive) -> Peer:
        assert alive.versions is not None
        address = Address(ip_text(alive.addr), alive.port or self.address.port)
        return Peer(alive.node, address, alive.meta, alive.versions)

    def _conflict(self, known: Member, other: Peer, now: float) -> None:
        self._out.complain(
            f"conflict {known.name} {other.address}",
            f"two nodes are called {known.name}: {known.address} ({known.state.name.lower()}) and {other.address}: "
            "give one of them another name",
        )
        self._out.effects += self._delegate.peer_conflict(known.peer, other, now)

    def _hear_of_ourselves(self, alive: Alive) -> None:
        me = self.me
        if alive.incarnation < me.incarnation:
            return
        same = alive.meta == me.peer.meta and alive.versions == me.peer.versions
        if alive.incarnation > me.incarnation or not same:
            self._refute(alive.incarnation)
            self._out.log(Level.DEBUG, "refuted an old announcement of this node")

    def _accept_alive(self, known: Member | None, alive: Alive, peer: Peer, raw: bytes, now: float) -> None:
        self.suspicions.pop(alive.node, None)
        self._out.queue.queue(alive.node, raw)
        same_state = known is not None and known.state is State.ALIVE
        changed_at = known.changed_at if known is not None and same_state else now
        self._roster.put(Member(peer, alive.addr, alive.incarnation, State.ALIVE, changed_at))
        if known is None or known.gone:
            self._out.effects += self._delegate.peer_joined(peer, now)
        elif peer != known.peer:
            self._out.effects += self._delegate.peer_updated(peer, now)

    def claim_suspect(self, suspect: Suspect, raw: bytes | None, now: float) -> None:
        """``suspect.accuser`` got no answer from ``suspect.node``."""
        known = self._roster.get(suspect.node)
        if known is None or suspect.incarnation < known.incarnation:
            return
        running = self.suspicions.get(suspect.node)
        if running is not None:
            if running.confirm(suspect.accuser):
                self._out.queue.queue(suspect.node, raw or encode_message(suspect))
                self._out.arm(
                    max(running.deadline - now, 0.0), SuspicionTimeout(suspect.node, running.started_at)
                )
            return
        if not supersedes((known.state, known.incarnation), (State.SUSPECT, suspect.incarnation)):
            return
        if suspect.node == self.name:
            self._refute(suspect.incarnation)
            self._out.log(Level.WARN, f"refuted a suspicion about this node (from {suspect.accuser})")
            return
        self._out.queue.queue(suspect.node, raw or encode_message(suspect))
        self._roster.put(Member(known.peer, known.addr, suspect.incarnation, State.SUSPECT, now))
        self._suspect(suspect, now)

    def _suspect(self, suspect: Suspect, now: float) -> None:
        config, members = self._config, len(self._roster)
        shortest = suspicion_timeout(config.suspicion_mult, members, config.probe_interval or 1.0)
        suspicion = Suspicion(
            started_at=now,
            shortest=shortest,
            longest=shortest * config.suspicion_max_timeout_mult,
            wanted=expected_confirmations(config.suspicion_mult, members),
            accusers={suspect.accuser},
        )
        self.suspicions[suspect.node] = suspicion
        self._out.arm(suspicion.timeout, SuspicionTimeout(suspect.node, now))

    def suspicion_timed_out(self, timer: SuspicionTimeout, now: float) -> None:
        """Declare the node dead if its suspicion really ran out."""
        suspicion = self.suspicions.get(timer.node)
        if (
            suspicion is None
            or suspicion.started_at != timer.started_at
            or now < suspicion.deadline - ROUNDING
        ):
            return
        known = self._roster.get(timer.node)
        if known is None:
            del self.suspicions[timer.node]
            return
        self._out.log(
            Level.INFO,
            f"marking {timer.node} as failed: suspected by {suspicion.confirmations + 1}, no refutation",
        )
        self.claim_dead(Dead(known.incarnation, timer.node, self.name), None, now)

    def claim_dead(self, dead: Dead, raw: bytes | None, now: float) -> None:
        """``dead.accuser`` declares ``dead.node`` gone; the node itself does so when it leaves."""
        known = self._roster.get(dead.node)
        state = State.LEFT if dead.node == dead.accuser else State.DEAD
        if known is None or not supersedes((known.state, known.incarnation), (state, dead.incarnation)):
            return
        if dead.node == self.name and not self.leaving:
            self._refute(dead.incarnation)
            self._out.log(Level.WARN, f"refuted the death of this node (from {dead.accuser})")
            return
        self.suspicions.pop(dead.node, None)
        self._out.queue.queue(dead.node, raw or encode_message(dead))
        self._roster.put(Member(known.peer, known.addr, dead.incarnation, state, now))
        self._out.effects += self._delegate.peer_left(known.peer, state is State.DEAD, now)

    # ---- push/pull ----

    def merge(self, nodes: Iterable[NodeState], now: float) -> None:
        """Take over a peer's view. A node that it holds dead is only suspected, so that it can speak up."""
        get = self._roster.get
        for node in nodes:
            if node.state is State.ALIVE:
                known = get(node.name)
                if (
                    known is not None
                    and node.incarnation <= known.incarnation
                    and node.addr == known.addr
                    and node.name != self.name
                    and node.port == known.peer.address.port
                ):
                    continue
                alive = Alive(node.incarnation, node.name, node.addr, node.port, node.meta, node.versions)
                self.claim_alive(alive, None, now)
            elif node.state is State.LEFT:
                self.claim_dead(Dead(node.incarnation, node.name, node.name), None, now)
            else:
                self.claim_suspect(Suspect(node.incarnation, node.name, self.name), None, now)

    def incompatibility(self, nodes: Iterable[NodeState]) -> str:
        """Why the protocol versions of ``nodes`` and ours can't live in one cluster; empty when they can.

        Every live node must speak a version that every live node understands, for memberlist and the application.
        """
        speakers = {
            member.peer.versions: member.name for member in self._roster if member.state is State.ALIVE
        }
        for node in nodes:
            if node.state is State.ALIVE and node.versions is not None:
                speakers.setdefault(node.versions, node.name)
        for offset, what in ((0, "protocol"), (3, "application protocol")):
            lowest = max(versions[offset] for versions in speakers)
            highest = min(versions[offset + 1] for versions in speakers)
            for versions, name in speakers.items():
                if not lowest <= versions[offset + 2] <= highest:
                    spoken = versions[offset + 2]
                    return f"{name} speaks {what} {spoken}, the others understand {lowest} to {highest}"
        return ""

    def reap(self, now: float) -> None:
        """Forget who has been gone for longer than we gossip to the dead."""
        horizon = now - self._config.gossip_to_the_dead_time
        self._roster.remove_where(lambda member: member.gone and member.changed_at < horizon)
