"""The machine: datagrams, stream bytes and timers go in, a list of effects comes out.

This file only dispatches. Who is a member is decided in ``membership``, failure detection is ``probe``, streams are
``exchange``, what leaves goes through ``outbox``.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from random import Random

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.gossip.effects import Effect, StreamId
from meshnode.gossip.memberlist.codec import decode_message
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Delegate, Peer
from meshnode.gossip.memberlist.events import LeaveFinished
from meshnode.gossip.memberlist.exchange import Exchange, explain
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.member import Member
from meshnode.gossip.memberlist.membership import Membership
from meshnode.gossip.memberlist.messages import (
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Message,
    Nack,
    Ping,
    State,
    Suspect,
    UserMessage,
)
from meshnode.gossip.memberlist.outbox import Outbox, Stats
from meshnode.gossip.memberlist.packet import PacketRefusedError, Refusal, open_packet, split_messages
from meshnode.gossip.memberlist.probe import Prober
from meshnode.gossip.memberlist.roster import Roster
from meshnode.gossip.memberlist.schedule import push_pull_interval
from meshnode.gossip.memberlist.timers import (
    GossipTick,
    LeaveTimeout,
    ProbeDeadline,
    ProbeTick,
    ProbeTimeout,
    PushPullTick,
    RelayTimeout,
    StreamTimeout,
    SuspicionTimeout,
)

__all__ = ["Memberlist"]

Handler = Callable[[Message, bytes, Address, float], None]


class Memberlist:
    """Membership of one node.

    Every verb takes ``now`` (monotonic seconds) and returns the effects to perform, in order. Peer input never
    raises: what can't be used is counted in :attr:`stats` and logged, at a bounded rate.
    """

    def __init__(
        self,
        *,
        name: str,
        address: Address,
        config: MemberlistConfig,
        keyring: Keyring | None,
        delegate: Delegate,
        rng: Random,
        entropy: Callable[[int], bytes],
        known: MutableMapping[str, Member] | None = None,
    ) -> None:
        """``address`` is what we advertise; ``entropy(n)`` gives n random bytes; ``known`` is a first roster."""
        self.name = name
        self.address = address
        self.config = config
        self._delegate = delegate
        self._rng = rng
        self._roster = Roster(rng, known)
        self._out = Outbox(config, keyring, delegate, self._roster, entropy)
        self._membership = Membership(name, address, config, self._roster, self._out, delegate)
        self._prober = Prober(
            config, self._membership, self._roster, self._out, delegate, self._ping_by_stream
        )
        self._exchange = Exchange(
            config, self._membership, self._roster, self._out, delegate, self._prober.answered_by_stream
        )
        self._leaving = False
        self._stopped = False

    # ---- life ----

    def start(self, now: float) -> list[Effect]:
        """Announce ourselves and arm the periodic timers, each after a random part of its interval."""
        self._out.now = now
        self._membership.announce(now)
        for interval, timer in (
            (self.config.probe_interval, ProbeTick()),
            (self.config.gossip_interval if self.config.gossip_nodes else 0, GossipTick()),
            (self.config.push_pull_interval, PushPullTick()),
        ):
            if interval:
                self._out.arm(interval * self._rng.random(), timer)
        return self._out.drain()

    def join(self, request: int, seeds: Sequence[Address], now: float) -> list[Effect]:
        """Exchange state with every seed; ends with ``Notify(JoinFinished(request, ...))``."""
        self._out.now = now
        self._exchange.join(request, seeds)
        return self._out.drain()

    def leave(self, now: float) -> list[Effect]:
        """Announce our departure; ``Notify(LeaveFinished())`` follows once it was gossiped, or after a while."""
        self._out.now = now
        if self._membership.leaving:
            return []
        self._membership.depart(now)
        self._leaving = True
        if any(not member.gone for member in self._roster):
            self._out.arm(self.config.leave_timeout, LeaveTimeout())
        else:
            self._finish_leave()
        return self._out.drain()

    def shutdown(self) -> None:
        """Stop: every later input returns no effect."""
        self._stopped = True

    def update_meta(self, now: float) -> list[Effect]:
        """Announce the delegate's metadata anew; raises :class:`LocalProtocolError` over 512 bytes."""
        self._out.now = now
        if not self._membership.leaving:
            self._membership.announce(now)
        return self._out.drain()

    # ---- sending ----

    def send_user(self, to: Peer | Address, message: bytes, now: float) -> list[Effect]:
        """Send a user message in one packet, unacknowledged."""
        self._out.now = now
        peer = to if isinstance(to, Peer) else None
        address = to.address if isinstance(to, Peer) else to
        self._out.send_packet(address, b"\x08" + message, peer)
        return self._out.drain()

    def ping(self, request: int, name: str, address: Address, now: float) -> list[Effect]:
        """Ping a node once; ends with ``Notify(PingFinished(request, rtt or None))``."""
        self._out.now = now
        self._prober.ping(request, name, address, now)
        return self._out.drain()

    # ---- packets ----

    def handle_packet(self, data: bytes, src: Address, now: float) -> list[Effect]:
        """Take one datagram. Parts of it that can't be read change nothing."""
        if self._stopped:
            return []
        out = self._out
        out.now = now
        out.stats.packets_in += 1
        out.stats.bytes_in += len(data)
        try:
            payload = open_packet(data, out.label, out.keyring, self._exchange.verify_incoming)
            parts = split_messages(payload)
        except RemoteProtocolError as error:
            self._refuse(src, data, error)
            return out.drain()
        for part in parts:
            try:
                message = decode_message(part)
            except RemoteProtocolError as error:
                self._refuse(src, data, error)
                continue
            self._handle_message(message, part, src, now)
        return out.drain()

    def _handle_message(self, message: Message, raw: bytes, src: Address, now: float) -> None:
        match message:
            case Ping():
                self._prober.handle_ping(message, src)
            case Ack():
                self._prober.handle_ack(message, now)
            case Suspect():
                self._membership.claim_suspect(message, raw, now)
            case Alive():
                self._membership.claim_alive(message, raw, now)
            case Dead():
                self._membership.claim_dead(message, raw, now)
            case UserMessage():
                self._out.effects += self._delegate.handle_message(message.body, now)
            case IndirectPing():
                self._prober.handle_indirect_ping(message, src)
            case Nack():
                self._prober.handle_nack(message)
            case ErrorReply():
                self._refuse(src, raw, RemoteProtocolError("an error reply does not belong in a packet"))

    def _refuse(self, src: Address, data: bytes, error: RemoteProtocolError) -> None:
        refusal = error.refusal if isinstance(error, PacketRefusedError) else Refusal.MALFORMED
        reason = str(error)
        if refusal is Refusal.MALFORMED and not self._out.keyring and data[:1] in (b"\x00", b"\x01"):
            refusal = Refusal.SEALED
            reason = "it looks encrypted and this agent has no key: set `encrypt` here"
        self._out.stats.refused[refusal] += 1
        self._out.complain(f"{refusal} {src.host}", explain("a packet", src, refusal, reason))

    # ---- timers ----

    def handle_timer(self, timer: object, now: float) -> list[Effect]:
        """Take a timer that we armed."""
        if self._stopped:
            return []
        self._out.now = now
        match timer:
            case GossipTick():
                self._gossip(timer, now)
            case ProbeTick():
                self._prober.tick(now)
            case ProbeTimeout():
                self._prober.timed_out(timer)
            case ProbeDeadline():
                self._prober.deadline_passed(timer, now)
            case RelayTimeout():
                self._prober.relay_timed_out(timer)
            case SuspicionTimeout():
                self._membership.suspicion_timed_out(timer, now)
            case StreamTimeout():
                self._exchange.timed_out(timer)
            case PushPullTick():
                interval = push_pull_interval(self.config.push_pull_interval, len(self._roster))
                self._out.arm(interval, timer)
                self._exchange.sync()
            case LeaveTimeout():
                self._finish_leave()
            case _:
                raise LocalProtocolError(f"{timer!r} is no timer of memberlist")
        return self._out.drain()

    def _gossip(self, tick: GossipTick, now: float) -> None:
        self._out.arm(self.config.gossip_interval, tick)
        horizon = now - self.config.gossip_to_the_dead_time
        name = self.name

        def suits(member: Member) -> bool:
            state = member.state
            if state is State.DEAD:
                return member.changed_at >= horizon
            return state is not State.LEFT and member.peer.name != name

        for member in self._roster.sample(self.config.gossip_nodes, suits):
            if not self._out.send_news(member.peer.address, member.peer):
                break
        if self._leaving and name not in self._out.queue:
            self._finish_leave()

    def _finish_leave(self) -> None:
        if self._leaving:
            self._leaving = False
            self._out.notify(LeaveFinished())

    # ---- streams ----

    def handle_stream_accepted(self, stream: StreamId, peer: Address, now: float) -> list[Effect]:
        """A peer connected to us."""
        self._out.now = now
        if not self._stopped:
            self._exchange.accepted(stream, peer)
        return self._out.drain()

    def handle_stream_opened(self, stream: StreamId, now: float) -> list[Effect]:
        """A stream that we asked for is connected."""
        self._out.now = now
        if not self._stopped:
            self._exchange.opened(stream)
        return self._out.drain()

    def handle_stream_data(self, stream: StreamId, data: bytes, now: float) -> list[Effect]:
        """Bytes arrived on a stream."""
        self._out.now = now
        if not self._stopped:
            self._exchange.received(stream, data, now)
        return self._out.drain()

    def handle_stream_closed(self, stream: StreamId, error: str | None, now: float) -> list[Effect]:
        """A stream failed (``error``), or its peer closed it (``None``)."""
        self._out.now = now
        if not self._stopped:
            self._exchange.closed(stream, error)
        return self._out.drain()

    def _ping_by_stream(self, target: Member, ping: Ping, timeout: float) -> None:
        self._exchange.ping(target, ping, timeout)

    # ---- views ----

    def members(self) -> list[Member]:
        """Everyone known, ourselves included, whatever their state."""
        return list(self._roster)

    def member(self, name: str) -> Member | None:
        """What is known of ``name``."""
        return self._roster.get(name)

    @property
    def local(self) -> Member:
        """Our own entry; raises :class:`LocalProtocolError` before :meth:`start`."""
        return self._membership.me

    @property
    def num_nodes(self) -> int:
        """Estimated size of the cluster, as the timers and limits scale with it."""
        return len(self._roster)

    @property
    def health_score(self) -> int:
        """0 when this node keeps up with the protocol; higher is worse (Lifeguard)."""
        return self._membership.awareness.score

    @property
    def stats(self) -> Stats:
        """Counters; live, not a copy."""
        return self._out.stats

    @property
    def keyring(self) -> Keyring | None:
        """The keys; the layer above installs, uses and removes them."""
        return self._out.keyring

    @property
    def verification(self) -> tuple[bool, bool]:
        """Whether unsealed input is refused, and whether our output is sealed."""
        return self._exchange.verify_incoming, self._out.verify_outgoing

    def set_verification(self, incoming: bool, outgoing: bool) -> None:
        """Change at run time what is refused and what is sealed (encryption of a running cluster)."""
        self._exchange.verify_incoming = incoming
        self._out.verify_outgoing = outgoing
